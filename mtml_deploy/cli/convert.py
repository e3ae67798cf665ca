"""`mtml-deploy convert`: an fp32 artifact in fp16 or int8, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_next, write_note
from mtml_deploy.cli.conversion import conversion_group

if TYPE_CHECKING:
    from mtml_deploy.precision.options import Conversion


@click.command(
    cls=SafeCommand,
    docs="docs/precision.md",
    examples=(
        "mtml-deploy convert model --fp16 --out model-fp16",
        "mtml-deploy convert model --int8 --calibration LIST.txt --out model-int8",
    ),
)
@options.model
@click.option(
    "--out", type=options.FOLDER, metavar="MODEL", required=True, help="The model to make."
)
@click.option(
    "--images",
    default="",
    metavar="SOURCE",
    help="Images to compare on.  [default: the training data]",
)
@conversion_group
@options.json_file
@options.overwrite
def convert(
    *,
    model: Path,
    out: Path,
    images: str,
    conversion: Conversion | None,
    json_file: Path | None,
    overwrite: bool,
) -> None:
    """Convert the fp32 MODEL to fp16 or int8.

    The result is compared with fp32 on real images; if it differs too much, nothing is written and
    the exit status is 1. What was measured is shown
    beside its bounds; --json gives all of it.
    """
    options.refuse_huge_images()
    if conversion is None:
        raise click.UsageError("give one of --fp16 and --int8")
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.cli.screen import show_model
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.precision.convert import convert as run
    from mtml_deploy.report.facts.measured import MEASURED_JSON

    require_outputs(
        [(options.on_disk(json_file), MEASURED_JSON)], overwrite=overwrite, inputs=(model,)
    )
    written = run(
        open_artifact(model),
        out,
        conversion,
        overwrite=overwrite,
        say=write_note,
        progress=lambda title: progress_bar(title, unit="images"),
    )
    write_note(f"wrote {out}")
    show_model(written, json_file)
    write_next("mtml-deploy", "parity", out, "--reference", model, "--data", "SOURCE")
