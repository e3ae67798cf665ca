"""A gallery of the first version of the format as one of this version: nothing is lost.

One transaction changes the record of rows, then the manifests are written; a kill anywhere leaves
what the next call finishes. Vector files stay as they are.
"""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from mtml_deploy.gallery.folder.facts import checked_rows, damaged
from mtml_deploy.gallery.folder.lock import LOCK_FILE, WriterLock
from mtml_deploy.gallery.folder.manifest import OldManifest, load_old_manifest, save_manifest
from mtml_deploy.gallery.folder.old_index import drop_old_index
from mtml_deploy.gallery.folder.rows import marked_segment, marked_state, new_rows
from mtml_deploy.gallery.folder.schema import ROWS_FILE, SCHEMA_SQL, NewRow, Segment
from mtml_deploy.gallery.folder.sqlite import Database
from mtml_deploy.gallery.folder.texts import IdTexts
from mtml_deploy.gallery.values import GalleryError, RowRecord

OLD_SQL: Final = """
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE segments (segment INTEGER PRIMARY KEY, rows INTEGER NOT NULL, centre BLOB NOT NULL);
CREATE TABLE rows (
    row INTEGER PRIMARY KEY, segment INTEGER NOT NULL, slot INTEGER NOT NULL,
    removed INTEGER NOT NULL DEFAULT 0, path TEXT NOT NULL, content TEXT NOT NULL,
    vehicle_id INTEGER NOT NULL, camera_id INTEGER NOT NULL, orientation INTEGER NOT NULL,
    tracklet_id INTEGER NOT NULL, time_us INTEGER,
    norm REAL NOT NULL, spread REAL NOT NULL, crc INTEGER NOT NULL,
    UNIQUE (segment, slot)
);
CREATE UNIQUE INDEX one_of_each_content ON rows (content) WHERE removed = 0;
CREATE INDEX by_path ON rows (path);
CREATE INDEX by_vehicle ON rows (vehicle_id);
"""
"""The record of the first version, whose values have no marks."""

_OLD_TEXTS_SQL: Final = "CREATE TABLE texts (id INTEGER PRIMARY KEY, text TEXT NOT NULL)"
"""It came with the first id that was a text."""

_TABLES: Final = ("state", "segments", "rows")

_ROWS_SQL: Final = (
    "SELECT row, slot, path, content, vehicle_id, camera_id, orientation, tracklet_id, time_us, "
    "norm, spread, crc, removed FROM old_rows WHERE segment = ? ORDER BY slot"
)

_TYPES: Final = (int, int, str, str, int, int, int, int, int, float, float, int, int)
"""Of these columns."""

_TIME: Final = 8
"""The one column that may be NULL."""


@dataclass(frozen=True)
class Upgraded:
    """What an upgrade did.

    Attributes:
        rows: rows that were not removed; all are kept.
        removed: removed rows that are still on the disk.
    """

    rows: int
    removed: int


def upgrade(folder: Path) -> Upgraded | None:
    """Bring a gallery to the format of this version; takes the writer lock.

    Args:
        folder: the gallery.

    Returns:
        What was done; None where it has this version's format already.

    Raises:
        GalleryError: no gallery there, a damaged one, or another process is writing.
    """
    old = load_old_manifest(folder)
    if old is None:
        return None
    with closing(WriterLock(folder / LOCK_FILE)):
        done = _upgrade_rows(folder / ROWS_FILE, old)
        drop_old_index(folder)
        save_manifest(folder, old.upgraded())  # last: until then all of this is done again
    return done


def _upgrade_rows(path: Path, old: OldManifest) -> Upgraded:
    """Copy the tables into new ones; where a killed call did that already, only count."""
    database, schema = _opened(path)
    with closing(database):
        if schema == SCHEMA_SQL:
            return Upgraded(*_counts(database))
        tables = _TABLES if schema == OLD_SQL else (*_TABLES, "texts")
        with database.transaction("BEGIN IMMEDIATE"):
            for fault in database.run("PRAGMA integrity_check(1)"):
                if fault != ("ok",):
                    damaged(path, str(fault[0]))
            for name in tables:
                database.run(f"ALTER TABLE {name} RENAME TO old_{name}")
            for name in ("one_of_each_content", "by_path"):
                database.run(f"DROP INDEX {name}")  # their names are wanted again
            database.script(SCHEMA_SQL)
            if "texts" in tables:
                database.run("INSERT INTO texts SELECT id, text FROM old_texts")
            _copy(database, old)
            for name in tables:
                database.run(f"DROP TABLE old_{name}")
        database.run("PRAGMA wal_checkpoint(TRUNCATE)")
        return Upgraded(*_counts(database))


def _opened(path: Path) -> tuple[Database, str]:
    """A record that is to be upgraded, or was already, and its schema."""
    for schema in (SCHEMA_SQL, OLD_SQL):
        with suppress(GalleryError):
            return Database(path, write=True, schema=schema), schema
    schema = OLD_SQL + _OLD_TEXTS_SQL
    return Database(path, write=True, schema=schema), schema


def _copy(database: Database, old: OldManifest) -> None:
    """Fill the new tables from the old ones."""
    copied = 0
    texts = IdTexts(database)
    for number, rows, centre in database.run("SELECT * FROM old_segments ORDER BY segment"):
        try:
            segment = Segment(number, rows, np.frombuffer(centre, "<f8"))
            told = [_new_row(values, texts) for values in database.run(_ROWS_SQL, (number,))]
            values = list(new_rows(number, told))
        except (TypeError, ValueError, OverflowError) as error:
            damaged(database.path, f"segment {number}: {error}")
        # nothing is written that would not be read again
        checked_rows(values, texts.named, database.path)
        if len(segment.centre) != old.model.dim or len(told) != rows:
            damaged(database.path, f"segment {number} is not as it was written")
        database.run("INSERT INTO segments VALUES (?, ?, ?, ?)", marked_segment(segment))
        database.run_many("INSERT INTO rows VALUES (?, ?, ?, ?, ?)", values)
        copied += rows
    if database.run("SELECT count(*) FROM old_rows") != [(copied,)]:
        damaged(database.path, "there are rows of no segment")
    state = dict(database.run("SELECT name, value FROM old_state"))
    live = database.run("SELECT count(*) FROM rows WHERE removed = 0")[0][0]
    for name, value in (state | {"live": live}).items():
        database.run("INSERT INTO state VALUES (?, ?, ?)", marked_state(name, value))


def _new_row(values: tuple[Any, ...], texts: IdTexts) -> NewRow:
    """An old row; ValueError where a value has another type."""
    for place, (value, kind) in enumerate(zip(values, _TYPES, strict=True)):
        if type(value) is not kind and (place != _TIME or value is not None):
            raise ValueError(f"row {values[0]} has a value of another type: {value!r}")
    row, slot, path, content, vehicle, camera, orientation, tracklet, *rest, removed = values
    time_us, norm, spread, crc = rest
    vehicle, camera, tracklet = (texts.named(id_) for id_ in (vehicle, camera, tracklet))
    record = RowRecord(path, content, vehicle, camera, orientation, tracklet, time_us)
    return NewRow(row, slot, record, norm, spread, crc, removed=bool(removed))


def _counts(database: Database) -> tuple[int, int]:
    """Rows that were not removed, and removed ones."""
    found = dict(database.run("SELECT removed, count(*) FROM rows GROUP BY removed"))
    return found.get(0, 0), found.get(1, 0)
