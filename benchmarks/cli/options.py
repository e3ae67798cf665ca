"""Options that several benchmark commands share, and what each does first and last."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from benchmarks.measure.single_runs import RunPlan
from benchmarks.sizes import BATCHES
from mtml_deploy.cli import options
from mtml_deploy.cli.console import write_data, write_note
from mtml_train.cli.requirements import require_libraries

if TYPE_CHECKING:
    from benchmarks.report.record import Record

POSITIVE: Final = click.IntRange(min=1)
COUNT: Final = click.IntRange(min=0)
LIBRARIES: Final = (
    "torch", "torchvision", "safetensors", "tensorboard", "onnx", "onnxruntime",
)  # fmt: skip

out = click.option(
    "--out", type=options.FOLDER, required=True, metavar="DIR", help="Folder of the reports."
)
model_threads = click.option(
    "--model-threads", type=COUNT, default=0, show_default=True,
    help="Threads of models and matrix products; 0 is one per physical core.",
)  # fmt: skip
run = click.option(
    "--run", type=options.FOLDER, metavar="RUN",
    help="Run or checkpoint of MODEL: also measures plain torch.",
)  # fmt: skip
batches = click.option(
    "--batch-size", "batches", type=POSITIVE, multiple=True, default=BATCHES, show_default=True,
    help="Images per run, may be repeated.",
)  # fmt: skip
runs = click.option(
    "--runs", type=POSITIVE, default=RunPlan.most, show_default=True,
    help="Runs at each batch size where time allows.",
)  # fmt: skip
seconds = click.option(
    "--seconds", type=click.FloatRange(min=0, min_open=True), default=RunPlan.seconds,
    show_default=True,
    help=f"Time at each batch size beyond which a runner stops, after {RunPlan.fewest} runs.",
)  # fmt: skip


def prepare(out: Path, kinds: tuple[str, ...], *, overwrite: bool) -> None:
    """Stop now rather than after minutes of measuring.

    Args:
        out: folder of the reports, made if needed.
        kinds: names of the records.
        overwrite: replace earlier records.

    Raises:
        MissingExtraError: a library is not installed.
        OutputExistsError: a record is there and `overwrite` is false.
    """
    require_libraries("measuring", LIBRARIES)
    from benchmarks.report.record import require_writable

    for kind in kinds:
        require_writable(out, kind, overwrite=overwrite)
    out.mkdir(parents=True, exist_ok=True)


def finish(out: Path, record: Record, *, overwrite: bool) -> None:
    """Write the record and show it.

    Args:
        out: folder of the reports.
        record: what was measured.
        overwrite: replace an earlier record.
    """
    from benchmarks.report.record import record_markdown, record_paths, write_record

    write_record(out, record, overwrite=overwrite)
    write_data(record_markdown(record))
    write_note(f"wrote {' and '.join(map(str, record_paths(out, record.kind)))}")


def ascending(batches: tuple[int, ...]) -> tuple[int, ...]:
    """Batch sizes, each once, the smallest first."""
    return tuple(sorted(set(batches)))


def plan(runs: int, seconds: float) -> RunPlan:
    """As often as the user allows.

    Args:
        runs: most runs of each contender at each batch size.
        seconds: time beyond which one runs no more often than it must.
    """
    return RunPlan(most=runs, fewest=min(runs, RunPlan.fewest), seconds=seconds)
