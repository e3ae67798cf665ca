"""`python -m benchmarks COMMAND`: measure, write JSON and Markdown, print the Markdown.

Nothing heavy is imported before a command runs, so that every `--help` answers at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, get_args

import click

from benchmarks.cli import (
    branches as branch_commands,
)
from benchmarks.cli import (
    instruction_sets as isa_commands,
)
from benchmarks.cli import (
    reports as report_commands,
)
from benchmarks.cli import (
    service as service_commands,
)
from benchmarks.cli import (
    speed as speed_commands,
)
from benchmarks.cli import (
    training as training_commands,
)
from benchmarks.cli.options import COUNT as _COUNT
from benchmarks.cli.options import POSITIVE as _POSITIVE
from benchmarks.cli.options import finish as _finish
from benchmarks.cli.options import model_threads as _model_threads
from benchmarks.cli.options import out as _out
from benchmarks.cli.options import prepare as _prepare
from benchmarks.cli.options import run as _run
from benchmarks.ranking.sizes import CASES, SIZES, Case, plan_ranking, record_kind
from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeGroup
from mtml_deploy.cli.console import write_note
from mtml_deploy.defaults import Backend, ExecutionPrecision
from mtml_train.cli.size_type import SizeType
from mtml_train.config import VARIANTS, Amp, TrainConfig
from mtml_train.settings import RECIPES, build_config

_images = click.option("--images", required=True, metavar="SOURCE", help="The images to embed.")
_limit = click.option(
    "--limit", type=_COUNT, default=256, show_default=True, help="Use so many images; 0 is all."
)
_data = click.option("--data", multiple=True, required=True, help="Training source, veri:DIR.")

_PEERS: Final = """\b
Peers that cannot be installed lie beside the project, or are left out:
  git clone https://github.com/KaiyangZhou/deep-person-reid $PEERS/torchreid
  git clone https://github.com/JDAI-CV/fast-reid $PEERS/fastreid
  python -m pip install --target $PEERS/site cython setuptools
  cd $PEERS/torchreid/torchreid/metrics/rank_cylib
  PYTHONPATH=$PEERS/site python setup.py build_ext --inplace
  cd $PEERS/fastreid/fastreid/evaluation/rank_cylib
  PYTHONPATH=$PEERS/site python setup.py build_ext --inplace
Here python is the one that measures, and $PEERS an absolute path.
"""


@click.group("benchmarks", cls=SafeGroup, docs="benchmarks/README.md")
def main() -> None:
    """Measure the toolkit on this machine; leave the machine alone meanwhile."""


@main.command(
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks embed model --images veri:VeRi#gallery --out reports",
        "python -m benchmarks embed model --images veri:VeRi#gallery --run run --limit 96 "
        "--rounds 3 --out reports",
    ),
)
@options.model
@_images
@_out
@_run
@options.batch_size
@click.option("--rounds", type=_POSITIVE, default=5, show_default=True)
@_limit
@options.backend
@options.execution_precision
@options.streams
@options.threads
@_model_threads
@options.overwrite
def embed(
    *,
    model: Path,
    images: str,
    out: Path,
    run: Path | None,
    batch_size: int,
    rounds: int,
    limit: int,
    backend: Backend,
    precision: ExecutionPrecision,
    streams: int,
    threads: int,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Embedding: end to end from image files, model, decoding, torch, the machine's limit."""
    _prepare(out, ("embed",), overwrite=overwrite)
    from benchmarks.speed.embed import EmbedBench, measure_embed
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_train.checkpoint import load_checkpoint

    options.refuse_huge_images()
    record = measure_embed(
        open_artifact(model),
        load_source(images),
        out,
        checkpoint=None if run is None else load_checkpoint(run),
        bench=EmbedBench(
            batch_size=batch_size,
            rounds=rounds,
            limit=limit,
            threads=model_threads,
            decode_threads=threads,
            backend=backend,
            precision=precision,
            streams=streams,
        ),
        say=write_note,
    )
    _finish(out, record, overwrite=overwrite)


@main.command(
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks train --data veri:VeRi --out reports",
        "python -m benchmarks train --data veri:VeRi --backbone resnet50 --image-size 224 "
        "--batch-size 8 --out reports",
    ),
)
@_data
@_out
@click.option("--recipe", type=click.Choice(list(RECIPES)), default="paper", show_default=True)
@click.option("--variant", type=click.Choice(list(VARIANTS)), default=TrainConfig.variant,
              show_default=True)  # fmt: skip
@click.option("--backbone", default="resnet18", show_default=True, help="As of mtml-train.")
@click.option("--image-size", type=SizeType(), default=64, show_default=True,
              help="Side of a square, or HEIGHT,WIDTH.")  # fmt: skip
@click.option("--batch-size", type=_POSITIVE, default=16, show_default=True)
@click.option("--workers", type=_COUNT, default=TrainConfig.workers, show_default=True)
@click.option("--amp", type=click.Choice(list(get_args(Amp))), default=TrainConfig.amp,
              show_default=True)  # fmt: skip
