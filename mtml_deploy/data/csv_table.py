"""Labelled images in a CSV file: path,vehicle_id,camera_id,orientation,tracklet_id."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from mtml_deploy.data.folder import common_root
from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet
from mtml_deploy.data.text_files import parse_id, read_text, unknown_notes
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

COLUMNS: Final = ("path", "vehicle_id", "camera_id", "orientation", "tracklet_id")
"""In any order; all but the first may be left out, empty cells are unknown."""


def load_table(path: Path) -> ImageSet:
    """The images of a CSV file, in its order.

    Args:
        path: UTF-8 CSV with a header line; image paths are relative to its folder or absolute.

    Returns:
        One record per row; -1 where a cell is empty or the column is absent.

    Raises:
        DataError: no such file, not UTF-8, not CSV, an unknown or repeated or missing column, a
            row of another length, an id that is no integer, an orientation outside 0..7, an image
            named twice, or no row at all; the line is named.
    """
    reader = csv.reader(io.StringIO(read_text(path, what="the table"), newline=""), strict=True)
    records: dict[Path, ImageRecord] = {}
    lines: dict[Path, int] = {}
    header: list[str] | None = None
    try:
        for row in reader:
            if not row:
                continue  # a blank line
            where = f"{printable(path)} line {reader.line_num}"
            if header is None:
                header = _require_header([cell.strip() for cell in row], where)
                continue
            record = _record(dict(zip(header, _require_length(row, header, where), strict=True)),
                             path.parent, where)  # fmt: skip
            if record.path in records:
                raise DataError(
                    f"{where}: {record.path.name} is named on line {lines[record.path]} too, "
                    "expected each image once; remove one of the rows"
                )
            records[record.path] = record
            lines[record.path] = reader.line_num
    except csv.Error as error:
        raise DataError(
            f"{printable(path)} line {reader.line_num}: not CSV ({error}); save the table as CSV"
        ) from error
    if not records:
        raise DataError(
            f"{printable(path)} has no rows, expected the header {','.join(COLUMNS[:4])} and one "
            "row per image"
        )
    return ImageSet(
        f"csv:{path}",
        common_root(tuple(records), path),
        tuple(records.values()),
        unknown_notes(
            {
                name.replace("_", " "): sum(
                    getattr(record, name) == UNKNOWN for record in records.values()
                )
                for name in COLUMNS[1:4]
            },
            len(records),
        ),
    )


def table_text(records: Sequence[ImageRecord]) -> str:
    """A CSV file that `load_table` reads back as the same images.

    Args:
        records: the images; their paths are written absolute, so that the file can be anywhere.

    Returns:
        A header and one line per image, empty where a label is unknown.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        labels = (getattr(record, name) for name in COLUMNS[1:])
        cells = ("" if label == UNKNOWN else str(label) for label in labels)
        writer.writerow([str(record.path.absolute()), *cells])
    return text.getvalue()


def _require_header(names: list[str], where: str) -> list[str]:
    """The header, if it can be understood."""
    unknown = [name for name in names if name not in COLUMNS]
    if unknown or "path" not in names or len(set(names)) < len(names):
        raise DataError(
            f"{where}: the header is {','.join(names)!r}, expected path and any of "
            f"{', '.join(COLUMNS[1:])}, each once; correct the first line"
        )
    return names


def _require_length(row: list[str], header: list[str], where: str) -> list[str]:
    """The row, if it has one cell per column."""
    if len(row) != len(header):
        raise DataError(
            f"{where}: {len(row)} cells, expected {len(header)} ({','.join(header)}); quote a "
            "path that holds a comma"
        )
    return row


def _record(cells: dict[str, str], folder: Path, where: str) -> ImageRecord:
    """One row as a record."""
    name = cells["path"]
    if not name.strip() or "\0" in name:
        raise DataError(f"{where}: the path is empty or holds a NUL; name the image file")
    numbers = {}
    for column in COLUMNS[1:]:
        text = cells.get(column, "").strip()
        try:
            numbers[column] = parse_id(text) if text else UNKNOWN
        except ValueError as error:
            raise DataError(
                f"{where}: {column} {error}; ids are integers from 0, empty where unknown"
            ) from error
    try:
        return ImageRecord(folder / name, **numbers)
    except ValueError as error:
        raise DataError(f"{where}: {error}; leave the cell empty where unknown") from error
