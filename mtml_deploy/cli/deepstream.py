"""`mtml-deploy deepstream`: a model with the configuration files of NVIDIA DeepStream."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note


@click.command(
    cls=SafeCommand,
    docs="docs/deepstream.md",
    examples=(
        "mtml-deploy deepstream model --out deepstream",
        "mtml-deploy deepstream model --out deepstream --fp16 --batch-size 32 --class 2 --class 7",
    ),
)
@options.model
@click.option("--out", type=options.FOLDER, required=True, help="Folder to write.")
@click.option("--fp16", is_flag=True, help="Let DeepStream build its engine in fp16.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=16, show_default=True,
    help="Images per run of the model.",
)  # fmt: skip
@click.option(
    "--class", "classes", type=click.IntRange(min=0), multiple=True,
    help="Class id of the detector to embed, may be repeated.  [default: all]",
)  # fmt: skip
@click.option(
    "--reid-type", type=click.Choice(["1", "2", "3"]), default="2", show_default=True,
    help="Of nvtracker: 1 NvDeepSORT, 2 re-association of NvDCF, 3 both.",
)  # fmt: skip
@click.option(
    "--history", type=click.IntRange(min=1), default=100, show_default=True,
    help="Vectors that the tracker keeps of each track.",
)  # fmt: skip
@options.overwrite
def deepstream(
    *,
    model: Path,
    out: Path,
    fp16: bool,
    batch_size: int,
    classes: tuple[int, ...],
    reid_type: str,
    history: int,
    overwrite: bool,
) -> None:
    """Write the fp32 MODEL for NVIDIA DeepStream: a model of float planes and its two files.

    nvinfer.txt is for a secondary nvinfer, nvtracker.yml holds the section ReID of nvtracker. The
    model is compared with MODEL before it is written.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.handover.deepstream import DeepstreamOptions, write_deepstream

    types: dict[str, Literal[1, 2, 3]] = {"1": 1, "2": 2, "3": 3}
    written = write_deepstream(
        open_artifact(model),
        out,
        DeepstreamOptions(
            batch=batch_size,
            precision="fp16" if fp16 else "fp32",
            classes=classes,
            reid_type=types[reid_type],
            history=history,
        ),
        overwrite=overwrite,
    )
    dim = written.manifest.dim
    per_stream = 150 * history * dim * 4
    write_note(
        f"wrote {out}: {written.manifest.form}, embeddings of {dim}; a tracker of 150 vehicles "
        f"keeps {per_stream / 1e6:,.0f} MB of them a stream"
    )