@click.option("--device", default=TrainConfig.device, show_default=True)
@click.option("--steps", type=_POSITIVE, default=20, show_default=True, help="Steps per round.")
@click.option("--rounds", type=_POSITIVE, default=3, show_default=True)
@_model_threads
@options.overwrite
def train(
    *,
    out: Path,
    recipe: str,
    steps: int,
    rounds: int,
    model_threads: int,
    overwrite: bool,
    **settings: object,
) -> None:
    """Training: the whole loop against the bare model step, and the loader alone."""
    _prepare(out, ("train",), overwrite=overwrite)
    _measure_training(
        out,
        recipe,
        settings,
        steps=steps,
        rounds=rounds,
        threads=model_threads,
        overwrite=overwrite,
    )


@main.command(
    epilog=_PEERS,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks ranking --quick --out reports",
        "python -m benchmarks ranking --case topk --case rerank --size 100k --out reports",
    ),
)
@_out
@click.option(
    "--case", "cases", type=click.Choice(CASES), multiple=True,
    help="May be repeated. Without it all, but re-ranking only at the size veri.",
)  # fmt: skip
@click.option(
    "--size", type=click.Choice(list(SIZES)), default="veri", show_default=True,
    help="Made-up embeddings: as many as VeRi-776 has, 100,000 or a million gallery rows.",
)  # fmt: skip
@click.option("--quick", is_flag=True, help="A tiny size and one round: shows that it runs.")
@click.option("--peer-torchreid", type=options.FOLDER, help="Its checkout, compiled.")
@click.option("--peer-fast-reid", type=options.FOLDER, help="Its checkout, compiled.")
@click.option("--rounds", type=_POSITIVE, default=3, show_default=True)
@click.option("--seed", type=_COUNT, default=0, show_default=True, help="Of the embeddings.")
@_model_threads
@options.overwrite
def ranking(
    *,
    out: Path,
    cases: tuple[Case, ...],
    size: str,
    quick: bool,
    peer_torchreid: Path | None,
    peer_fast_reid: Path | None,
    rounds: int,
    seed: int,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Search, evaluation, re-ranking and the gallery, beside peers: time and memory.

    Re-ranking of 100,000 images (--size 100k) takes minutes, so it runs only where --case names it.
    """
    planned = plan_ranking(cases, size, quick=quick)
    _prepare(out, tuple(record_kind(*plan) for plan in planned), overwrite=overwrite)
    from benchmarks.ranking.peers import find_peers
    from benchmarks.ranking.run import RankingBench, measure_ranking

    peers = find_peers(peer_torchreid, peer_fast_reid)
    bench = RankingBench(rounds=1 if quick else rounds, threads=model_threads, seed=seed)
    for case, chosen, dim in planned:
        record = measure_ranking(case, chosen, dim, out, peers=peers, bench=bench, say=write_note)
        _finish(out, record, overwrite=overwrite)


@main.command(
    "all",
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks all model --out reports",
        "python -m benchmarks all model --images veri:VeRi#gallery --data veri:VeRi --out reports",
    ),
)
@options.model
@click.option("--images", metavar="SOURCE", help="Also measures embedding of these images.")
@click.option("--data", multiple=True, help="Also measures training on this source, veri:DIR.")
@click.option("--reference", type=options.FOLDER, metavar="MODEL",
              help="Also runs the parity gate against this fp32 model, on --data.")  # fmt: skip
@_out
@_run
@_limit
@options.backend
@options.device
@_model_threads
@options.overwrite
@click.pass_context
def everything(
    ctx: click.Context,
    /,
    *,
    model: Path,
    images: str | None,
    data: tuple[str, ...],
    reference: Path | None,
    out: Path,
    run: Path | None,
    limit: int,
    backend: str,
    device: str,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Latency, throughput and what the options name, each with its own defaults; then the report.

    Ranking is measured on its own: python -m benchmarks ranking.
    """
    if reference is not None and len(data) != 1:
        raise click.UsageError("--reference needs one --data, whose query and gallery are compared")
    kinds = ("latency", "throughput", *(["embed"] if images else []), *(["train"] if data else []))
    _prepare(out, kinds, overwrite=overwrite)
    shared = {"out": out, "model_threads": model_threads, "overwrite": overwrite}
    if reference is not None:
        ctx.invoke(
            speed_commands.parity, model=model, reference=reference, data=data[0], out=out,
            backend=backend, device=device, overwrite=overwrite,
        )  # fmt: skip
    for command in (speed_commands.latency, speed_commands.throughput):
        ctx.invoke(command, model=model, images=images, run=run, device=device, **shared)
    if images:
        ctx.invoke(embed, model=model, images=images, run=run, limit=limit, **shared)
    if data:
        ctx.invoke(train, data=data, **shared)
    ctx.invoke(report_commands.report, folder=out)


for _command in (
    branch_commands.branches,
    branch_commands.layouts,
    isa_commands.isa,
    report_commands.compare,
    report_commands.join,
    report_commands.report,
    service_commands.service,
    speed_commands.latency,
    speed_commands.parity,
    speed_commands.roofline,
    speed_commands.throughput,
    training_commands.training,
):
    main.add_command(_command)


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
    from benchmarks.speed.train import TrainBench, measure_train

    record = measure_train(
        build_config(recipe, None, settings),
        out,
        recipe=recipe,
        bench=TrainBench(steps=steps, rounds=rounds, threads=threads),
        say=write_note,
    )
    _finish(out, record, overwrite=overwrite)


if __name__ == "__main__":
    main(prog_name="python -m benchmarks")
