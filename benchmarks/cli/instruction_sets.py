"""The command `isa`: what each instruction set of the CPU is worth."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from benchmarks.cli import options as command_options
from benchmarks.cli.options import POSITIVE, finish, prepare
from benchmarks.sizes import RUNNERS
from mtml_deploy.cli import options
from mtml_deploy.cli.command import SafeCommand
from mtml_deploy.cli.console import write_note
from mtml_deploy.defaults import PROTOCOL

_SETS: Final = (
    "AVX2", "AVX512_CORE", "AVX512_CORE_VNNI", "AVX512_CORE_BF16", "AVX512_CORE_AMX",
)  # fmt: skip


@click.command(
    cls=SafeCommand,
    docs="benchmarks/README.md",
    examples=(
        "python -m benchmarks isa model --out reports",
        "python -m benchmarks isa model --int8-model model-int8 --isa AVX2 --data veri:VeRi "
        "--out reports",
    ),
)
@options.model
@command_options.out
@click.option("--int8-model", type=options.FOLDER, metavar="MODEL", help="MODEL in int8.")
@command_options.run
@click.option("--images", metavar="SOURCE", help="The batch.  [default: random pixels]")
@click.option("--data", metavar="SOURCE", help="Labelled set: also measures mAP of every way.")
@click.option("--protocol", default=PROTOCOL, show_default=True, help=f"{options.PROTOCOLS}.")
@click.option(
    "--isa", "sets", type=click.Choice(_SETS), multiple=True,
    help="Values of ONEDNN_MAX_CPU_ISA, may be repeated.  [default: all that the processor has]",
)  # fmt: skip
@click.option(
    "--runner", "runners", type=click.Choice(RUNNERS), multiple=True, metavar="NAME",
    default=("openvino", "openvino-bf16", "torch", "torch-bf16"), show_default=True,
    help=f"What runs the model beside ONNX Runtime, may be repeated: {', '.join(RUNNERS)}.",
)  # fmt: skip
@click.option("--batch-size", type=POSITIVE, default=8, show_default=True, help="Images per run.")
@click.option("--rounds", type=POSITIVE, default=3, show_default=True,
              help="Processes of each way.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(min=0, min_open=True), default=3.0,
              show_default=True, help="Of one process; at least one batch runs.")  # fmt: skip
@command_options.model_threads
@options.overwrite
def isa(
    *,
    model: Path,
    out: Path,
    int8_model: Path | None,
    run: Path | None,
    images: str | None,
    data: str | None,
    protocol: str,
    sets: tuple[str, ...],
    runners: tuple[str, ...],
    batch_size: int,
    rounds: int,
    seconds: float,
    model_threads: int,
    overwrite: bool,
) -> None:
    """Every way to run MODEL on this CPU, under each instruction set: speed, cosine, mAP.

    Speeds are beside ONNX Runtime in float32. Each way runs in processes of its own.
    """
    prepare(out, ("isa",), overwrite=overwrite)
    from benchmarks.runners.runner import Subject
    from benchmarks.speed.instruction_sets import IsaBench, measure_instruction_sets
    from mtml_deploy.artifact.artifact import open_artifact
    from mtml_deploy.data.source import load_source
    from mtml_deploy.evaluation.protocols import find_protocol

    options.refuse_huge_images()
    if run is not None:  # the processes load it; what cannot be loaded is told before they start
        from mtml_train.checkpoint import load_checkpoint

        load_checkpoint(run)
    record = measure_instruction_sets(
        Subject(open_artifact(model), run, "cpu", model_threads),
        None if int8_model is None else open_artifact(int8_model),
        None if images is None else load_source(images),
        out,
        data=None
        if data is None
        else (load_source(data, split="query"), load_source(data, split="gallery")),
        protocol=find_protocol(protocol),
        bench=IsaBench(sets, runners, batch_size, rounds, seconds),
        say=write_note,
    )
    finish(out, record, overwrite=overwrite)
