"""Rows behind rows: which segment takes the next ones, and how they are written.

In: vectors, inside a change of the record. Out: their places, on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.folder.int8 import decode, encode
from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.folder.rows import RowTable
from mtml_deploy.gallery.folder.schema import Segment
from mtml_deploy.gallery.folder.vectors import (
    create_segment,
    layers,
    segment_state,
    write_rows,
)
from mtml_deploy.search.error_bounds import row_terms

SEGMENT_BYTES: Final = 1 << 28
"""Vectors of one file (256 MiB): few files, and numbers that are cheap to extend."""


@dataclass(frozen=True)
class Appended:
    """Where rows were written, and what bounds of their distances need of them as they are scanned.

    Attributes:
        slots: their places in the segment.
        norms: float32 [n], L2 norms.
        spread: float32 [n], see `RowTerms`, about the segment's centre.
    """

    slots: range
    norms: NDArray[np.float32]
    spread: NDArray[np.float32]


class SegmentWriter:
    """Appends to the segments of a gallery; used by the holder of the writer lock."""

    def __init__(self, folder: Path, manifest: GalleryManifest, table: RowTable) -> None:
        """Nothing is written yet."""
        self._folder = folder
        self._manifest = manifest
        self._table = table

    @property
    def segment_rows(self) -> int:
        """Rows that one segment takes."""
        return max(1, SEGMENT_BYTES // self._manifest.row_bytes)

    def room(self, segment: Segment) -> int:
        """How many more rows a segment takes."""
        return self.segment_rows - segment.rows

    def open_segment(self, coming: NDArray[np.float32], *, new: bool = False) -> Segment:
        """The segment that the next rows go to; inside a change.

        Args:
            coming: float32 [n, D], those rows; their mean becomes the centre of a new segment.
            new: begin one in any case.

        Returns:
            One that has room for at least one row.
        """
        segments = self._table.segments()
        if segments and not new and self.room(segments[-1]) > 0:
            # nothing is appended to a file that was damaged: the gap would look like rows
            states = [
                segment_state(self._folder, segments[-1].number, self._manifest, layer)
                for layer in layers(self._manifest)
            ]
            if all(not state.fault and state.rows >= segments[-1].rows for state in states):
                return segments[-1]
        number = self._table.take_segment()
        create_segment(self._folder, number, self._manifest)
        return Segment(number, 0, coming.mean(axis=0, dtype=np.float64))

    def append(self, segment: Segment, vectors: NDArray[np.float32]) -> Appended:
        """Write vectors [n, D] behind those of a segment, on disk at the end; inside a change."""
        slots = range(segment.rows, segment.rows + len(vectors))
        place = self._folder, segment.number, self._manifest
        write_rows(*place, first=slots.start, rows=vectors)
        scanned = vectors
        if "codes" in layers(self._manifest):
            coded = encode(vectors)
            write_rows(*place, first=slots.start, rows=coded, layer="codes")
            scanned = decode(coded)
        self._table.put_segment(Segment(segment.number, slots.stop, segment.centre))
        terms, _ = row_terms(scanned, segment.centre)
        return Appended(slots, terms.norms, terms.spread)
