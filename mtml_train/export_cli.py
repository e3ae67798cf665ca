"""The command line `mtml-export`: a trained run to a deployable artifact.

In: a run folder or checkpoint. Out: the artifact; its measured parity on stdout, everything else on
stderr. torch is imported only when the command really runs.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import click

from mtml_deploy import __version__
from mtml_deploy.console import SafeCommand, prepare_streams, write_data, write_note
from mtml_train.extras import require_libraries


@click.command(cls=SafeCommand, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="mtml-export")
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Artifact to write.")
@click.option(
    "--embedding", default="fused", show_default=True,
    type=click.Choice(["fused", "consensus", "identity", "scale", "gray", "orientation"]),
    help="What an embedding is.",
)  # fmt: skip
@click.option("--branches", help="Comma-separated branches to keep.  [default: all trained]")
@click.option("--with-orientation", is_flag=True, help="Add orientation probabilities.")
@click.option("--images", default="", help="Images to compare on.  [default: the training data]")
@click.option("--licence", help="Terms of the weights, for the manifest.")
@click.option("--overwrite", is_flag=True, help="Replace the artifact if it exists.")
@click.option("-v", "--verbose", is_flag=True, help="Show what is being done, on stderr.")
def export_main(
    *,
    run: Path,
    out: Path,
    embedding: str,
    branches: str | None,
    with_orientation: bool,
    images: str,
    licence: str | None,
    overwrite: bool,
    verbose: bool,
) -> None:
    """Export a trained run to a deployable artifact: model.onnx and manifest.json.

    RUN is a run folder (its best checkpoint, else its last) or a checkpoint file. The export is
    compared with torch on real images; if it differs, nothing is written and the exit status is 1.
    """
    prepare_streams(verbose=verbose)
    needed = ("torch", "torchvision", "safetensors", "onnx", "onnxscript", "onnxruntime")
    require_libraries("exporting", needed)
    from mtml_train.checkpoint import load_checkpoint
    from mtml_train.export import ExportOptions, export

    options = ExportOptions(
        embedding=embedding,
        branches=tuple(name.strip() for name in branches.split(",")) if branches else (),
        with_orientation=with_orientation,
        images=images,
    )
    if licence is not None:
        options = replace(options, licence=licence)
    checkpoint = load_checkpoint(run)
    write_note(f"exporting {checkpoint.path}, step {checkpoint.progress.step}")
    artifact = export(checkpoint, out, options, overwrite=overwrite, say=write_note)
    manifest = artifact.manifest
    megabytes = artifact.model_path.stat().st_size / 1e6
    write_note(
        f"wrote {out}: {manifest.variant}, branches {', '.join(manifest.branches)}, embedding "
        f"{manifest.embedding} of {manifest.dim}, {manifest.precision}, {megabytes:.0f} MB"
    )
    write_data(json.dumps(manifest.parity, indent=2))
