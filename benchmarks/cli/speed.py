"""The commands `latency`, `throughput` and `parity`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import click

from benchmarks.cli import options as command_options
from benchmarks.cli.options import COUNT, POSITIVE, ascending, finish, plan, prepare
from benchmarks.sizes import GPU_NAMES, RUNNERS
from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_data, write_note
from mtml_deploy.cli.parity import parity as deploy_parity
from mtml_deploy.defaults import PROTOCOL

if TYPE_CHECKING:
    from mtml_deploy.defaults import Backend, ExecutionPrecision

_images = click.option(
    "--images", metavar="SOURCE",
    help="Image files, for decoding and end to end.  [default: random pixels, neither measured]",
)  # fmt: skip
_chosen = click.option(
    "--runner", "chosen", type=click.Choice(RUNNERS), multiple=True, metavar="NAME",
    help=f"What runs the model, may be repeated: {', '.join(RUNNERS)}.  [default: all that work "
    "here]",
)  # fmt: skip
_SECONDS_OF_STREAM: Final = 2.0
_ROUNDS: Final = 5


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks latency model --out reports",
        "python -m benchmarks latency model --run run --batch-size 1 --batch-size 8 "
        "--images veri:VeRi#query --out reports",
    ),
)
@options.model
@command_options.out
@_images
@command_options.run
@options.device
@command_options.batches
@_chosen
@command_options.runs
@command_options.seconds
@click.option("--memory/--no-memory", default=True, show_default=True, help="Measure memory too.")
@command_options.model_threads
@options.overwrite
def latency(
    *,
    model: Path,
    out: Path,
    images: str | None,
    run: Path | None,
    device: str,
    batches: tuple[int, ...],
    chosen: tuple[str, ...],
    runs: int,
    seconds: float,
    memory: bool,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Time of one run at each batch size, by part, and memory; peers beside it."""
    prepare(out, ("latency",), overwrite=overwrite)
    from benchmarks.runners.runner import Subject
    from benchmarks.speed.latency import LatencyBench, measure_latency
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source

    options.refuse_huge_images()
    record = measure_latency(
        Subject(open_artifact(model), run, device, model_threads),
        None if images is None else load_source(images),
        out,
        chosen=chosen,
        bench=LatencyBench(ascending(batches), plan(runs, seconds), memory=memory),
        say=write_note,
    )
    finish(out, record, overwrite=overwrite)


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks throughput model --out reports",
        "python -m benchmarks throughput model --runner ort --runner openvino --batch-size 8 "
        "--out reports",
    ),
)
@options.model
@command_options.out
@_images
@command_options.run
@options.device
@command_options.batches
@_chosen
@click.option("--rounds", type=POSITIVE, default=_ROUNDS, show_default=True)
@click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=_SECONDS_OF_STREAM,
    show_default=True, help="Of one measurement; at least one batch runs.",
)  # fmt: skip
@click.option("--matrix-size", type=POSITIVE, help="Of the device's limit.  [default: large]")
@command_options.model_threads
@options.overwrite
def throughput(
    *,
    model: Path,
    out: Path,
    images: str | None,
    run: Path | None,
    device: str,
    batches: tuple[int, ...],
    chosen: tuple[str, ...],
    rounds: int,
    seconds: float,
    matrix_size: int | None,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Images per second at each batch size, beside the device's own limit; peers beside it."""
    prepare(out, ("throughput",), overwrite=overwrite)
    from benchmarks.runners.runner import Subject
    from benchmarks.speed.throughput import ThroughputBench, measure_throughput
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source

    options.refuse_huge_images()
    record = measure_throughput(
        Subject(open_artifact(model), run, device, model_threads),
        None if images is None else load_source(images),
        chosen=chosen,
        bench=ThroughputBench(
            ascending(batches), rounds=rounds, seconds=seconds, matrix_size=matrix_size
        ),
        say=write_note,
    )
    finish(out, record, overwrite=overwrite)


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks roofline model --gpu-name l4",
        "python -m benchmarks roofline model --gpu-name h100-sxm --int8 --batch-size 128",
    ),
)
@options.model
@click.option("--gpu-name", required=True, type=click.Choice(GPU_NAMES), help="Whose data sheet.")
@click.option("--int8", is_flag=True, help="8-bit integers in place of half precision.")
@click.option("--batch-size", type=POSITIVE, default=64, show_default=True, help="Images per run.")
@click.option("--reached", type=click.FloatRange(0, 1, min_open=True), default=1.0,
              show_default=True, help="Share of both limits that kernels reach.")  # fmt: skip
