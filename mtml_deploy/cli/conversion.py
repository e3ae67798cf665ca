"""Options of a conversion to fp16 or int8, shared by `mtml-deploy convert` and `mtml-export`.

In: what click collected. Out: one `Conversion`, or None.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.groups import group
from mtml_deploy.defaults import PROTOCOL
from mtml_deploy.precision.options import CALIBRATORS, LIST_COMMAND, Calibrator, Conversion


def _conversion(
    *,
    fp16: bool,
    int8: bool,
    calibration: Path | None,
    calibrator: str,
    max_map_drop: float | None,
    data: str,
    protocol: str,
    threads: int,
    model_threads: int,
) -> Conversion | None:
    """The conversion that the options ask for; None where neither precision is named.

    Raises:
        click.UsageError: both precisions, or an option without its precision.
        DataError: int8 without a calibration list, or options that do not fit.
    """
    if fp16 and int8:
        raise click.UsageError("give one of --fp16 and --int8; an artifact has one precision")
    if not fp16 and not int8:
        if calibration is not None or max_map_drop is not None or data:
            raise click.UsageError("--calibration, --max-map-drop and --data are for --int8")
        if threads or model_threads:
            raise click.UsageError("--threads and --model-threads are for --fp16 and --int8")
        return None
    return Conversion(
        precision="fp16" if fp16 else "int8",
        images=click.get_current_context().params["images"],
        calibration=calibration,
        calibrator=cast(Calibrator, calibrator),
        max_map_drop=max_map_drop,
        data=data,
        protocol=protocol,
        threads=threads,
        model_threads=model_threads,
    )


conversion_group = group(
    "conversion",
    _conversion,
    click.option("--fp16", is_flag=True, help="Half precision."),
    click.option("--int8", is_flag=True, help="8-bit integers, the rest in half precision."),
    click.option(
        "--calibration",
        type=options.FILE,
        metavar="LIST",
        help=f"Images to calibrate --int8 on; make one: {LIST_COMMAND}.",
    ),
    click.option(
        "--calibrator",
        type=click.Choice(CALIBRATORS),
        default=Conversion.calibrator,
        show_default=True,
        help="From activation ranges to int8 steps.",
    ),
    click.option(
        "--max-map-drop",
        type=click.FloatRange(0, 1),
        help="Keep the most sensitive layers in fp16 until mAP (a fraction) changes by no more.",
    ),
    click.option("--data", default="", metavar="SOURCE", help="Labelled set for that mAP."),
    click.option(
        "--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}, of that mAP."
    ),
    options.threads,
    options.model_threads,
)
"""--fp16 to --model-threads, beside the own --images, as `conversion: Conversion | None`."""
