"""`mtml-deploy build`: a TensorRT engine of an artifact, on the machine that will run it."""

from __future__ import annotations

from pathlib import Path

import click

from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_next, write_note
from mtml_deploy.defaults import BATCH_SIZE
from mtml_deploy.engine.library import TARGETS, Target


@click.command(
    cls=SafeCommand,
    docs="docs/engines.md",
    examples=(
        "mtml-deploy build model",
        "mtml-deploy build model --target tensorrt-rtx --sm 86 --max-batch 128",
    ),
)
@options.model
@click.option(
    "--target",
    type=click.Choice(TARGETS),
    help="What to build for.  [default: the one that is installed]",
)
@click.option("--min-batch", type=click.IntRange(min=1), default=1, show_default=True,
              help="Fewest images per run.")  # fmt: skip
@click.option("--opt-batch", type=click.IntRange(min=1), default=BATCH_SIZE, show_default=True,
              help="Images per run that it is tuned for; longer batches are cut.")  # fmt: skip
@click.option("--max-batch", type=click.IntRange(min=1), default=64, show_default=True,
              help="Most images per run, for other programs that run the engine.")  # fmt: skip
@click.option(
    "--sm",
    type=int,
    multiple=True,
    help="Compute capability without the dot (86), may be repeated; tensorrt-rtx only, which then "
    "needs no GPU here.",
)
@click.option(
    "--workspace-gib",
    type=click.FloatRange(min=0, min_open=True),
    help="Most device memory of one layer's scratch.",
)
@click.option(
    "--optimization-level",
    type=click.IntRange(0, 5),
    help="0 builds fast, 5 runs fast.  [default: the library's]",
)
@click.option(
    "--aux-streams",
    type=click.IntRange(min=0),
    help="Streams on which branches may run side by side; tensorrt only.  [default: the library's "
    "choice]",
)
@click.option(
    "--timing-cache",
    type=options.FILE,
    help="Keeps measured kernels between builds; tensorrt only.",
)
@click.option(
    "--hardware-compatible",
    is_flag=True,
    help="For every GPU since Ampere, slower; tensorrt only.",
)
@click.option("--gpu", default=0, show_default=True, help="Number of the GPU to build on.")
@options.json_file
@options.overwrite
def build(
    *,
    model: Path,
    target: Target | None,
    min_batch: int,
    opt_batch: int,
    max_batch: int,
    sm: tuple[int, ...],
    workspace_gib: float | None,
    optimization_level: int | None,
    aux_streams: int | None,
    timing_cache: Path | None,
    hardware_compatible: bool,
    gpu: int,
    json_file: Path | None,
    overwrite: bool,
) -> None:
    """Build a TensorRT engine of MODEL and keep it inside, with a sidecar that binds it.

    The precision is that of the model file. The engine runs only with the same library version, on
    the GPU it was built for; anywhere else, build it again there.
    """
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.cli.screen import Screen
    from mtml_deploy.engine.here import build_here
    from mtml_deploy.engine.manifest import ENGINE_JSON, engine_manifest_json
    from mtml_deploy.engine.options import BatchProfile, BuildOptions
    from mtml_deploy.outputs import require_outputs
    from mtml_deploy.report.facts.model import megabytes

    require_outputs(
        [(options.on_disk(json_file), ENGINE_JSON)], overwrite=overwrite, inputs=(model,)
    )
    opened = open_artifact(model)
    try:
        chosen = BuildOptions(
            profile=BatchProfile(min_batch, opt_batch, max_batch),
            sm=sm,
            workspace_bytes=round((workspace_gib or 0) * 2**30),
            optimization_level=optimization_level,
            aux_streams=aux_streams,
            hardware_compatible=hardware_compatible,
        )
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    engine = build_here(
        opened,
        chosen,
        target=target,
        gpu=gpu,
        timing_cache=timing_cache,
        overwrite=overwrite,
        say=write_note,
    )
    side = engine.manifest
    options.write_json(json_file, lambda: engine_manifest_json(side))
    Screen(json_file).facts(
        [
            ("engine", str(engine.path)),
            ("size", megabytes(side.plan_bytes)),
            ("built in", f"{side.build_seconds:.1f} s"),
            ("precision", opened.manifest.precision),
            ("runs as", side.in_words()),
        ]
    )
    if aux_streams and side.aux_streams is not None and side.aux_streams < aux_streams:
        write_note(
            f"note: --aux-streams {aux_streams} allows so many; the engine uses {side.aux_streams}"
        )
    reference = model if opened.manifest.precision == "fp32" else "FP32"
    write_next("mtml-deploy", "parity", model, "--reference", reference, "--data", "SOURCE",
               "--backend", side.target, "--device", f"cuda:{gpu}")  # fmt: skip