@click.option("--layers", type=COUNT, default=15, show_default=True, help="Slowest ones shown.")
def roofline(
    *,
    model: Path,
    gpu_name: str,
    int8: bool,
    batch_size: int,
    reached: float,
    layers: int,
) -> None:
    """What a GPU can do with MODEL at most, layer by layer; nothing is run.

    A bound for planning: every layer is limited by the GPU's arithmetic or by its memory, and an
    engine computes what follows a product before it leaves the chip. Real engines stay below.
    """
    import onnx

    from benchmarks.speed.roofline import GPUS
    from benchmarks.speed.roofline import roofline as bound
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.text import table

    graph = onnx.load(open_artifact(model).model_path)
    precision: Literal["fp16", "int8"] = "int8" if int8 else "fp16"
    found = bound(graph, GPUS[gpu_name], precision=precision, batch=batch_size, reached=reached)
    memory = sum(layer.seconds for layer in found.layers if layer.bound == "memory")
    total = sum(layer.seconds for layer in found.layers)
    write_data(
        f"{gpu_name}, {precision}, batch {batch_size}: at most {found.images_per_s:,.0f} images/s, "
        f"{100 * found.share:.0f} % of the product rate; "
        f"{100 * memory / total:.0f} % of the time is bound by memory\n"
    )
    slowest = sorted(found.layers, key=lambda layer: -layer.seconds)[:layers]
    rows = [
        (
            layer.name,
            layer.operator,
            f"{layer.flop / 1e6:.0f}",
            f"{layer.bytes / 1e6:.2f}",
            f"{layer.seconds * 1e6:.2f}",
            layer.bound,
        )
        for layer in slowest
    ]
    titles = ("layer", "operator", "MFLOP", "MB", "us per image", "bound")
    write_data("\n".join(table(titles, rows, align="llrrrl")))


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks parity model-fp16 --reference model --data veri:VeRi --out reports",
        "python -m benchmarks parity model --reference model --data veri:VeRi "
        "--backend openvino --out reports",
    ),
)
@options.model
@command_options.out
@click.option(
    "--reference", required=True, type=options.FOLDER, metavar="MODEL", help="The fp32 model."
)
@click.option("--data", required=True, metavar="SOURCE", help="Labelled set.")
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option("--thresholds", type=options.FILE, help="TOML with a project's own bounds.")
@options.backend
@options.device
@options.execution_precision
@options.batch_size
@options.threads
@command_options.model_threads
@options.overwrite
@click.pass_context
def parity(
    ctx: click.Context,
    /,
    *,
    model: Path,
    out: Path,
    reference: Path,
    data: str,
    protocol: str,
    thresholds: Path | None,
    backend: Backend,
    device: str,
    precision: ExecutionPrecision,
    batch_size: int,
    threads: int,
    model_threads: int,
    overwrite: bool,
) -> None:
    """The parity gate of mtml-deploy, its verdict among the reports; exit status 1 if it fails."""
    ctx.invoke(
        deploy_parity,
        model=model,
        reference=reference,
        data=data,
        gallery=None,
        protocol=protocol,
        thresholds=thresholds,
        json_file=out / "parity.json",
        markdown_file=out / "parity.md",
        batch_size=batch_size,
        threads=threads,
        overwrite=overwrite,
        backend=backend,
        device=device,
        precision=precision,
        model_threads=model_threads,
    )
