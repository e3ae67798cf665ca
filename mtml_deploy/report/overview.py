"""Several evaluations side by side: one table and one plot of their CMC curves.

In: rows read from evaluation files. Out: a folder with the table as Markdown, JSON and HTML, and
the plot as PNG and SVG.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from mtml_deploy.evaluation.measures import LISTED
from mtml_deploy.files import write_text
from mtml_deploy.output_kind import FolderKind, left_behind
from mtml_deploy.outputs import output_folder
from mtml_deploy.record_file import parse_plain, record_json
from mtml_deploy.regular_file import read_regular
from mtml_deploy.report.cmc_plot import write_cmc_plot
from mtml_deploy.report.judged_file import JudgedRow
from mtml_deploy.report.table_page.page import Table, tables_html, tables_markdown
from mtml_deploy.text import json_number, percent

_MAKER: Final = "mtml-deploy report"
_JSON: Final = "report.json"
_FILES: Final = frozenset({_JSON, "report.md", "report.html", "cmc.png", "cmc.svg"})


def _require(folder: Path) -> None:
    """Raise where a folder is no such report."""
    try:
        found = parse_plain(read_regular(folder / _JSON))
    except FileNotFoundError:
        raise ValueError(f"it lacks {_JSON}") from None
    if not isinstance(found, dict) or found.get("made_by") != _MAKER:
        raise ValueError(f"its {_JSON} is of another command")


def _foreign(folder: Path) -> list[str]:
    """What the command did not write."""
    return sorted(
        each.name for each in folder.iterdir()
        if (each.name not in _FILES or not each.is_file()) and not left_behind(each)
    )  # fmt: skip


OVERVIEW: Final = FolderKind("a report of several evaluations", _require, _foreign)
"""By its JSON file."""


def overview_table(rows: Sequence[JudgedRow]) -> Table:
    """The rows as a table in percent, with a note where they cannot be compared."""
    protocols = sorted({row.protocol for row in rows})
    judged = {row.judged for row in rows}
    notes = [f"Protocol {', '.join(protocols)}; values in percent."]
    if len(protocols) > 1:
        notes.append("Rows of different protocols are not comparable: their rules differ.")
    if len(judged) > 1:
        notes.append(
            "Queries or galleries differ between rows; compare rows of the same images only."
        )
    return Table(
        title="",
        columns=("model", *(measure.title for measure in LISTED), "queries", "protocol", "images"),
        align="l" + "r" * (len(LISTED) + 1) + "ll",
        rows=tuple(
            (row.label, *map(percent, row.values()), f"{row.queries:,}", row.protocol, row.judged)
            for row in rows
        ),
        notes=tuple(notes),
    )


def write_overview(
    rows: Sequence[JudgedRow],
    out: Path,
    *,
    title: str,
    overwrite: bool = False,
    inputs: Iterable[Path] = (),
) -> str:
    """Write the folder of a report.

    Args:
        rows: one or more, of different labels.
        out: the folder.
        title: of the page.
        overwrite: replace an earlier report.
        inputs: files that were read, which are never replaced.

    Returns:
        The Markdown page.

    Raises:
        OutputExistsError: `out` is there and may not be replaced.
        MissingExtraError: matplotlib is not installed.
    """
    table = overview_table(rows)
    record = {
        "schema": 1,
        "made_by": _MAKER,
        "title": title,
        "rows": [
            {
                "label": row.label,
                "file": str(row.file),
                "protocol": row.protocol,
                "images": row.judged,
                "queries": row.queries,
                **{
                    measure.key: json_number(value)
                    for measure, value in zip(LISTED, row.values(), strict=True)
                },
                "cmc": [json_number(value) for value in row.cmc.tolist()],
            }
            for row in rows
        ],
    }
    page = tables_markdown(title, [table], plots=["cmc.svg"])
    curves = {row.label: row for row in rows}
    with output_folder(out, OVERVIEW, overwrite=overwrite, inputs=inputs) as folder:
        for name in ("cmc.png", "cmc.svg"):
            write_cmc_plot(folder / name, curves)
        write_text(folder / _JSON, record_json(record, indent=1) + "\n")
        write_text(folder / "report.md", page)
        html = tables_html(title, [table], maker=_MAKER, plots=[folder / "cmc.svg"])
        write_text(folder / "report.html", html)
    return page
