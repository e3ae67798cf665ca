"""The commands `branches` and `layouts`: what the branches cost, and how they run best."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from benchmarks.cli import options as command_options
from benchmarks.cli.options import POSITIVE, ascending, finish, plan, prepare
from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note
from mtml_deploy.defaults import PROTOCOL
from mtml_train.cli.size_type import SizeType
from mtml_train.config import TrainConfig
from mtml_train.image_size import ImageSize

if TYPE_CHECKING:
    from mtml_deploy.defaults import Backend


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks branches model --branch-model gray=model-gray --data veri:VeRi "
        "--out reports",
        "python -m benchmarks branches model --branch-model gray=model-gray --data veri:VeRi "
        "--backend openvino --out reports",
    ),
)
@options.model
@command_options.out
@click.option("--branch-model", "parts", multiple=True, required=True, metavar="NAME=MODEL",
              help="Export of some branches, may be repeated.")  # fmt: skip
@click.option("--data", required=True, metavar="SOURCE", help="Labelled set for mAP.")
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@options.backend
@options.device
@options.batch_size
@command_options.runs
@command_options.seconds
@command_options.model_threads
@options.overwrite
def branches(
    *,
    model: Path,
    out: Path,
    parts: tuple[str, ...],
    data: str,
    protocol: str,
    backend: Backend,
    device: str,
    batch_size: int,
    runs: int,
    seconds: float,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Time of each branch beside its mAP; exports of branches: mtml-export RUN --branches NAMES."""
    prepare(out, ("branches",), overwrite=overwrite)
    from benchmarks.branches.cost import BranchBench, measure_branches
    from benchmarks.runners.runner import Subject
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_deploy.evaluation.protocols import find_protocol

    options.refuse_huge_images()
    named = {}
    for part in parts:
        name, equals, folder = part.partition("=")
        if not name or not equals or name in named:
            raise click.UsageError(f"--branch-model is NAME=MODEL, each once, found {part!r}")
        named[name] = open_artifact(Path(folder))
    record = measure_branches(
        Subject(open_artifact(model), None, device, model_threads),
        named,
        (load_source(data, split="query"), load_source(data, split="gallery")),
        protocol=find_protocol(protocol),
        bench=BranchBench(backend, batch_size, plan(runs, seconds)),
        say=write_note,
    )
    finish(out, record, overwrite=overwrite)


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks layouts --run run --device cuda:0 --out reports",
        "python -m benchmarks layouts --backbone resnet18 --batch-size 8 --out reports",
    ),
)
@command_options.out
@click.option("--run", type=options.FOLDER, metavar="RUN",
              help="A trained run.  [default: random weights]")  # fmt: skip
@click.option("--backbone", default=TrainConfig.backbone, show_default=True,
              help="Of random weights.")  # fmt: skip
@click.option("--image-size", type=SizeType(), default=TrainConfig.image_size, show_default=True,
              help="Of random weights, pixels.")  # fmt: skip
@options.device
@command_options.batches
@command_options.runs
@command_options.seconds
@click.option("--compile", "compiled", is_flag=True, help="Through torch.compile too: minutes.")
@click.option("--matrix-size", type=POSITIVE, help="Of the device's limit.  [default: large]")
@command_options.model_threads
@options.overwrite
def layouts(
    *,
    out: Path,
    run: Path | None,
    backbone: str,
    image_size: ImageSize,
    device: str,
    batches: tuple[int, ...],
    runs: int,
    seconds: float,
    compiled: bool,
    matrix_size: int | None,
    model_threads: int,
    overwrite: bool,
) -> None:
    """The branches in torch: serial, on streams, grouped, as CUDA graphs. For --device cuda:0."""
    prepare(out, ("layouts",), overwrite=overwrite)
    from benchmarks.branches.layout_model import random_extractor, trained_extractor
    from benchmarks.branches.layouts import LayoutBench, measure_layouts

    extractor, size, model = (
        random_extractor(backbone, image_size) if run is None else trained_extractor(run)
    )
    record = measure_layouts(
        extractor,
        device=device,
        threads=model_threads,
        size=size,
        model=model,
        bench=LayoutBench(
            ascending(batches), plan(runs, seconds), compiled=compiled, matrix_size=matrix_size
        ),
        say=write_note,
    )
    finish(out, record, overwrite=overwrite)
