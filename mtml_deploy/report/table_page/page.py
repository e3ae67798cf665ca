"""Tables of results, shown alike as Markdown and as an HTML page that loads nothing.

In: tables of plain text, and a plot. Out: text; what is foreign in it is escaped here.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mtml_deploy.text import escaped, table


@dataclass(frozen=True)
class Table:
    """One table; its cells are plain text.

    Attributes:
        title: above it; may be empty where it is alone.
        columns: names of the columns.
        align: "l" or "r" for each column.
        rows: cells, as many as columns.
        notes: sentences below it.
    """

    title: str
    columns: tuple[str, ...]
    align: str
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


def tables_markdown(title: str, tables: Sequence[Table], *, plots: Sequence[str] = ()) -> str:
    """A Markdown page.

    Args:
        title: of the page.
        tables: in order.
        plots: file names of plots beside the page.

    Returns:
        The text.
    """
    lines = [f"# {escaped(title)}"]
    for each in tables:
        lines += ["", f"## {escaped(each.title)}"] if each.title else []
        rows = [tuple(map(escaped, row)) for row in each.rows]
        lines += ["", *table(tuple(map(escaped, each.columns)), rows, align=each.align)]
        lines += ["", *(f"- {escaped(note)}" for note in each.notes)] if each.notes else []
    for plot in plots:
        lines += ["", f"![CMC curves]({plot})"]
    return "\n".join(lines) + "\n"


def tables_html(
    title: str, tables: Sequence[Table], *, maker: str, plots: Sequence[Path] = ()
) -> str:
    """An HTML page in one file.

    Args:
        title: of the page.
        tables: in order.
        maker: the command, which the page names.
        plots: SVG files, which become part of the page.

    Returns:
        The page.
    """
    # Jinja is not for --help
    from mtml_deploy.report.templates import page_environment

    addresses = [
        f"data:image/svg+xml;base64,{base64.b64encode(plot.read_bytes()).decode()}"
        for plot in plots
    ]
    template = page_environment(Path(__file__).parent.parent).get_template(
        "table_page/page.html.j2"
    )
    return template.render(title=title, tables=tables, maker=maker, plots=addresses)
