"""Where the result of a command is shown to people: tables that fit the terminal.

In: cells and texts. Out: lines on stdout, or on stderr where stdout is asked for JSON. Machines
read `--json`; what is shown here is for people, on a terminal and in a pipe alike, never coloured.
"""

from __future__ import annotations

import io
import shutil
import sys
import textwrap
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mtml_deploy.cli.options import STDOUT, teller, write_json
from mtml_deploy.text import printable

if TYPE_CHECKING:
    from mtml_deploy.artifact.artifact import Artifact
    from mtml_deploy.report.short_tables import ShortTable

_ENDLESS: Final = 10_000
"""Columns of what is no terminal: nothing is broken there."""

_SIDES: Final = {"l": "left", "r": "right"}


def show_model(artifact: Artifact, json_file: Path | None) -> None:
    """Show a model that was made, and what was measured of it beside its bounds.

    Args:
        artifact: as it was written.
        json_file: what the user gave with --json; gets all that was measured.
    """
    from mtml_deploy.report.facts.measured import (
        MEASURED_ALIGN,
        MEASURED_TITLES,
        measured_json,
        measured_on,
        measured_rows,
    )
    from mtml_deploy.report.facts.model import model_rows

    manifest = artifact.manifest
    write_json(json_file, lambda: measured_json(manifest))
    screen = Screen(json_file)
    screen.facts([*model_rows(artifact), ("checked", measured_on(manifest))])
    screen.text("")
    screen.table(MEASURED_TITLES, measured_rows(manifest), align=MEASURED_ALIGN)


class Screen:
    """Shows texts, facts and tables; one for each command that runs."""

    def __init__(self, json_file: Path | None = None) -> None:
        """Look where the result goes.

        Args:
            json_file: what the user gave with --json; where it is "-", all text goes to stderr.
        """
        self._tell = teller(json_file)
        stream = sys.stderr if json_file == STDOUT else sys.stdout
        self._width = shutil.get_terminal_size().columns if stream.isatty() else _ENDLESS

    def text(self, text: str) -> None:
        """Show lines as they are."""
        self._tell(text)

    def prose(self, text: str) -> None:
        """Show a sentence, broken where the terminal ends."""
        for line in textwrap.wrap(text, self._width, break_on_hyphens=False):
            self._tell(line)

    def facts(self, rows: Iterable[tuple[str, str]]) -> None:
        """Show names with their values, one below the other."""
        self.plain(list(rows))

    def plain(self, rows: Sequence[Sequence[str]]) -> None:
        """Show rows of text, of which the last cell is broken where the terminal ends."""
        width = len(rows[0]) if rows else 0
        self._show(("",) * width, rows, align="l" * width, titled=False)

    def table(self, titles: Sequence[str], rows: Sequence[Sequence[str]], *, align: str) -> None:
        """Show a table.

        Args:
            titles: of the columns.
            rows: as many cells each.
            align: "l" or "r" for each column; one with "l" is broken where the terminal ends.
        """
        self._show(titles, rows, align=align, titled=True)

    def short_tables(self, tables: Sequence[ShortTable]) -> None:
        """Show tables with an empty line before each."""
        for each in tables:
            self._tell("")
            self.table(each.titles, each.rows, align=each.align)

    def _show(
        self, titles: Sequence[str], rows: Sequence[Sequence[str]], *, align: str, titled: bool
    ) -> None:
        for line in table_lines(titles, rows, align=align, width=self._width, titled=titled):
            self._tell(line)


def table_lines(
    titles: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    align: str,
    width: int,
    titled: bool = True,
) -> list[str]:
    """A table as lines of text.

    Args:
        titles: of the columns.
        rows: as many cells each.
        align: "l" or "r" for each column; one with "l" is broken where a line would be longer.
        width: most columns of a line.
        titled: the titles are a line of it.

    Returns:
        Lines without blanks at their ends.
    """
    # rich takes longer to import than everything else a --help needs
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    grid = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=titled,
                 header_style="")  # fmt: skip
    for number, (title, side) in enumerate(zip(titles, align, strict=True)):
        fixed = side == "r" or (not titled and number < len(titles) - 1)
        grid.add_column(Text(printable(title)), justify=_SIDES[side], no_wrap=fixed,  # type: ignore[arg-type]
                        overflow="fold")  # fmt: skip
    for row in rows:
        grid.add_row(*(Text(printable(cell)) for cell in row))
    drawn = io.StringIO()
    # numbers are never cut off: where they need more, lines are longer than the terminal
    least = sum(
        max(len(cell) for cell in (title, *(row[number] for row in rows))) if side == "r" else 12
        for number, (title, side) in enumerate(zip(titles, align, strict=True))
    )
    width = max(width, least + 2 * len(titles))
    # a dumb file: no colours, no links, whatever the environment asks for
    console = Console(file=drawn, width=width, color_system=None, force_terminal=False,
                      legacy_windows=False, highlight=False, markup=False)  # fmt: skip
    console.print(grid)
    return [line.rstrip() for line in drawn.getvalue().splitlines()]
