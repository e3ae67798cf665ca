"""The record of rows: an SQLite file that alone says which rows a gallery holds.

Every change is one transaction, on disk when it returns (WAL, synchronous=FULL). Readers see the
state before it or after it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.folder.schema import (
    NUMBERS,
    ROWS_FILE,
    SCHEMA_SQL,
    UNKNOWN_TIME,
    NewRow,
    Segment,
)
from mtml_deploy.gallery.folder.sqlite import Database
from mtml_deploy.gallery.folder.texts import IdTexts
from mtml_deploy.gallery.values import GalleryError, RowRecord, Selection, StoredRow

_NUMBERS_SQL: Final = (
    "SELECT row, segment, slot, removed, camera_id, orientation, "
    f"coalesce(time_us, {UNKNOWN_TIME}), norm, spread, crc FROM rows"
)
"""The columns of `NUMBERS`."""


class RowTable:
    """The open record; owned by one thread."""

    def __init__(self, gallery: Path, *, write: bool) -> None:
        """Open it.

        Args:
            gallery: folder of the gallery.
            write: open it for changes.

        Raises:
            GalleryError: it is missing, damaged or of no use.
        """
        self._database = Database(gallery / ROWS_FILE, write=write)
        self.texts = IdTexts(self._database)
        try:
            self.rewrites()  # a file that is no record is refused at once
        except BaseException:
            self._database.close()
            raise

    @staticmethod
    def create(gallery: Path) -> None:
        """Make an empty record in a folder that has none."""
        database = sqlite3.connect(gallery / ROWS_FILE, isolation_level=None)
        try:
            database.execute("PRAGMA journal_mode = WAL")
            database.executescript(SCHEMA_SQL)
        finally:
            database.close()  # folds the log into the file

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

    def rewrites(self) -> int:
        """How often rows were removed or moved; equal numbers mean only additions in between."""
        return self._state("rewrites")

    def count_rewrite(self) -> None:
        """Tell readers that rows were removed or moved."""
        self._database.run("UPDATE state SET value = value + 1 WHERE name = 'rewrites'")

    def take_rows(self, count: int) -> int:
        """The first of `count` new row numbers."""
        return self._take("next_row", count)

    def take_segment(self) -> int:
        """A new segment number."""
        return self._take("next_segment", 1)

    def segments(self) -> tuple[Segment, ...]:
        """All segments, oldest first."""
        found = self._database.run("SELECT segment, rows, centre FROM segments ORDER BY segment")
        return tuple(Segment(n, rows, np.frombuffer(centre, "<f8")) for n, rows, centre in found)

    def put_segment(self, segment: Segment) -> None:
        """Record a segment, new or grown."""
        self._database.run(
            "INSERT INTO segments VALUES (?, ?, ?) "
            "ON CONFLICT (segment) DO UPDATE SET rows = excluded.rows",
            (segment.number, segment.rows, segment.centre.astype("<f8").tobytes()),
        )

    def drop_segments(self, numbers: Iterable[int]) -> None:
        """Forget segments, their removed rows included."""
        for number in numbers:
            self._database.run("DELETE FROM rows WHERE segment = ? AND removed = 1", (number,))
            self._database.run("DELETE FROM segments WHERE segment = ?", (number,))

    def insert(self, segment: int, rows: Sequence[NewRow]) -> None:
        """Record new rows of a segment."""
        self.texts.keep(
            id_
            for new in rows
            for id_ in (new.record.vehicle_id, new.record.camera_id, new.record.tracklet_id)
        )
        self._database.run_many(
            "INSERT INTO rows VALUES (?, ?, ?, 0, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            (
                (
                    new.row, segment, new.slot, new.record.path, new.record.content,
                    new.record.vehicle_id, new.record.camera_id, new.record.orientation,
                    new.record.tracklet_id, new.record.time_us, new.norm, new.spread, new.crc,
                )
                for new in rows
            ),
        )  # fmt: skip

    def move(self, segment: int, places: Iterable[tuple[int, int, float]]) -> None:
        """Record new places of rows: (row, slot, spread)."""
        self._database.run_many(
            "UPDATE rows SET segment = ?, slot = ?, spread = ? WHERE row = ?",
            ((segment, slot, spread, row) for row, slot, spread in places),
        )

    def mark_removed(self, selection: Selection) -> int:
        """Mark the rows of a selection as removed.

        Returns:
            How many were not removed before.
        """
        count = 0
        for column, values in (
            ("row", selection.rows),
            ("path", selection.paths),
            ("vehicle_id", selection.vehicles),
        ):
            count += self._database.run_many(
                f"UPDATE rows SET removed = 1 WHERE {column} = ? AND removed = 0",
                [(value if isinstance(value, str) else int(value),) for value in values],
            )
        return count

    def numbers(self, after: int = 0) -> NDArray[np.void]:
        """`NUMBERS` [n] of all rows above `after`, removed ones included, in row order."""
        found = self._database.run(f"{_NUMBERS_SQL} WHERE row > ? ORDER BY row", (after,))
        return np.array(found, dtype=NUMBERS)

    def numbers_of(self, rows: Sequence[int]) -> NDArray[np.void]:
        """`NUMBERS` [n] of given rows in row order, without unknown and removed ones."""
        found = []
        for row in sorted(set(rows)):
            found += self._database.run(f"{_NUMBERS_SQL} WHERE row = ? AND removed = 0", (row,))
        return np.array(found, dtype=NUMBERS)

    def count(self) -> int:
        """Rows that were not removed."""
        return int(self._database.run("SELECT count(*) FROM rows WHERE removed = 0")[0][0])

    def vehicles(self) -> int:
        """Different known vehicle ids of rows that were not removed."""
        sql = "SELECT count(DISTINCT vehicle_id) FROM rows WHERE removed = 0 AND vehicle_id >= 0"
        return int(self._database.run(sql)[0][0])

    def rows_of(self, contents: Sequence[str]) -> dict[str, int]:
        """Content -> its row, for those that the gallery holds."""
        found = {}
        for content in dict.fromkeys(contents):
            for (row,) in self._database.run(
                "SELECT row FROM rows WHERE content = ? AND removed = 0", (content,)
            ):
                found[content] = row
        return found

    def records(self, rows: Sequence[int] | None = None) -> Iterator[StoredRow]:
        """Rows that were not removed: the given ones in their order, or all by number."""
        select = (
            "SELECT row, path, content, vehicle_id, camera_id, orientation, tracklet_id, time_us "
            "FROM rows WHERE removed = 0"
        )
        if rows is None:
            for values in self._database.iterate(f"{select} ORDER BY row"):
                yield self._stored(values)
            return
        for row in rows:
            for values in self._database.run(f"{select} AND row = ?", (row,)):
                yield self._stored(values)

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

    def _stored(self, values: tuple[Any, ...]) -> StoredRow:
        """One row of the record."""
        row, path, content, vehicle, camera, orientation, tracklet, time_us = values
        ids = (self.texts.named(number) for number in (vehicle, camera, tracklet))
        vehicle, camera, tracklet = ids
        return StoredRow(
            row, RowRecord(path, content, vehicle, camera, orientation, tracklet, time_us)
        )

    def _state(self, name: str) -> int:
        found = self._database.run("SELECT value FROM state WHERE name = ?", (name,))
        if not found:
            raise GalleryError(
                f"{self._database.path} lacks its state {name!r}; restore it from a backup"
            )
        return int(found[0][0])

    def _take(self, name: str, count: int) -> int:
        value = self._state(name)
        self._database.run("UPDATE state SET value = ? WHERE name = ?", (value + count, name))
        return value
