"""The command line `mtml-export`: a trained run to a deployable artifact.

In: a run folder or checkpoint. Out: the artifact; what was measured of it on stdout, everything
else on stderr. torch is imported only when the command really runs.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from mtml_deploy.cli import options as deploy_options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import progress_bar, write_next, write_note
from mtml_deploy.cli.conversion import conversion_group
from mtml_deploy.cli.variant import variant_group
from mtml_deploy.engine.library import TARGETS
from mtml_deploy.text import command_line
from mtml_deploy.version import __version__
from mtml_train.cli.requirements import require_libraries

if TYPE_CHECKING:
    from mtml_deploy.artifact.artifact import Artifact
    from mtml_deploy.artifact.manifest import NeckSide, Normalised
    from mtml_deploy.handover.variant import Variant
    from mtml_deploy.precision.options import Conversion
    from mtml_train.checkpoint import Which


@click.command(
    "mtml-export",
    cls=SafeCommand,
    docs="docs/deployment.md",
    examples=(
        "mtml-export run --out model",
        "mtml-export run --out model-fp16 --fp16 --keep-fp32 model --normalise whole",
    ),
)
@click.version_option(__version__, prog_name="mtml-export")
@click.argument("run", type=click.Path(path_type=Path), metavar="RUN")
@click.option("--out", type=click.Path(path_type=Path), required=True, metavar="MODEL",
              help="The model to make.")  # fmt: skip
@click.option(
    "--checkpoint", "which", type=click.Choice(["best", "last"]),
    help="Of a run folder.  [default: the best where it was validated, else the last]",
)  # fmt: skip
@click.option(
    "--embedding", default="fused", show_default=True,
    type=click.Choice(["fused", "consensus", "identity", "scale", "gray", "orientation"]),
    help="What an embedding is.",
)  # fmt: skip
@click.option("--branches", help="Comma-separated branches to keep.  [default: all trained]")
@click.option("--with-orientation", is_flag=True, help="Add orientation probabilities.")
@click.option(
    "--neck", type=click.Choice(["before", "after"]), default="before", show_default=True,
    help="Where features are taken in a model that was trained with necks.",
)  # fmt: skip
@click.option(
    "--normalise", type=click.Choice(["none", "whole", "branches"]), default="none",
    show_default=True,
    help="Scale embeddings to length 1 in the graph: the whole, or each branch first, so that all "
    "count alike.",
)  # fmt: skip
@click.option(
    "--flip-average", is_flag=True,
    help="Average the features of each image and its mirror image in the graph; twice the work.",
)  # fmt: skip
@click.option("--images", default="", help="Images to compare on.  [default: the training data]")
@click.option("--licence", help="Terms of the weights, for the manifest.")
@conversion_group
@variant_group
@click.option(
    "--keep-fp32",
    type=click.Path(path_type=Path),
    metavar="MODEL",
    help="Write the fp32 model too, which mtml-deploy parity compares with.",
)
@click.option(
    "--target",
    "targets",
    type=click.Choice(["onnx", *TARGETS]),
    multiple=True,
    help="Engines to build into the artifact, may be repeated; onnx builds none.  [default: those "
    "that this machine can build and run]",
)
@click.option(
    "--sm",
    type=int,
    multiple=True,
    help="Compute capability without the dot (86), may be repeated; tensorrt-rtx only, which then "
    "needs no GPU here.",
)
@deploy_options.json_file
@click.option("--overwrite", is_flag=True, help="Replace an artifact that is there.")
def export_main(
    *,
    run: Path,
    out: Path,
    which: Which | None,
    embedding: str,
    branches: str | None,
    with_orientation: bool,
    neck: NeckSide,
    normalise: Literal["none", Normalised],
    flip_average: bool,
    images: str,
    licence: str | None,
    conversion: Conversion | None,
    variant: Variant | None,
    keep_fp32: Path | None,
    targets: tuple[str, ...],
    sm: tuple[int, ...],
    json_file: Path | None,
    overwrite: bool,
) -> None:
    """Export a trained run to a deployable artifact: model.onnx and manifest.json.

    RUN is a run folder (its best checkpoint, else its last) or a checkpoint file. The export is
    compared with torch on real images, and its fp16 or int8 form with fp32; if either differs too
    much, nothing is written and the exit status is 1. TensorRT engines are built into it where the
    library and a GPU are here.
    """
    if conversion is None and keep_fp32 is not None:
        raise click.UsageError("--keep-fp32 is for --fp16 and --int8; --out is fp32 already")
    needed = ("torch", "torchvision", "safetensors", "onnx", "onnxscript", "onnxruntime")
    require_libraries("exporting", needed)
    from mtml_deploy.artifact.input_form import PLAIN
    from mtml_train.export.engines import build_engines, plan_engines

    if variant is not None and variant.form != PLAIN:
        if set(targets) - {"onnx"}:
            raise click.UsageError(
                "--target builds engines of graphs that take bytes; leave --input, --values and "
                "--channels out, or build with the program that runs the model"
            )
        targets = ("onnx",)
    try:
        engines = plan_engines(targets, sm=sm)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    from mtml_deploy.artifact.artifact_folder import ARTIFACT
    from mtml_deploy.cli.screen import show_model
    from mtml_deploy.outputs import require_output, require_outputs
    from mtml_deploy.report.facts.measured import MEASURED_JSON
    from mtml_train.checkpoint import load_checkpoint
    from mtml_train.export.export import ExportOptions, export

    options = ExportOptions(
        embedding=embedding,
        branches=tuple(name.strip() for name in branches.split(",")) if branches else (),
        with_orientation=with_orientation,
        neck=neck,
        normalised=None if normalise == "none" else normalise,
        flip_averaged=flip_average,
        images=images,
    )
    if licence is not None:
        options = replace(options, licence=licence)
    # before the minutes of an export
    require_output(out, ARTIFACT, overwrite=overwrite, inputs=(run,))
    require_outputs([(deploy_options.on_disk(json_file), MEASURED_JSON)], overwrite=overwrite)
    checkpoint = load_checkpoint(run, which=which)
    write_note(f"exporting {checkpoint.path}, step {checkpoint.progress.step}")

    def write_fp32(folder: Path) -> Artifact:
        return export(checkpoint, folder, options, overwrite=overwrite, say=write_note)

    def write_plain(folder: Path) -> Artifact:
        if conversion is None:
            return write_fp32(folder)
        return _converted(write_fp32, folder, conversion, keep_fp32, overwrite=overwrite)

    if variant is None:
        artifact = write_plain(out)
    else:
        artifact = _varied(write_plain, out, variant, overwrite=overwrite)
    write_note(f"wrote {out}")
    show_model(artifact, json_file)
    built = build_engines(artifact, engines, say=write_note)
    if not engines.jobs and not engines.asked:
        command = command_line("mtml-deploy", "build", out)
        built = (f"no TensorRT engine is in it; where it will run on a GPU: {command}",)
    for sentence in built:
        write_note(sentence)
    if variant is None or variant.form == PLAIN:
        write_next("mtml-deploy", "embed", out, "--images", "SOURCE", "--out", "FILE.npz")


def _varied(
    write_plain: Callable[[Path], Artifact], out: Path, variant: Variant, *, overwrite: bool
) -> Artifact:
    """Export for programs of others: as always first, then changed and compared.

    Returns:
        The artifact in `out`.

    Raises:
        MtmlError: what exporting and changing raise; `out` is not written.
    """
    from mtml_deploy.files import scratch_folder
    from mtml_deploy.handover.variant import write_variant

    with scratch_folder(out) as scratch:
        plain = write_plain(scratch / "plain")
        write_note(f"changing the graph: it takes {variant.form}")
        return write_variant(plain, out, variant, overwrite=overwrite)


def _converted(
    write_fp32: Callable[[Path], Artifact],
    out: Path,
    conversion: Conversion,
    keep_fp32: Path | None,
    *,
    overwrite: bool,
) -> Artifact:
    """Export in fp32, kept only where the user asked for it, then convert that.

    Returns:
        The artifact in `out`.

    Raises:
        MtmlError: what exporting and converting raise; `out` is not written.
    """
    from mtml_deploy.artifact.artifact_folder import ARTIFACT
    from mtml_deploy.files import scratch_folder
    from mtml_deploy.outputs import require_apart, require_output
    from mtml_deploy.precision.convert import convert

    if keep_fp32 is not None:
        require_output(keep_fp32, ARTIFACT, overwrite=overwrite)
        require_apart(out, keep_fp32)
    with ExitStack() as stack:
        folder = keep_fp32
        if folder is None:
            folder = stack.enter_context(scratch_folder(out)) / "fp32"
        return convert(
            write_fp32(folder),
            out,
            conversion,
            overwrite=overwrite,
            say=write_note,
            progress=lambda title: progress_bar(title, unit="images"),
        )
