"""Labelled images in a table: one row per image, columns by name (see `csv_columns`, `csv_rows`).

In: a CSV file, cells between commas, semicolons or tabs. Out: its images, or those of one split.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from mtml_deploy.data.clock import read_time
from mtml_deploy.data.csv_columns import choice_text
from mtml_deploy.data.csv_rows import Cells, Rows
from mtml_deploy.data.folder import common_root
from mtml_deploy.data.ids import UNKNOWN_TEXTS, id_cell, read_id
from mtml_deploy.data.listed_path import ListedPaths
from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN, ImageRecord, ImageSet, unknown_notes
from mtml_deploy.data.text_files import SPLITS, Split
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

LABELS: Final = ("vehicle_id", "camera_id", "orientation")
COLUMNS: Final = ("path", *LABELS, "tracklet_id")
"""What `table_text` writes; all but the first may be left out, empty cells are unknown."""

_TESTED: Final[frozenset[Split]] = frozenset({"query", "gallery"})
_SPLITS: Final[Mapping[str, frozenset[Split]]] = {
    "": frozenset(),
    **{split: frozenset({split}) for split in SPLITS},
    # images of a part that does not say which are looked for are queries and gallery
    **dict.fromkeys(("test", "val", "valid", "validation"), _TESTED),
}
_FLAGS: Final = {
    **dict.fromkeys(("1", "1.0", "true", "yes", "t", "y"), True),
    **dict.fromkeys(("0", "0.0", "false", "no", "f", "n", *UNKNOWN_TEXTS), False),
}


def load_table(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    split: Split | None = None,
    default: Split | None = None,
) -> ImageSet:
    """The images of a table, in its order.

    Args:
        path: UTF-8 with a header line; image paths are relative to its folder or absolute.
        columns: what -> name of the column that holds it, where the user says so.
        split: only images of this part; the table must tell its parts.
        default: likewise, where it tells them.

    Returns:
        One record per row; -1 where a cell is empty or the column is absent.

    Raises:
        DataError: no such file, not UTF-8, not CSV, a header that cannot be understood, a row of
            another length, a cell that is not what its column holds, an image named twice, no row
            of the part asked for, or no row at all; the line is named.
    """
    choice = columns or {}
    rows = Rows(path, choice)
    part = split or (default if rows.tells_splits else None)
    if split and not rows.tells_splits:
        raise DataError(
            f"{printable(path)} does not tell which images are its {split}, expected a column "
            "split (train, query or gallery) or the columns is_query and is_gallery; add one, or "
            "write a table for each part"
        )
    paths = ListedPaths(path.parent)
    records: dict[Path, ImageRecord] = {}
    lines: dict[Path, int] = {}
    seen: dict[str, int] = {}
    parts: dict[Path, frozenset[Split]] = {}
    for line, cells in rows:
        where = f"{printable(path)} line {line}"
        of_row = _parts(cells, where)
        for name in of_row:
            seen[name] = seen.get(name, 0) + 1
        if part and part not in of_row:
            continue
        record = _record(cells, paths, where)
        if (first := lines.setdefault(record.path, line)) != line:
            if not part and rows.tells_splits and not parts[record.path] & of_row:
                parts[record.path] |= of_row  # a query that is in the gallery too
                continue
            raise DataError(
                f"{where}: {record.path.name} is named on line {first} too, "
                "expected each image once; remove one of the rows"
            )
        records[record.path] = record
        parts[record.path] = of_row
    if not records and part and seen:
        raise DataError(
            f"{printable(path)} has no rows of the part {part}, it has "
            f"{', '.join(f'{count} of {name}' for name, count in sorted(seen.items()))}; correct "
            "the column split, or name another part"
        )
    if not records:
        raise DataError(
            f"{printable(path)} has no rows, expected the header {','.join(COLUMNS[:4])} and one "
            "row per image"
        )
    chosen = f"@{choice_text(choice)}" if choice else ""
    return ImageSet(
        f"csv:{path}{chosen}{f'#{part}' if part else ''}",
        common_root(tuple(records), path),
        tuple(records.values()),
        (*rows.notes, *paths.notes(), *unknown_notes(tuple(records.values()), *LABELS)),
    )


def splits_of(path: Path, columns: Mapping[str, str] | None = None) -> tuple[Split, ...]:
    """The parts that a table tells; none where it has no such column.

    Raises:
        DataError: see `load_table`.
    """
    rows = Rows(path, columns or {})
    if not rows.tells_splits:
        return ()
    told = {name for line, cells in rows
            for name in _parts(cells, f"{printable(path)} line {line}")}  # fmt: skip
    return tuple(split for split in SPLITS if split in told)


def table_text(records: Sequence[ImageRecord]) -> str:
    """A CSV file that `load_table` reads back as the same images.

    Args:
        records: the images; their paths are written absolute, so that the file can be anywhere.

    Returns:
        A header and one line per image, empty where a label is unknown; times are not written.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for record in records:
        labels = (getattr(record, name) for name in COLUMNS[1:])
        cells = ("" if label == UNKNOWN else id_cell(label) for label in labels)
        writer.writerow([str(record.path.absolute()), *cells])
    return text.getvalue()


