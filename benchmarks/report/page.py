"""The records of one run as one HTML page with plots; nothing outside of the file is needed."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from markupsafe import Markup

from benchmarks.measure.rounds import Series, Unit, in_words
from benchmarks.report.bars import bars_svg
from benchmarks.report.record import Record, percentiles
from mtml_deploy.output_kind import text_kind
from mtml_deploy.report.templates import page_environment

RECORDS_HTML: Final = text_kind(
    "a report of benchmarks", '<meta name="generator" content="mtml benchmarks report">'
)

_TEMPLATE: Final = "page.html.j2"

_UNITS: Final[dict[Unit, str]] = {
    "s": "Time, shorter is better",
    "images/s": "Images per second, longer is better",
    "FLOP/s": "Arithmetic per second, longer is better",
    "B/s": "Bytes per second, longer is better",
    "B": "Memory, shorter is better",
}


def records_html(records: Sequence[Record]) -> str:
    """The page.

    Args:
        records: of one run.

    Returns:
        HTML: per record its targets, a plot per unit and batch size, all values, what it depends
        on. Equal records give equal text.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    template = page_environment(Path(__file__).parent).get_template(_TEMPLATE)
    return template.render(
        records=records, plots=_plots, in_words=in_words, percentiles=percentiles, listed=_listed
    )


def _plots(record: Record) -> list[tuple[str, Markup]]:
    """Title and SVG of each plot of a record."""
    return [
        (title, Markup(bars_svg(group, title=title)))  # made here, text escaped
        for title, group in plot_groups(record.series)
    ]


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


def _listed(record: Record) -> str:
    """What was run, how, and with which libraries, on one line."""
    values = {**record.model, **record.settings, **record.environment.versions}
    return ", ".join(
        f"{name} {value if isinstance(value, str | int | float) else '+'.join(value or ())}"
        for name, value in values.items()
    )
