"""Candidates for the first places of many rows at once, known only by bounds of their values.

In: pairs (row, column) with a lower bound each, in any order and number. Out: for each row the
columns of its K smallest exact values. Memory is bounded: the pool is cut down whenever it grows
past its capacity.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray

MIN_CAPACITY: Final = 1 << 20
"""Pairs held before the pool is cut down; each takes about 60 bytes then."""

Exact = Callable[[NDArray[np.int64], NDArray[np.int64]], NDArray[np.float64]]
"""(rows int64 [n], columns int64 [n]) -> the exact values, float64 [n]."""


def capacity(size: int, count: int) -> int:
    """Pairs the pool of `size` rows and `count` places holds before it is cut down."""
    # the first places alone are size * count; less than four times that would be cut all the time
    return max(MIN_CAPACITY, 4 * size * count)


class CandidatePool:
    """Pairs that may be among the `count` smallest of their row.

    The exact value of pair (i, j) is at least `low` and at most `low + widths[i] + widths[j]`.

    Attributes:
        limits: float32 [N]; a pair whose `low` is above the limit of its row is not a candidate.
    """

    def __init__(self, widths: NDArray[np.float64], *, count: int, exact: Exact) -> None:
        """An empty pool.

        Args:
            widths: float64 [N], share of each row in the width of the bounds.
            count: places wanted in each row, K.
            exact: exact values in the unit of the bounds.
        """
        self.limits = np.full(len(widths), np.inf, dtype=np.float32)
        self._widths = widths
        self._count = count
        self._exact = exact
        self._capacity = capacity(len(widths), count)
        self._parts: list[tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]] = []
        self._held = 0

    def tighten(self, start: int, highs: NDArray[np.float32]) -> None:
        """Lower the limits of the rows from `start` on.

        Args:
            start: first row.
            highs: float32 [n]; at least K values of each row are known to be no larger.
        """
        limits = self.limits[start : start + len(highs)]
        np.minimum(limits, np.nextafter(highs, np.float32(np.inf)), out=limits)

    def add(
        self, rows: NDArray[np.int64], columns: NDArray[np.int64], low: NDArray[np.float32]
    ) -> None:
        """Take in pairs; the same pair must not come twice.

        Args:
            rows: int64 [n].
            columns: int64 [n].
            low: float32 [n], lower bounds.
        """
        self._parts.append((rows.astype(np.int32), columns.astype(np.int32), low))
        self._held += len(rows)
        if self._held > self._capacity:
            self._cut()
            if self._held > self._capacity // 2:
                # masses of near equal values: only the exact ones can tell them apart
                rows, columns, values = self._settle()
                low = np.nextafter(values.astype(np.float32), np.float32(-np.inf))
                self._parts = [(rows.astype(np.int32), columns.astype(np.int32), low)]
                self._held = len(rows)

    def first(self) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The first places of every row; every row must have been offered K pairs.

        Returns:
            int64 [N, K] columns in the order of (exact value, column), and float64 [N, K], the
            exact values.
        """
        self._cut()
        _, columns, values = self._settle()
        shape = (len(self.limits), self._count)
        return columns.reshape(shape), values.reshape(shape)

    def _cut(self) -> None:
        """Drop the pairs that the bounds prove to be behind the first places."""
        rows, columns, low = self._all()
        # one sort of integers: row first, then the bits of `low` made monotone
        bits = low.view(np.uint32)
        bits = np.where(bits >> 31, ~bits, bits | np.uint32(1 << 31))
        order = np.argsort((rows.astype(np.uint64) << np.uint64(32)) | bits)
        rows, columns, low = rows[order], columns[order], low[order]
        high = low + self._widths[rows] + self._widths[columns]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        place = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
        full = rows[place == self._count - 1]
        if len(full):
            is_full = np.zeros(len(self.limits), dtype=bool)
            is_full[full] = True
            leading = np.flatnonzero((place < self._count) & is_full[rows])
            worst = high[leading].reshape(len(full), self._count).max(axis=1)
            limits = np.nextafter(worst.astype(np.float32), np.float32(np.inf))
            self.limits[full] = np.minimum(self.limits[full], limits)
        keep = low <= self.limits[rows]
        self._parts = [(rows[keep], columns[keep], low[keep])]
        self._held = int(np.count_nonzero(keep))

    def _settle(self) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        """Rows, columns and exact values of the first K pairs of each row, in their order."""
        narrow_rows, narrow_columns, _ = self._all()
        rows, columns = narrow_rows.astype(np.int64), narrow_columns.astype(np.int64)
        values = self._exact(rows, columns)
        order = np.lexsort((columns, values, rows))
        rows = rows[order]
        starts = np.flatnonzero(np.diff(rows, prepend=-1))
        place = np.arange(len(rows)) - np.repeat(starts, np.diff(starts, append=len(rows)))
        keep = place < self._count
        return rows[keep], columns[order][keep], values[order][keep]

    def _all(self) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.float32]]:
        """Every pair held, as three arrays."""
        rows, columns, low = zip(*self._parts, strict=True)
        return np.concatenate(rows), np.concatenate(columns), np.concatenate(low)
