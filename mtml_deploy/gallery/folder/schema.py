"""How rows and segments are recorded: tables, and the values that go in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.text_files import LARGEST_ID
from mtml_deploy.gallery.folder.facts import FACTS_BYTES
from mtml_deploy.gallery.values import RowRecord

ROWS_FILE: Final = "rows.sqlite"

STATES: Final = {"next_row": 1, "next_segment": 1, "rewrites": 0, "live": 0}
"""Numbers of the whole record, as they begin; `live` counts the rows that were not removed."""

SCHEMA_SQL: Final = f"""
CREATE TABLE state (
    name TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (value >= 0), mark INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE TABLE segments (
    segment INTEGER PRIMARY KEY CHECK (segment > 0), rows INTEGER NOT NULL CHECK (rows >= 0),
    centre BLOB NOT NULL, mark INTEGER NOT NULL
) STRICT;
CREATE TABLE rows (
    row INTEGER PRIMARY KEY CHECK (row > 0),
    removed INTEGER NOT NULL CHECK (removed IN (0, 1)),
    facts BLOB NOT NULL CHECK (length(facts) = {FACTS_BYTES}),
    path TEXT NOT NULL, content TEXT NOT NULL CHECK (content <> '')
) STRICT;
CREATE TABLE texts (id INTEGER PRIMARY KEY CHECK (id > {LARGEST_ID}), text TEXT NOT NULL) STRICT;
CREATE UNIQUE INDEX one_of_each_content ON rows (content) WHERE removed = 0;
CREATE INDEX by_path ON rows (path);
"""
"""A record with any other declaration is refused: what is not declared here never runs."""


@dataclass(frozen=True)
class Segment:
    """One vector file of the record.

    Attributes:
        number: its number, never used again.
        rows: rows in it, removed ones included.
        centre: float64 [D], the point that `spread` of its rows refers to.
    """

    number: int
    rows: int
    centre: NDArray[np.float64]


@dataclass(frozen=True)
class NewRow:
    """One row to record.

    Attributes:
        row: its number.
        slot: its place in the segment.
        record: what is known of it.
        norm: L2 norm of the stored vector.
        spread: see `RowTerms`.
        crc: checksum of the stored bytes.
        removed: whether it was removed since.
    """

    row: int
    slot: int
    record: RowRecord
    norm: float
    spread: float
    crc: int
    removed: bool = False
