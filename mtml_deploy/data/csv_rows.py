"""The rows of a table: cells by what their column holds."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path

from mtml_deploy.data.csv_columns import Columns, read_header
from mtml_deploy.data.text_files import read_text
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

Cells = dict[str, str]
"""One row: what a column holds -> its text."""


class Rows:
    """The rows of a table, as (line, cells); the header is read at once.

    Attributes:
        notes: what was not used.
        tells_splits: whether a column tells the part of each image.
    """

    def __init__(self, path: Path, choice: Mapping[str, str]) -> None:
        """Read the file and its header.

        Args:
            path: the table.
            choice: columns that the user named.

        Raises:
            DataError: no such file, not UTF-8, or a header that cannot be understood.
        """
        self._path = path
        self._text = read_text(path, what="the table")
        line, before = "", 0
        for candidate in io.StringIO(self._text, newline=None):
            before += 1
            # a comment above the header, as programs write their own name
            if candidate.strip() and not candidate.startswith("#"):
                line = candidate
                break
        self._first = before
        self._columns = Columns(",", (), ())
        if line:
            self._columns = read_header(
                line.rstrip("\r\n"), choice, f"{printable(path)} line {before}"
            )
        told = set(self._columns.meanings)
        self.tells_splits = bool(told & {"split", "is_query", "is_gallery"})
        unused = ", ".join(printable(name) for name in self._columns.unused)
        self.notes = (f"columns that are not used: {unused}",) if unused else ()

    def __iter__(self) -> Iterator[tuple[int, Cells]]:
        """Line and cells of each row.

        Raises:
            DataError: not CSV, or a row of another length.
        """
        columns, path = self._columns, printable(self._path)
        reader = csv.reader(
            io.StringIO(self._text, newline=""), delimiter=columns.separator, strict=True
        )
        try:
            for row in reader:
                line = reader.line_num
                comment = bool(row) and row[0].startswith("#") and len(row) < len(columns.meanings)
                if line <= self._first or not row or comment:
                    continue
                if len(row) != len(columns.meanings):
                    raise DataError(
                        f"{path} line {line}: {len(row)} cells, expected {len(columns.meanings)} "
                        "as in the header; quote a path that holds the separator"
                    )
                yield line, {m: cell for m, cell in zip(columns.meanings, row, strict=True) if m}
        except csv.Error as error:
            raise DataError(
                f"{path} line {reader.line_num}: not CSV ({error}); save the table as CSV"
            ) from error
