"""The record of rows: an SQLite file that alone says which rows a gallery holds.

Every change is one transaction, on disk when it returns (WAL, synchronous=FULL). Readers see the
state before it or after it. Whatever is read is checked by its mark before it is used.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.gallery.checks import is_unicode
from mtml_deploy.gallery.folder.facts import (
    NUMBERS,
    Told,
    checked_numbers,
    checked_rows,
    damaged,
    mark_of,
    packed,
    text_crc,
)
from mtml_deploy.gallery.folder.schema import ROWS_FILE, SCHEMA_SQL, STATES, NewRow, Segment
from mtml_deploy.gallery.folder.sqlite import Database
from mtml_deploy.gallery.folder.texts import IdTexts
from mtml_deploy.gallery.values import RowRecord, Selection, StoredRow

_NUMBERED_SQL: Final = "SELECT row, removed, facts FROM rows"
_TOLD_SQL: Final = "SELECT row, removed, facts, path, content FROM rows"
_ALL_SQL: Final = (
    "SELECT row, removed, facts, path, content, value "
    "FROM state LEFT JOIN rows ON 1 WHERE name = 'live' ORDER BY row"
)
"""With their count beside every row, so that both are of one moment."""

_STATE_SQL: Final = "INSERT OR REPLACE INTO state VALUES (?, ?, ?)"

_MOST: Final = dict.fromkeys(STATES, 1 << 62) | {"next_segment": (1 << 31) - 1}
"""Numbers beyond these were never given out."""

_CHUNK: Final = 1024
"""Rows with their texts that are held at once."""


class RowTable:
    """The open record; owned by one thread."""

    def __init__(self, gallery: Path, dim: int, *, write: bool) -> None:
        """Open it.

        Args:
            gallery: folder of the gallery.
            dim: values of a vector.
            write: open it for changes.

        Raises:
            GalleryError: it is missing, damaged or of no use.
        """
        self._dim = dim
        self._database = Database(gallery / ROWS_FILE, write=write, schema=SCHEMA_SQL)
        self.texts = IdTexts(self._database)
        try:
            self.rewrites()  # a file that is no record is refused at once
        except BaseException:
            self._database.close()
            raise

    @staticmethod
    def create(gallery: Path) -> None:
        """Make an empty record in a folder that has none."""
        with closing(sqlite3.connect(gallery / ROWS_FILE, isolation_level=None)) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA_SQL)
            database.executemany(_STATE_SQL, [marked_state(*state) for state in STATES.items()])

    @contextmanager
    def change(self) -> Iterator[None]:
        """One transaction: all that happens inside, on disk at the end, or on an error nothing."""
        with self._database.transaction("BEGIN IMMEDIATE"):
            yield

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Everything read inside is of one moment."""
        with self._database.transaction("BEGIN"):
            yield

    def count(self) -> int:
        """Rows that were not removed."""
        return self._state("live")

    def rewrites(self) -> int:
        """How often rows were removed or moved; equal numbers mean only additions in between."""
        return self._state("rewrites")

    def count_rewrite(self) -> None:
        """Tell readers that rows were removed or moved."""
        self._take("rewrites", 1)

    def take_rows(self, count: int) -> int:
        """The first of `count` new row numbers."""
        last = self._database.run("SELECT max(row) FROM rows")[0][0]
        if (last or 0) >= self._state("next_row"):
            damaged(self._database.path, f"row {last} is there, which was not given out yet")
        return self._take("next_row", count)

    def take_segment(self) -> int:
        """A new segment number."""
        return self._take("next_segment", 1)

    def segments(self) -> tuple[Segment, ...]:
        """All segments, oldest first."""
        return tuple(
            self._segment(*values)
            for values in self._database.run("SELECT * FROM segments ORDER BY segment")
        )

    def put_segment(self, segment: Segment) -> None:
        """Record a segment, new or grown."""
        self._database.run(
            "INSERT OR REPLACE INTO segments VALUES (?, ?, ?, ?)", marked_segment(segment)
        )

    def drop_removed(self, numbers: Iterable[int]) -> None:
        """Forget all removed rows, and segments."""
        self._database.run("DELETE FROM rows WHERE removed = 1")
        for number in numbers:
            self._database.run("DELETE FROM segments WHERE segment = ?", (number,))

    def insert(self, segment: int, rows: Sequence[NewRow]) -> None:
        """Record new rows of a segment."""
        self._keep_texts(new.record for new in rows)
        self._database.run_many("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", new_rows(segment, rows))
        self._take("live", len(rows))

    def relabel(self, stored: Sequence[StoredRow]) -> None:
        """Record other labels of rows that were not removed, given by number; paths stay."""
        self._keep_texts(each.record for each in stored)
        numbers = self.numbers_of(each.row for each in stored)
        for name, values in _labels_of(each.record for each in stored).items():
            numbers[name] = values
        self.move(numbers)

    def move(self, moved: NDArray[np.void]) -> None:
        """Record new places of rows, `NUMBERS` [n]."""
        self._database.run_many(
            "UPDATE rows SET facts = ? WHERE row = ?",
            zip(packed(moved), moved["row"].tolist(), strict=True),
        )

    def mark_removed(self, selection: Selection) -> int:
        """Mark the rows of a selection as removed.

        Returns:
            How many were not removed before.
        """
        chosen = set(selection.rows)
        for path in selection.paths:
            chosen |= {stored.row for stored in self._told("path = ?", [path])}
        if selection.vehicles:
            numbers = self.numbers()
            wanted = set(map(int, selection.vehicles))
            here = [vehicle in wanted for vehicle in numbers["vehicle"].tolist()]
            chosen |= set(numbers["row"][np.array(here, dtype=np.bool_)].tolist())
        gone = self.numbers_of(chosen)
        gone["removed"] = True
        self._database.run_many(
            "UPDATE rows SET removed = 1, facts = ? WHERE row = ?",
            zip(packed(gone), gone["row"].tolist(), strict=True),
        )
        self._take("live", -len(gone))
        return len(gone)

    def numbers(self, after: int = 0) -> NDArray[np.void]:
        """`NUMBERS` [n] of all rows above `after`, removed ones included, in row order.

        Inside a change or a snapshot: all rows are compared with their count.
        """
        found = self._database.run(f"{_NUMBERED_SQL} WHERE row > ? ORDER BY row", (after,))
        numbers = checked_numbers(found, self._database.path)
        if not after and np.count_nonzero(~numbers["removed"]) != self.count():
            damaged(self._database.path, f"{len(numbers)} rows are there, some are missing")
        return numbers

    def everything(self) -> tuple[NDArray[np.void], tuple[Segment, ...]]:
        """`numbers` and `segments`, which fit together; inside a change or a snapshot."""
        numbers, segments = self.numbers(), self.segments()
        found, counts = np.unique(numbers["segment"], return_counts=True)
        there = dict(zip(found.tolist(), counts.tolist(), strict=True))
        told = {segment.number: segment.rows for segment in segments}
        if there != told:
            damaged(self._database.path, f"rows by segment are {there}, expected {told}")
        return numbers, segments

    def numbers_of(self, rows: Iterable[int]) -> NDArray[np.void]:
        """`NUMBERS` [n] of given rows in row order, without unknown and removed ones."""
        found = []
        for row in sorted(set(filter(_can_be_row, rows))):
            found += self._database.run(f"{_NUMBERED_SQL} WHERE row = ?", (row,))
        numbers = checked_numbers(found, self._database.path)
        live: NDArray[np.void] = numbers[~numbers["removed"]]
        return live

    def rows_of(self, contents: Sequence[str]) -> dict[str, int]:
        """Content -> its row, for those that the gallery holds."""
        found = self._told("content = ? AND removed = 0", list(dict.fromkeys(contents)))
        return {stored.record.content: stored.row for stored in found}

    def records(self, rows: Sequence[int] | None = None) -> Iterator[StoredRow]:
        """Rows that were not removed: the given ones in their order, or all by number."""
        if rows is None:
            # removed ones are read as well: a wrong mark tells of one that was not removed
            seen = live = 0
            for found in self._database.iterate(_ALL_SQL, _CHUNK):
                told = [values[:-1] for values in found if values[0] is not None]
                stored = checked_rows(told, self.texts.named, self._database.path)
                seen, live = seen + len(stored), found[0][-1]
                yield from stored
            if seen != live:
                damaged(self._database.path, f"{seen} rows are there, expected {live}")
            return
        wanted = [row for row in rows if _can_be_row(row)]
        for start in range(0, len(wanted), _CHUNK):
            yield from self._told("row = ?", wanted[start : start + _CHUNK])

    def faults(self) -> list[str]:
        """What SQLite finds wrong with its own file, one text each."""
        found = self._database.run("PRAGMA integrity_check")
        return [str(text) for (text,) in found if text != "ok"]

    def fold(self) -> None:
        """Bring the log into the file and empty it, as far as readers allow."""
        self._database.run("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        """Close the file; closing twice is allowed."""
        self._database.close()

    def _keep_texts(self, records: Iterable[RowRecord]) -> None:
        """Record the texts of ids; inside a change."""
        self.texts.keep(
            id_
            for record in records
            for id_ in (record.vehicle_id, record.camera_id, record.tracklet_id)
        )

    def _told(self, where: str, values: Sequence[int | str]) -> list[StoredRow]:
        """Rows that were not removed and fit one of the values, in the order of these."""
        found: list[Told] = []
        for value in values:
            if not isinstance(value, str) or is_unicode(value):
                found += self._database.run(f"{_TOLD_SQL} WHERE {where}", (value,))
        return checked_rows(found, self.texts.named, self._database.path)

    def _segment(self, number: object, rows: object, centre: object, mark: object) -> Segment:
        """A segment as it was written."""
        if isinstance(number, int) and isinstance(rows, int) and isinstance(centre, bytes):
            values = np.frombuffer(centre[: len(centre) // 8 * 8], "<f8")
            segment = Segment(number, rows, values)
            right = number > 0 and rows >= 0 and mark == marked_segment(segment)[-1]
            if right and len(centre) == 8 * self._dim and np.isfinite(values).all():
                return segment
        damaged(self._database.path, f"segment {number} was changed")

    def _state(self, name: str) -> int:
        for found in self._database.run("SELECT * FROM state WHERE name = ?", (name,)):
            value = found[1]
            if type(value) is int and value >= 0 and found == marked_state(name, value):
                return value
        damaged(self._database.path, f"its state {name!r} is missing or was changed")

    def _take(self, name: str, count: int) -> int:
        """Add to a state; its value before."""
        value = self._state(name)
        if value + count > _MOST[name]:
            damaged(self._database.path, f"its state {name!r} is {value}, more than can be")
        self._database.run(_STATE_SQL, marked_state(name, value + count))
        return value


def new_rows(segment: int, rows: Sequence[NewRow]) -> Iterator[tuple[int, int, bytes, str, str]]:
    """What the table `rows` keeps of new rows of a segment."""
    numbers = np.array([_numbers_of_new(segment, new) for new in rows], NUMBERS)
    for new, facts in zip(rows, packed(numbers), strict=True):
        yield new.row, int(new.removed), facts, new.record.path, new.record.content


def _numbers_of_new(segment: int, new: NewRow) -> tuple[int | float, ...]:
    """One of `NUMBERS`."""
    known = new.record
    time_us = UNKNOWN_TIME if known.time_us is None else known.time_us
    return (
        new.row, segment, new.slot, new.removed, known.vehicle_id, known.camera_id,
        known.tracklet_id, known.orientation, time_us, new.norm, new.spread, new.crc,
        text_crc(known.path, known.content),
    )  # fmt: skip


def _labels_of(records: Iterable[RowRecord]) -> dict[str, list[int]]:
    """Columns of `NUMBERS` that tell what is known of rows."""
    known = [
        (
            record.vehicle_id,
            record.camera_id,
            record.tracklet_id,
            record.orientation,
            UNKNOWN_TIME if record.time_us is None else record.time_us,
        )
        for record in records
    ]
    names = ("vehicle", "camera", "tracklet", "orientation", "time_us")
    return {name: [int(labels[at]) for labels in known] for at, name in enumerate(names)}


def marked_segment(segment: Segment) -> tuple[int, int, bytes, int]:
    """What the table `segments` keeps of one."""
    centre = segment.centre.astype("<f8").tobytes()
    return (
        segment.number, segment.rows, centre,
        mark_of(segment.number, segment.rows, zlib.crc32(centre)),
    )  # fmt: skip


def marked_state(name: str, value: int) -> tuple[str, int, int]:
    """What the table `state` keeps of a number."""
    return name, value, mark_of(zlib.crc32(name.encode()), value)


def _can_be_row(number: int) -> bool:
    """Whether SQLite can be asked for a row of that number."""
    return 0 < number < 1 << 63
