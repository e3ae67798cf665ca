"""What a search sees: mapped vectors and the numbers of their rows, of one moment.

Refreshing costs what was added since; only removals and compaction load everything again.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.errors import MtmlError
from mtml_deploy.gallery.folder.facts import NUMBERS
from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.folder.reader import require_crcs
from mtml_deploy.gallery.folder.rows import RowTable
from mtml_deploy.gallery.folder.schema import Segment
from mtml_deploy.gallery.folder.vectors import layers, map_codes, map_rows
from mtml_deploy.gallery.values import Filter, GalleryError
from mtml_deploy.search.error_bounds import RowTerms

_ATTEMPTS: Final = 5
"""Loads before giving up, should compactions keep replacing the files meanwhile."""


@dataclass(frozen=True)
class SegmentView:
    """One segment, its arrays in slot order; row numbers ascend with the slot.

    Attributes:
        features: float32 [n, D], the vectors that decide.
        codes: `coded_type` [n], scanned in their place; None without int8 codes.
        terms: of the bounds of distances to what is scanned; see `lower_bounds`.
        numbers: `NUMBERS` [n].
        alive: bool [n], false where removed.
    """

    features: NDArray[np.float32]
    codes: NDArray[np.void] | None
    terms: RowTerms
    numbers: NDArray[np.void]
    alive: NDArray[np.bool_]

    def after(self, row: int) -> SegmentView:
        """The part of the segment whose row numbers are above `row`."""
        part = slice(int(np.searchsorted(self.numbers["row"], row, side="right")), None)
        return SegmentView(
            features=self.features[part],
            codes=None if self.codes is None else self.codes[part],
            terms=self.terms[part],
            numbers=self.numbers[part],
            alive=self.alive[part],
        )

    def passing(self, where: Filter) -> NDArray[np.bool_]:
        """Which rows a search looks at, bool [n]."""
        mask = self.alive
        numbers = self.numbers
        if where.cameras:
            mask = mask & np.isin(numbers["camera"], where.cameras)
        if where.not_cameras:
            mask = mask & ~np.isin(numbers["camera"], where.not_cameras)
        if where.orientations:
            mask = mask & np.isin(numbers["orientation"], where.orientations)
        if where.since_us is not None:
            mask = mask & (numbers["time_us"] >= where.since_us)
        if where.until_us is not None:
            mask = mask & (numbers["time_us"] < where.until_us)
        if where.since_us is not None or where.until_us is not None:
            mask = mask & (numbers["time_us"] != UNKNOWN_TIME)
        return mask


class View:
    """The newest whole state; empty until the first `refresh`."""

    def __init__(self, gallery: Path, manifest: GalleryManifest) -> None:
        """Nothing is read yet."""
        self._gallery = gallery
        self._manifest = manifest
        self._rewrites = -1
        self._last_row = 0
        self._segments: dict[int, SegmentView] = {}
        self._unchanged: set[int] = set()

    @property
    def segments(self) -> tuple[SegmentView, ...]:
        """The segments, oldest first."""
        return tuple(self._segments.values())

    def refresh(self, table: RowTable) -> None:
        """Take over every change that was committed.

        Raises:
            GalleryError: vectors are missing, or the record does not fit them.
            EmbeddingsError: vectors are of another model.
        """
        for attempt in range(_ATTEMPTS):
            with table.snapshot():
                rewrites = table.rewrites()
                if rewrites != self._rewrites:
                    self._segments, self._last_row, self._unchanged = {}, 0, set()
                found = table.numbers(after=self._last_row)
                segments = table.segments()
            self._rewrites = -1  # until all of it is taken over
            try:
                self._extend(found, segments)
            except MtmlError:
                # a compaction may have replaced the files after they were looked up
                if table.rewrites() == rewrites or attempt == _ATTEMPTS - 1:
                    raise
                continue
            self._rewrites = rewrites
            return

    def require_unchanged(self, rows: NDArray[np.int64]) -> None:
        """Compare the vectors of rows with their checksums, of each row once.

        Args:
            rows: int64, any shape, of the segments.

        Raises:
            GalleryError: one is corrupted.
        """
        new = np.array(sorted(set(rows.ravel().tolist()) - self._unchanged), np.int64)
        for segment in self._segments.values():
            slots = np.searchsorted(segment.numbers["row"], new)
            slots = slots[slots < len(segment.numbers)]
            slots = slots[np.isin(segment.numbers["row"][slots], new)]
            require_crcs(self._gallery, segment.features[slots], segment.numbers[slots])
        self._unchanged.update(new.tolist())

    def _extend(self, found: NDArray[np.void], segments: tuple[Segment, ...]) -> None:
        """Add rows to the segments they are in."""
        strangers = np.setdiff1d(found["segment"], [segment.number for segment in segments])
        if len(strangers):
            raise GalleryError(
                f"the record of {self._gallery} tells of rows in segment {strangers[0]}, which it "
                "does not have; restore it from a backup"
            )
        for segment in segments:
            new = found[found["segment"] == segment.number]
            old = self._segments.get(segment.number)
            if old is not None and not len(new):
                continue
            numbers = np.concatenate([np.empty(0, NUMBERS) if old is None else old.numbers, new])
            here = np.arange(len(numbers))
            if len(numbers) != segment.rows or not np.array_equal(numbers["slot"], here):
                raise GalleryError(
                    f"the record of {self._gallery} tells of {len(numbers)} rows in segment "
                    f"{segment.number}, expected {segment.rows}; restore it from a backup"
                )
            self._segments[segment.number] = SegmentView(
                features=map_rows(self._gallery, segment.number, self._manifest, segment.rows),
                codes=(
                    map_codes(self._gallery, segment.number, self._manifest, segment.rows)
                    if "codes" in layers(self._manifest)
                    else None
                ),
                terms=RowTerms(
                    segment.centre,
                    np.ascontiguousarray(numbers["spread"]),
                    np.ascontiguousarray(numbers["norm"]),
                ),
                numbers=numbers,
                alive=~numbers["removed"],
            )
        if len(found):
            self._last_row = int(found["row"][-1])
