"""The record of a benchmark, as JSON for programs and as a Markdown page for people.

Fractions 0..1 and plain units in JSON; percent and GFLOP/s in tables only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Literal

from benchmarks.measure.machine import Environment, GpuState, Machine
from benchmarks.measure.rounds import Ratio, Series, Unit, in_words
from benchmarks.report.bars import bars, percentiles, plot_groups
from benchmarks.report.headline import findings, target_text
from mtml_deploy import record_file
from mtml_deploy.files import write_text
from mtml_deploy.output_kind import FileKind, json_kind, text_kind
from mtml_deploy.outputs import require_outputs
from mtml_deploy.text import percent, table

RECORD_JSON: Final = json_kind("a record of a benchmark", "schema", "kind", "series", "machine")
RECORD_MARKDOWN: Final = text_kind(
    "a page of a benchmark", r"\A# [^\n]*\n(?s:.*?)\n\| *measured *\|"
)

Plain = str | int | float | bool | None | Sequence[str]


@dataclass(frozen=True)
class Record:
    """One benchmark and all that its numbers depend on.

    Attributes:
        kind: name of the benchmark and of its files.
        title: headline of the page.
        environment: where and with what it ran.
        model: what was run; for an exported model with its hash.
        settings: how it was run.
        series: what was measured.
        ratios: what follows.
        notes: sentences that a reader must know.
        percentiles: the page shows p50, p95 and p99 in place of median, lowest and highest.
        lead: lines of Markdown that the page shows first, made of series and ratios.
    """

    kind: str
    title: str
    environment: Environment
    model: Mapping[str, Plain]
    settings: Mapping[str, Plain]
    series: tuple[Series, ...]
    ratios: tuple[Ratio, ...]
    notes: tuple[str, ...]
    percentiles: bool = False
    lead: tuple[str, ...] = ()


class WrittenSeries(record_file.Record, frozen=True, kw_only=True):
    """A series in a file: its fields, and what is derived from its values; older ones lack some."""

    key: str
    title: str
    what: str
    unit: Unit
    values: tuple[float, ...]
    process_medians: tuple[float, ...] = ()
    median: float | None = None
    min: float | None = None
    max: float | None = None
    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    runs: int | None = None


class WrittenRatio(record_file.Record, frozen=True, kw_only=True):
    """A ratio in a file: its fields, and whether it was reached."""

    key: str
    title: str
    value: float
    at_least: float | None
    reached: bool | None = None


class WrittenRecord(record_file.Record, frozen=True, kw_only=True):
    """The file of a `Record`; older ones of this version lack what has a default here."""

    schema: Literal[1] = 1
    kind: str
    title: str | None = None
    date: str
    git_commit: str | None
    git_changed: bool | None
    machine: Machine
    versions: Mapping[str, str]
    gpus: tuple[GpuState, ...] = ()
    model: Mapping[str, Plain]
    settings: Mapping[str, Plain]
    series: tuple[WrittenSeries, ...]
    ratios: tuple[WrittenRatio, ...]
    notes: tuple[str, ...]
    percentiles: bool = False
    lead: tuple[str, ...] = ()


def record_paths(folder: Path, kind: str) -> tuple[Path, Path]:
    """The JSON and the Markdown file of a benchmark."""
    return folder / f"{kind}.json", folder / f"{kind}.md"


def require_writable(
    folder: Path, kind: str, *, overwrite: bool, inputs: Iterable[Path] = ()
) -> None:
    """Refuse to measure for minutes what cannot be written then.

    Args:
        folder: where the record goes.
        kind: name of the benchmark.
        overwrite: replace an earlier record.
        inputs: what it is made from.

    Raises:
        OutputExistsError: there is one and `overwrite` is false, or another file or an input.
    """
    kinds: tuple[FileKind, ...] = (RECORD_JSON, RECORD_MARKDOWN)
    outputs = zip(record_paths(folder, kind), kinds, strict=True)
    require_outputs(outputs, overwrite=overwrite, inputs=inputs)


def write_record(folder: Path, record: Record, *, overwrite: bool) -> None:
    """Write both files, each whole or not at all.

    Args:
        folder: made if needed.
        record: what was measured.
        overwrite: replace an earlier record.

    Raises:
        OutputExistsError: there is one and `overwrite` is false.
    """
    require_writable(folder, record.kind, overwrite=overwrite)
    data, page = record_paths(folder, record.kind)
    write_text(data, record_json(record))
    write_text(page, record_markdown(record))


def record_json(record: Record) -> str:
    """The record as indented JSON.

    Args:
        record: what was measured.

    Returns:
        JSON; every series with its values and their median, minimum, maximum and number.
    """
    environment = record.environment
    written = WrittenRecord(
        kind=record.kind,
        title=record.title,
        date=environment.date,
        git_commit=environment.git_commit,
        git_changed=environment.git_changed,
        machine=environment.machine,
        versions=environment.versions,
        gpus=environment.gpus,
        model=record.model,
        settings=record.settings,
        series=tuple(_written(series) for series in record.series),
        ratios=tuple(
            WrittenRatio(**asdict(ratio), reached=ratio.reached) for ratio in record.ratios
        ),
        notes=record.notes,
        percentiles=record.percentiles,
        lead=record.lead,
    )
    return record_file.record_json(written, indent=2) + "\n"


def _written(series: Series) -> WrittenSeries:
    """A series for the file."""
    p50, p95, p99 = percentiles(series.values)
    return WrittenSeries(
        **asdict(series),
        median=series.median,
        min=min(series.values),
        max=max(series.values),
        p50=p50,
        p95=p95,
        p99=p99,
        runs=len(series.values),
    )


def record_markdown(record: Record) -> str:
    """The record as a Markdown page: what was found, two tables, then what they depend on.

    Args:
        record: what was measured.

    Returns:
        Markdown.
    """
    environment, machine = record.environment, record.environment.machine
    columns = ("p50", "p95", "p99", "runs", "processes")
    if not record.percentiles:
        columns = ("median", "lowest", "highest", "rounds", "processes")
    lengths = {
        item.key: bar.length
        for _, group in plot_groups(record.series)
        for item, bar in zip(group, bars(group).rows, strict=True)
    }
    rows = []
    for series in record.series:
        speeds = (series.median, min(series.values), max(series.values))
        if record.percentiles:
            speeds = percentiles(series.values)
        cells = [in_words(speed, series) for speed in speeds]
        counts = len(series.values), len(series.of_processes)
        rows.append((series.title, _bar(lengths[series.key]), *cells, *map(str, counts)))
    signs = {True: "✅ ", False: "❌ ", None: ""}
    found = [
        f"- {signs[item.reached]}{item.target}{'. ' if item.target else ''}{item.text}."
        for item in findings(record.series, record.ratios)
    ]
    lines = [f"# {record.title}", "", *found, *([""] if found else [])]
    lines += [*record.lead, *([""] if record.lead else [])]
    lines += [*table(("measured", "", *columns), rows, align="llrrrrr"), ""]
    lines += ["Bars: medians beside those of the same unit and batch size.", ""]
    ratios = [(item.title, f"{percent(item.value)} %", target_text(item)) for item in record.ratios]
    lines += table(("ratio of medians", "value", "target"), ratios, align="lrl")
    lines += ["", *(f"- {series.title}: {series.what}" for series in record.series)]
    lines += [f"- {note}" for note in record.notes]
    commit = environment.git_commit or "not a checkout"
    changed = " with changes" if environment.git_changed else ""
    instructions = f" ({', '.join(machine.instructions)})" if machine.instructions else ""
    lines += [
        "",
        f"{environment.date}, commit {commit[:12]}{changed}.",
        f"Machine: {machine.cpu}{instructions}, {machine.usable_cpus} of {machine.logical_cpus} "
        f"CPUs, {machine.memory_bytes / 2**30:.0f} GiB, {machine.system}; load {machine.load:.1f} "
        "before the start.",
        *(_gpu(gpu) for gpu in environment.gpus),
        "",
        f"- Versions: {_listed(environment.versions)}",
        f"- Model: {_listed(record.model)}",
        f"- Settings: {_listed(record.settings)}",
    ]
    return "\n".join(lines) + "\n"


def _bar(length: float) -> str:
    """A share of the axis as up to ten characters, in eighths of one."""
    whole, part = divmod(max(round(80 * length), 1), 8)
    return "█" * whole + " ▏▎▍▌▋▊▉"[part].strip()


def _gpu(gpu: GpuState) -> str:
    """One line on a GPU."""
    state = ", ".join(f"{name} {value:g}" for name, value in gpu.state.items())
    return (
        f"GPU: {gpu.name}, compute capability {gpu.compute_capability}, "
        f"{gpu.memory_bytes / 2**30:.0f} GiB, driver {gpu.driver or 'unknown'}, CUDA {gpu.cuda}; "
        f"{state or 'clocks unknown'}."
    )


def _listed(values: Mapping[str, Plain]) -> str:
    """Names and values on one line."""
    return ", ".join(f"{name} {_shown(value)}" for name, value in values.items())


def _shown(value: Plain) -> str:
    """`value` as inline code, which Markdown leaves as it is."""
    text = (
        str(value) if isinstance(value, str) or not isinstance(value, Sequence) else "+".join(value)
    )
    return f"`{' '.join(text.replace('`', chr(39)).split()) or '-'}`"
