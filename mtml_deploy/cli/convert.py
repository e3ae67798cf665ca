"""`mtml-deploy convert`: an fp32 artifact in fp16 or int8, without torch."""

from __future__ import annotations

import json
from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.console import progress_bar, write_data, write_note
from mtml_deploy.cli.precision_options import chosen_conversion, conversion_options


@click.command(epilog=options.SOURCES)
@click.argument("artifact", type=options.FOLDER)
@click.option("--out", type=options.FOLDER, required=True, help="Artifact to write.")
@click.option(
    "--images",
    default="",
    metavar="SOURCE",
    help="Images to compare on.  [default: the training data]",
)
@conversion_options
@options.overwrite
def convert(
    *,
    artifact: Path,
    out: Path,
    images: str,
    fp16: bool,
    int8: bool,
    calibration: Path | None,
    calibrator: str,
    max_map_drop: float | None,
    data: str,
    protocol: str,
    overwrite: bool,
) -> None:
    """Convert the fp32 ARTIFACT to fp16 or int8.

    The result is compared with fp32 on real images; if it differs too much, nothing is written and
    the exit status is 1. Its measured parity is printed as JSON.
    """
    options.refuse_huge_images()
    conversion = chosen_conversion(
        fp16=fp16,
        int8=int8,
        images=images,
        calibration=calibration,
        calibrator=calibrator,
        max_map_drop=max_map_drop,
        data=data,
        protocol=protocol,
    )
    if conversion is None:
        raise click.UsageError("give one of --fp16 and --int8")
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.precision.convert import convert as run

    written = run(
        open_artifact(artifact),
        out,
        conversion,
        overwrite=overwrite,
        say=write_note,
        progress=lambda title: progress_bar(title, unit="images"),
    )
    megabytes = written.model_path.stat().st_size / 1e6
    write_note(f"wrote {out}: {written.manifest.precision}, {megabytes:.0f} MB")
    write_data(json.dumps(dict(written.manifest.parity), indent=2))