def _parts(cells: Cells, where: str) -> frozenset[Split]:
    """The parts of its data set that an image belongs to."""
    text = cells.get("split", "").strip().lower()
    if text in UNKNOWN_TEXTS:
        text = ""
    if text not in _SPLITS:
        raise DataError(
            f"{where}: split {printable(text)!r} is none, expected {', '.join(SPLITS)}, or test or "
            "val for images that are both queries and gallery; correct the cell, or add "
            "split= to the names behind @, which leaves the column unused"
        )
    parts = _SPLITS[text]
    flagged = [split for split in ("query", "gallery") if f"is_{split}" in cells]
    if flagged and ("split" not in cells or parts == _TESTED):
        return frozenset(split for split in _TESTED if _flag(cells, f"is_{split}", where))
    return parts


def _flag(cells: Cells, name: str, where: str) -> bool:
    """A cell that says yes or no."""
    text = cells.get(name, "").strip().lower()
    if text not in _FLAGS:
        raise DataError(
            f"{where}: {name} {printable(text)!r} is neither yes nor no, expected true or false; "
            "correct the cell"
        )
    return _FLAGS[text]


def _record(cells: Cells, paths: ListedPaths, where: str) -> ImageRecord:
    """One row as a record."""
    name = cells["path"]
    if not name.strip() or "\0" in name:
        raise DataError(f"{where}: the path is empty or holds a NUL; name the image file")
    path = paths.read(name, where=where)

    def read(column: str, reader: Callable[[str], int]) -> int:
        try:
            return reader(cells.get(column, ""))
        except ValueError as error:
            raise DataError(
                f"{where}: {column} {error}; ids are numbers from 0 or texts, empty where unknown"
            ) from error

    labels = {
        column: read(column, read_id) for column in ("vehicle_id", "camera_id", "tracklet_id")
    }
    try:
        orientation = _orientation(cells.get("orientation", ""))
        moment = cells.get("time", "").strip()
        time_us = None if moment.lower() in UNKNOWN_TEXTS else read_time(moment)
        return ImageRecord(path, **labels, orientation=orientation, time_us=time_us)
    except ValueError as error:
        raise DataError(f"{where}: {error}; leave the cell empty where unknown") from error


def _orientation(text: str) -> int:
    """The class that a cell tells, by its number or its name."""
    words = " ".join(text.lower().replace("_", " ").replace("-", " ").split())
    if words in ORIENTATIONS:
        return ORIENTATIONS.index(words)
    number = read_id(text)
    if number >= len(ORIENTATIONS):
        raise ValueError(f"orientation is -1..7, found {printable(str(number))}")
    return number
