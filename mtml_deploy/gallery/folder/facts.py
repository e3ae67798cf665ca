"""What is recorded of a row beside its texts: one block of bytes, with a mark over all of it.

In: rows of the record, from a file that anybody may have changed. Out: `NUMBERS`, every value as it
was written and within its range. All rows of a read are checked at once.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.clock import FIRST_US, LAST_US, UNKNOWN_TIME
from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN
from mtml_deploy.gallery.values import GalleryError, RowRecord, StoredRow

_FACTS: Final = np.dtype(
    [
        ("time_us", "<i8"), ("vehicle", "<i8"), ("camera", "<i8"), ("tracklet", "<i8"),
        ("orientation", "<i8"), ("segment", "<i4"), ("slot", "<i4"), ("norm", "<f4"),
        ("spread", "<f4"), ("crc", "<u4"), ("text", "<u4"), ("mark", "<u8"),
    ]
)  # fmt: skip
"""The block, `rows.facts`; `text` is the checksum of path and content."""

FACTS_BYTES: Final = _FACTS.itemsize

NUMBERS: Final = np.dtype(
    [
        ("row", np.int64), ("segment", np.int64), ("slot", np.int64), ("removed", np.bool_),
        ("vehicle", np.int64), ("camera", np.int64), ("tracklet", np.int64),
        ("orientation", np.int8), ("time_us", np.int64), ("norm", np.float32),
        ("spread", np.float32), ("crc", np.uint32), ("text", np.uint32),
    ]
)  # fmt: skip
"""What searching and checking need of a row, one record per row."""

_KEPT: Final = tuple(name for name in _FACTS.names or () if name != "mark")
_ODD: Final = np.uint64(0x9E3779B97F4A7C15)
_HALF: Final = np.uint64(32)

Numbered = tuple[int, int, bytes]
"""`row`, `removed` and `facts` as SQLite gives them, of any type in a damaged file."""

Told = tuple[int, int, bytes, str, str]
"""The same with `path` and `content`."""


def mark_of(*words: int) -> int:
    """A mark over a few integers of 64 bits, itself a signed one, as SQLite keeps them."""
    mixed = np.zeros(1, np.uint64)
    for word in words:
        _mix(mixed, np.array([word & ((1 << 64) - 1)], np.uint64))
    return int(mixed.view(np.int64)[0])


def text_crc(path: str, content: str) -> int:
    """Checksum of the texts of a row."""
    return zlib.crc32(f"{len(path)} {path}{content}".encode())


def packed(numbers: NDArray[np.void]) -> list[bytes]:
    """The block of each row, `NUMBERS` [n], marked."""
    facts = np.zeros(len(numbers), _FACTS)
    for name in _KEPT:
        facts[name] = numbers[name]
    facts["mark"] = _marks(numbers["row"], numbers["removed"], facts)
    whole = facts.tobytes()
    return [whole[at : at + FACTS_BYTES] for at in range(0, len(whole), FACTS_BYTES)]


def checked_numbers(found: Sequence[Numbered], file: Path) -> NDArray[np.void]:
    """`NUMBERS` [n] of rows in the order of their numbers.

    Args:
        found: what the record holds.
        file: the record, for errors.

    Raises:
        GalleryError: a row is not as it was written, or comes twice.
    """
    numbers = _unpacked([row[0] for row in found], [row[1] for row in found],
                        [row[2] for row in found], file)  # fmt: skip
    if (np.diff(numbers["row"]) <= 0).any():
        damaged(file, "rows come twice")
    return numbers


def checked_rows(found: Sequence[Told], named: Callable[[int], int], file: Path) -> list[StoredRow]:
    """Rows with their texts, without removed ones.

    Args:
        found: what the record holds.
        named: an id with its text, if it has one.
        file: the record, for errors.

    Raises:
        GalleryError: a row is not as it was written.
    """
    numbers = _unpacked([row[0] for row in found], [row[1] for row in found],
                        [row[2] for row in found], file)  # fmt: skip
    stored = []
    for values, (row, removed, _, path, content) in zip(numbers, found, strict=True):
        if type(path) is not str or type(content) is not str:
            damaged(file, f"the texts of row {row} are none")
        if text_crc(path, content) != values["text"]:
            damaged(file, f"the texts of row {row} were changed")
        if not removed:
            time_us = int(values["time_us"])
            record = RowRecord(
                path=path,
                content=content,
                vehicle_id=named(int(values["vehicle"])),
                camera_id=named(int(values["camera"])),
                orientation=int(values["orientation"]),
                tracklet_id=named(int(values["tracklet"])),
                time_us=None if time_us == UNKNOWN_TIME else time_us,
            )
            stored.append(StoredRow(row, record))
    return stored


def damaged(file: Path, what: str) -> NoReturn:
    """Refuse the record.

    Raises:
        GalleryError: always.
    """
    raise GalleryError(f"{file} is damaged ({what}); restore the gallery from a backup")


def _unpacked(
    rows: list[int], removed: list[int], blocks: list[bytes], file: Path
) -> NDArray[np.void]:
    """`NUMBERS` [n], every mark and range checked."""
    if not set(map(type, rows)) | set(map(type, removed)) <= {int}:
        damaged(file, "a number of a row is none")
    if not set(map(type, blocks)) <= {bytes} or not set(map(len, blocks)) <= {FACTS_BYTES}:
        damaged(file, "what is known of a row has another size")
    facts = np.frombuffer(b"".join(blocks), _FACTS)
    numbers = np.empty(len(rows), NUMBERS)
    numbers["row"] = rows
    gone = np.array(removed, np.int64)
    numbers["removed"] = gone
    for name in _KEPT:
        numbers[name] = facts[name]
    good = _marks(numbers["row"], gone, facts) == facts["mark"]
    good &= _in_range(facts, numbers["row"], gone)
    if not good.all():
        row = rows[int(np.argmin(good))]
        damaged(file, f"row {row} was changed, {np.count_nonzero(~good)} of {len(rows)} rows read")
    return numbers


def _in_range(
    facts: NDArray[np.void], row: NDArray[np.int64], removed: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Where every value can be one: a mark tells of accidents only. bool [n]."""
    good: NDArray[np.bool_] = (row > 0) & (removed >= 0) & (removed <= 1)
    good &= (facts["segment"] > 0) & (facts["slot"] >= 0)
    for name in ("vehicle", "camera", "tracklet", "orientation"):
        good &= facts[name] >= UNKNOWN
    good &= facts["orientation"] < len(ORIENTATIONS)
    for name in ("norm", "spread"):
        good &= np.isfinite(facts[name]) & (facts[name] >= 0)
    time_us = facts["time_us"]
    good &= (time_us == UNKNOWN_TIME) | ((time_us >= FIRST_US) & (time_us <= LAST_US))
    return good


def _marks(
    row: NDArray[np.int64], removed: NDArray[np.generic], facts: NDArray[np.void]
) -> NDArray[np.uint64]:
    """The mark of each row: any one value changed changes it. uint64 [n]."""
    mixed = np.zeros(len(row), np.uint64)
    _mix(mixed, row.astype(np.uint64))
    _mix(mixed, removed.astype(np.uint64))
    words = facts.view(np.dtype("<u8")).reshape(-1, FACTS_BYTES // 8)  # the last is the mark
    for column in range(words.shape[1] - 1):
        _mix(mixed, words[:, column])
    return mixed


def _mix(mixed: NDArray[np.uint64], word: NDArray[np.uint64]) -> None:
    """Take a word in; each step can be undone, so that two words never give one result."""
    mixed ^= word
    mixed *= _ODD  # modulo 2^64
    mixed ^= mixed >> _HALF
