"""Is everything in a collection as it was added: corrupted, foreign and duplicate rows.

Reads every vector. What a server lost together with its row leaves no trace; a number of rows that
differs from what can be read does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.milvus.entities import IMAGES, stored_row, vector_crc, vectors_of
from mtml_deploy.gallery.milvus.rows import CollectionRows
from mtml_deploy.gallery.values import Finding, GalleryError

_SOUND: Final = np.dtype([("row", np.int64), ("crc", np.uint32)])

_SHOWN: Final = 1000
"""Rows outside the numbers that were given out, named one by one."""


def verify_collection(
    table: CollectionRows, *, progress: Callable[[int, int], None] | None = None
) -> tuple[Finding, ...]:
    """Check every row.

    Args:
        table: the rows of an open collection; nobody may be adding or removing meanwhile.
        progress: called with (rows read, rows).

    Returns:
        The faults, ordered by row, duplicates last.

    Raises:
        GalleryError: the server cannot be read.
    """
    total = table.collection.count(IMAGES)
    findings: list[Finding] = []
    sound = [np.empty(0, _SOUND)]
    read = 0
    for part in table.whole():
        good = []
        for entity, vector in zip(part, vectors_of(part, table.model.dim), strict=True):
            row, crc = entity["row"], vector_crc(vector)
            try:
                stored_row(entity)
            except GalleryError as error:
                findings.append(Finding("foreign", row, str(error)))
                continue
            if crc != entity["crc"]:
                text = "its vector differs from its checksum"
                findings.append(Finding("corrupted", row, text))
            else:
                good.append((row, crc))
        sound.append(np.array(good, _SOUND))
        read += len(part)
        if progress is not None:
            progress(read, total)
    outside = table.collection.query(
        f"row < 0 or row >= {table.manifest().next_row}", (), limit=_SHOWN
    )
    for entity in outside:
        text = "its number was never given out; another program added it"
        findings.append(Finding("foreign", entity["row"], text))
    counted = table.collection.count(IMAGES)
    readable = read + sum(entity["row"] > 0 for entity in outside)
    if counted != readable and len(outside) < _SHOWN:
        text = f"the server counts {counted} rows but gives {readable}"
        findings.append(Finding("missing", None, text))
    duplicates = _duplicates(table, np.concatenate(sound))
    return (*findings, *sorted(duplicates, key=lambda finding: finding.row or 0))


def _duplicates(table: CollectionRows, sound: NDArray[np.void]) -> Iterator[Finding]:
    """Rows, `_SOUND` [n], whose vector another row before them has."""
    order = np.argsort(sound["crc"], kind="stable")  # equal checksums together, by row
    _, starts, counts = np.unique(sound["crc"][order], return_index=True, return_counts=True)
    shared = counts > 1
    for start, count in zip(starts[shared], counts[shared], strict=True):
        group = sound["row"][order[start : start + count]]
        first_of: dict[bytes, int] = {}
        for row in group.tolist():
            first = first_of.setdefault(table.vectors([row]).tobytes(), row)
            if first != row:
                yield Finding("duplicate", row, f"has the same vector as row {first}")
