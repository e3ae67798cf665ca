"""The records of one run as one HTML page with plots; nothing outside of the file is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.measure.rounds import Series, Unit, in_words
from benchmarks.report.record import Record, percentiles
from benchmarks.report.svg_plot import bars_svg

_UNITS: Final[dict[Unit, str]] = {
    "s": "Time, shorter is better",
    "images/s": "Images per second, longer is better",
    "FLOP/s": "Arithmetic per second, longer is better",
    "B/s": "Bytes per second, longer is better",
    "B": "Memory, shorter is better",
}

_STYLE: Final = """
:root { --paper: #f6f7f9; --card: #fff; --ink: #1c2128; --faint: #5d6673; --line: #dde1e7;
  --bar: #3b7dd8; --good: #1a8a3f; --bad: #c22f2b; }
@media (prefers-color-scheme: dark) { :root { --paper: #12151a; --card: #1b2027; --ink: #e7eaee;
  --faint: #9ba5b2; --line: #303842; --bar: #6aa5f2; --good: #3fbf6b; --bad: #ff6b62; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem 1.25rem 3rem; max-width: 64rem; background: var(--paper);
  color: var(--ink); font: 15px/1.45 system-ui, sans-serif; }
section { background: var(--card); border: 1px solid var(--line); border-radius: 8px;
  padding: .25rem 1.25rem 1.25rem; margin: 1.25rem 0; }
h1, h2, h3 { line-height: 1.2; } h3 { margin-top: 1.5rem; font-size: 1rem; }
svg { width: 100%; height: auto; font: 12px system-ui, sans-serif; fill: var(--ink); }
svg rect { fill: var(--bar); } svg line { stroke: var(--ink); stroke-width: 2; opacity: .55; }
svg .axis { fill: var(--faint); font-size: 11px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { padding: .3rem .6rem; border-bottom: 1px solid var(--line); text-align: left; }
td + td, th + th { text-align: right; font-variant-numeric: tabular-nums; }
.reached { color: var(--good); } .missed { color: var(--bad); }
.facts { color: var(--faint); overflow-wrap: anywhere; }
"""


def records_html(records: Sequence[Record]) -> str:
    """The page.

    Args:
        records: of one run.

    Returns:
        HTML: per record its targets, a plot per unit and batch size, all values, what it depends
        on.
    """
    sections = "\n".join(_section(record) for record in records)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Benchmarks</title><style>{_STYLE}</style></head>\n"
        f"<body><h1>Benchmarks</h1>\n{sections}\n</body></html>\n"
    )


def _section(record: Record) -> str:
    """One record."""
    plots = "\n".join(
        f"<h3>{escape(title)}</h3>\n{bars_svg(group, title=title)}"
        for title, group in plot_groups(record.series)
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in record.notes)
    return (
        f"<section><h2>{escape(record.title)}</h2>\n{_facts(record)}\n{_ratios(record)}\n{plots}\n"
        f"<details><summary>All values</summary>{_table(record.series)}</details>\n"
        f"<ul>{notes}</ul></section>"
    )


def plot_groups(series: Sequence[Series]) -> list[tuple[str, list[Series]]]:
    """The plots of a record: series of one unit and one batch size side by side.

    Args:
        series: of the record.

    Returns:
        Title and series of each plot, in the order of the record.
    """
    groups: dict[str, list[Series]] = {}
    for item in series:
        batch = re.match(r"b(\d+)/", item.key)
        title = _UNITS[item.unit] + (f", batch {batch[1]}" if batch else "")
        groups.setdefault(title, []).append(item)
    return list(groups.items())


def _ratios(record: Record) -> str:
    """A table of the ratios."""
    if not record.ratios:
        return ""
    rows = []
    for item in record.ratios:
        target = ""
        if item.at_least is not None:
            word = "reached" if item.reached else "missed"
            target = f'<span class="{word}">at least {100 * item.at_least:.1f} %: {word}</span>'
        rows.append(
            f"<tr><td>{escape(item.title)}</td><td>{100 * item.value:.1f} %</td>"
            f"<td>{target}</td></tr>"
        )
    head = "<tr><th>ratio of medians</th><th>value</th><th>target</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _table(series: Sequence[Series]) -> str:
    """All series with their percentiles."""
    rows = []
    for item in series:
        shown = "".join(f"<td>{in_words(value, item)}</td>" for value in percentiles(item.values))
        rows.append(f"<tr><td>{escape(item.title)}</td>{shown}<td>{len(item.values)}</td></tr>")
    head = "<tr><th>measured</th><th>p50</th><th>p95</th><th>p99</th><th>runs</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>'


def _facts(record: Record) -> str:
    """Where, when and with what it was measured."""
    environment = record.environment
    machine = environment.machine
    gpus = "".join(f"; {gpu.name}, driver {gpu.driver}" for gpu in environment.gpus)
    commit = (environment.git_commit or "not a checkout")[:12]
    values = {**record.model, **record.settings, **environment.versions}
    listed = ", ".join(
        f"{name} {value if isinstance(value, str | int | float) else '+'.join(value or ())}"
        for name, value in values.items()
    )
    return (
        f'<p class="facts">{escape(environment.date)}, commit {escape(commit)}; '
        f"{escape(machine.cpu)}, {machine.usable_cpus} CPUs, load {machine.load:.1f} before the "
        f"start{escape(gpus)}.<br>{escape(listed)}</p>"
    )
