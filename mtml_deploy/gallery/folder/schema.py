"""How rows and segments are recorded: tables, and the values that go in and out of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.values import RowRecord

ROWS_FILE: Final = "rows.sqlite"
UNKNOWN_TIME: Final = -(1 << 63)
"""Unknown time in `NUMBERS`."""

NUMBERS: Final = np.dtype(
    [
        ("row", np.int64), ("segment", np.int64), ("slot", np.int64), ("removed", np.bool_),
        ("camera", np.int64), ("orientation", np.int8), ("time_us", np.int64),
        ("norm", np.float32), ("spread", np.float32), ("crc", np.uint32),
    ]
)  # fmt: skip
"""What searching and checking need of a row, one record per row."""

SCHEMA_SQL: Final = """
CREATE TABLE state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
INSERT INTO state VALUES ('next_row', 1), ('next_segment', 1), ('rewrites', 0);
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
    """

    row: int
    slot: int
    record: RowRecord
    norm: float
    spread: float
    crc: int
