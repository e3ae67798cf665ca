"""The records of one run as one HTML page: findings and plots first, then tables, then settings.

Nothing outside of the file is needed, and a phone has room for all of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from benchmarks.measure.rounds import in_words
from benchmarks.report.bars import Bars, bars, percentiles, plot_groups
from benchmarks.report.headline import findings, target_text
from benchmarks.report.record import Record
from mtml_deploy.output_kind import text_kind
from mtml_deploy.report.templates import page_environment

RECORDS_HTML: Final = text_kind(
    "a report of benchmarks", '<meta name="generator" content="mtml benchmarks report">'
)

_TEMPLATE: Final = "page.html.j2"


def records_html(records: Sequence[Record]) -> str:
    """The page.

    Args:
        records: of one run.

    Returns:
        HTML: which targets were reached; per record what it found, a plot per unit and batch size,
        all values, and last what it depends on. Equal records give equal text.
    """
    template = page_environment(Path(__file__).parent).get_template(_TEMPLATE)
    asked = [item.reached for record in records for item in record.ratios
             if item.reached is not None]  # fmt: skip
    return template.render(
        records=records,
        asked=asked,
        findings=findings,
        target_text=target_text,
        plots=_plots,
        in_words=in_words,
        percentiles=percentiles,
        listed=_listed,
    )


def _plots(record: Record) -> list[tuple[str, Bars]]:
    """Title and bars of each plot of a record."""
    return [(title, bars(group)) for title, group in plot_groups(record.series)]


def _listed(record: Record) -> str:
    """What was run, how, and with which libraries, on one line."""
    values = {**record.model, **record.settings, **record.environment.versions}
    return ", ".join(
        f"{name} {value if isinstance(value, str | int | float) else '+'.join(value or ())}"
        for name, value in values.items()
    )
