"""Leaving out what was removed: live rows move to new files, the old files are deleted.

One transaction: a kill at any moment leaves the state before it or after it. Row numbers stay.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.folder.old_index import drop_old_index
from mtml_deploy.gallery.folder.reader import read_stored
from mtml_deploy.gallery.folder.rows import RowTable
from mtml_deploy.gallery.folder.vectors import cut_files
from mtml_deploy.gallery.folder.writer import SegmentWriter
from mtml_deploy.gallery.values import Compacted

_CHUNK_BYTES: Final = 1 << 24
"""Vectors copied at once (16 MiB)."""


def compact(folder: Path, manifest: GalleryManifest, table: RowTable) -> Compacted:
    """Rewrite a gallery without its removed rows; nothing happens where there are none.

    Needs room for a second copy of the live vectors. Readers that are at work go on with the old
    files, and find the new ones at their next search.

    Args:
        folder: the gallery, whose writer lock the caller holds.
        manifest: its manifest.
        table: its record of rows, open for writing.

    Returns:
        What was done.

    Raises:
        GalleryError: a live row is missing or corrupted; the text names it.
    """
    with table.change():
        numbers = table.numbers()
        live = numbers[~numbers["removed"]]
        dropped = len(numbers) - len(live)
        if dropped:
            old = table.segments()
            _move(folder, manifest, table, live)
            table.drop_removed(segment.number for segment in old)
            table.texts.drop_unused(live)
            table.count_rewrite()
    # also what an interrupted call left behind
    cut_files(folder, manifest, {part.number: part.rows for part in table.segments()})
    drop_old_index(folder)
    table.fold()  # removed rows are in the log until then
    return Compacted(dropped, len(live))


def _move(folder: Path, manifest: GalleryManifest, table: RowTable, live: NDArray[np.void]) -> None:
    """Copy the vectors of live rows, in row order, to new segments."""
    writer = SegmentWriter(folder, manifest, table)
    room = writer.segment_rows
    step = max(1, min(room, _CHUNK_BYTES // manifest.row_bytes))
    for begin in range(0, len(live), room):
        of_segment = live[begin : begin + room]
        segment = None
        for start in range(0, len(of_segment), step):
            chunk = of_segment[start : start + step]
            stored = read_stored(folder, manifest, chunk)
            if segment is None:
                segment = writer.open_segment(stored, new=True)
            placed = writer.append(segment, stored)
            segment = replace(segment, rows=placed.slots.stop)
            moved = chunk.copy()
            moved["segment"], moved["slot"] = segment.number, placed.slots
            moved["spread"] = placed.spread
            table.move(moved)
