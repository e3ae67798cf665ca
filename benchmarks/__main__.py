"""`python -m benchmarks embed|train|all`: measure, write JSON and Markdown, print the Markdown.

Nothing heavy is imported before a command runs, so that every `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, get_args

import click

from mtml_deploy.commands import options
from mtml_deploy.console import SafeGroup, prepare_streams, write_data, write_note
from mtml_train.config import RECIPES, VARIANTS, Amp, TrainConfig, build_config
from mtml_train.extras import require_libraries

if TYPE_CHECKING:
    from benchmarks.report import Record

_CONTEXT: Final = {"help_option_names": ["-h", "--help"]}
_POSITIVE: Final = click.IntRange(min=1)
_COUNT: Final = click.IntRange(min=0)
_LIBRARIES: Final = (
    "torch", "torchvision", "safetensors", "tensorboard", "onnx", "onnxruntime",
)  # fmt: skip

_out = click.option("--out", type=options.FOLDER, required=True, help="Folder of the reports.")
_threads = click.option(
    "--threads", type=_COUNT, default=0, show_default=True,
    help="Threads of models and matrix products; 0 is one per physical core.",
)  # fmt: skip
_artifact = click.option(
    "--artifact", type=options.FOLDER, required=True, help="The exported model."
)
_images = click.option("--images", required=True, metavar="SOURCE", help="The images to embed.")
_run = click.option(
    "--run", type=options.FOLDER, help="Run or checkpoint of ARTIFACT: also measures plain torch."
)
_limit = click.option(
    "--limit", type=_COUNT, default=256, show_default=True, help="Use so many images; 0 is all."
)
_data = click.option("--data", multiple=True, required=True, help="Training source, veri:DIR.")


@click.group(cls=SafeGroup, context_settings=_CONTEXT)
@click.option("-v", "--verbose", is_flag=True, help="Show what is being done, on stderr.")
def main(*, verbose: bool) -> None:
    """Measure the toolkit on this machine; leave the machine alone meanwhile."""
    prepare_streams(verbose=verbose)


@main.command(epilog=options.SOURCES)
@_artifact
@_images
@_out
@_run
@options.batch_size
@click.option("--rounds", type=_POSITIVE, default=5, show_default=True)
@_limit
@_threads
@click.option(
    "--decode-threads", type=_COUNT, default=0, show_default=True, help="0 is one per CPU."
)
@options.overwrite
def embed(
    *,
    artifact: Path,
    images: str,
    out: Path,
    run: Path | None,
    batch_size: int,
    rounds: int,
    limit: int,
    threads: int,
    decode_threads: int,
    overwrite: bool,
) -> None:
    """Embedding: end to end from image files, model, decoding, torch, the machine's limit."""
    _prepare(out, ("embed",), overwrite=overwrite)
    from benchmarks.embed import EmbedBench, measure_embed
    from mtml_deploy.artifact import open_artifact
    from mtml_deploy.datasets import load_source
    from mtml_train.checkpoint import load_checkpoint

    options.refuse_huge_images()
    record = measure_embed(
        open_artifact(artifact),
        load_source(images),
        out,
        checkpoint=None if run is None else load_checkpoint(run),
        bench=EmbedBench(
            batch_size=batch_size,
            rounds=rounds,
            limit=limit,
            threads=threads,
            decode_threads=decode_threads,
        ),
        say=write_note,
    )
    _finish(out, record, overwrite=overwrite)


@main.command(epilog=options.SOURCES)
@_data
@_out
@click.option("--recipe", type=click.Choice(list(RECIPES)), default="paper", show_default=True)
@click.option("--variant", type=click.Choice(list(VARIANTS)), default=TrainConfig.variant,
              show_default=True)  # fmt: skip
@click.option("--backbone", default="resnet18", show_default=True, help="Any torchvision ResNet.")
@click.option("--image-size", type=_POSITIVE, default=64, show_default=True, help="Pixels.")
@click.option("--batch-size", type=_POSITIVE, default=16, show_default=True)
@click.option("--workers", type=_COUNT, default=TrainConfig.workers, show_default=True)
@click.option("--amp", type=click.Choice(list(get_args(Amp))), default=TrainConfig.amp,
              show_default=True)  # fmt: skip
@click.option("--device", default=TrainConfig.device, show_default=True)
@click.option("--steps", type=_POSITIVE, default=20, show_default=True, help="Steps per round.")
@click.option("--rounds", type=_POSITIVE, default=3, show_default=True)
@_threads
@options.overwrite
def train(
    *,
    out: Path,
    recipe: str,
    steps: int,
    rounds: int,
    threads: int,
    overwrite: bool,
    **settings: object,
) -> None:
    """Training: the whole loop against the bare model step, and the loader alone."""
    _prepare(out, ("train",), overwrite=overwrite)
    _measure_training(
        out, recipe, settings, steps=steps, rounds=rounds, threads=threads, overwrite=overwrite
    )


@main.command("all", epilog=options.SOURCES)
@_artifact
@_images
@_data
@_out
@_run
@_limit
@_threads
@options.overwrite
@click.pass_context
def everything(
    ctx: click.Context,
    /,
    *,
    artifact: Path,
    images: str,
    data: tuple[str, ...],
    out: Path,
    run: Path | None,
    limit: int,
    threads: int,
    overwrite: bool,
) -> None:
    """Every benchmark, with the defaults of its own command."""
    _prepare(out, ("embed", "train"), overwrite=overwrite)
    shared = {"out": out, "threads": threads, "overwrite": overwrite}
    ctx.invoke(embed, artifact=artifact, images=images, run=run, limit=limit, **shared)
    ctx.invoke(train, data=data, **shared)


def _prepare(out: Path, kinds: tuple[str, ...], *, overwrite: bool) -> None:
    """Stop now rather than after minutes of measuring."""
    require_libraries("measuring", _LIBRARIES)
    from benchmarks.report import require_writable

    for kind in kinds:
        require_writable(out, kind, overwrite=overwrite)
    out.mkdir(parents=True, exist_ok=True)


def _measure_training(
    out: Path,
    recipe: str,
    settings: Mapping[str, object],
    *,
    steps: int,
    rounds: int,
    threads: int,
    overwrite: bool,
) -> None:
    """Measure and report training with a recipe and settings that win over it."""
    from benchmarks.train import TrainBench, measure_train

    record = measure_train(
        build_config(recipe, None, settings),
        out,
        recipe=recipe,
        bench=TrainBench(steps=steps, rounds=rounds, threads=threads),
        say=write_note,
    )
    _finish(out, record, overwrite=overwrite)


def _finish(out: Path, record: Record, *, overwrite: bool) -> None:
    """Write the record and show it."""
    from benchmarks.report import record_markdown, record_paths, write_record

    write_record(out, record, overwrite=overwrite)
    write_data(record_markdown(record))
    write_note(f"wrote {' and '.join(map(str, record_paths(out, record.kind)))}")


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
