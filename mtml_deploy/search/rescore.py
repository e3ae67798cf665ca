"""The order of candidates as the float64 sums of `squared_distances` give it, at less cost.

In: one query and gallery rows. Out: the nearest of them and their float32 distances, bit for bit
those of `squared_distances`. A sum in the order of the BLAS library differs from that one by a few
roundings; only where these could change an order or a digit is the deciding sum computed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import chunk_bytes, squared_distances

_PART_VALUES: Final = 1 << 18
"""Values looked at once (3 MiB as float32 and float64). In parts that stay in a core's cache the
threads spend their time on handing over the interpreter: two were slower than one."""

_HALF_EPS_64: Final = 2.0**-53
"""Largest relative error of one float64 rounding."""


@dataclass(frozen=True)
class Decided:
    """The nearest of a query's candidates.

    Attributes:
        rows: int64 [n], gallery rows, nearest first; ties by lower row.
        distances: float32 [n], L2 distances.
        last: float, at least the squared distance of the last row; 0 where there is none.
    """

    rows: NDArray[np.int64]
    distances: NDArray[np.float32]
    last: float


def decision_bytes(size: int, dim: int) -> int:
    """Memory that deciding between `size` candidates of `dim` values takes, at most."""
    return 12 * max(_PART_VALUES, dim) + chunk_bytes(dim) + 176 * size + 32 * dim


def decide(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    rows: NDArray[np.int64],
    count: int,
) -> Decided:
    """The `count` nearest of the candidates.

    Args:
        query: float32 [D].
        gallery: float32 [G, D], G at least 1.
        rows: int64 [n], distinct gallery rows.
        count: rows wanted.

    Returns:
        min(count, n) rows.
    """
    count = min(count, len(rows))
    if count == 0:
        return Decided(np.empty(0, np.int64), np.empty(0, np.float32), 0.0)
    # a sum of D squares in any order, each rounded once, is off by at most D + 1 roundings of
    # itself; the deciding sum as well. 2.5: both, and second-order terms for D up to 1e14
    error = 2.5 * (len(query) + 2) * _HALF_EPS_64
    near = _close_squared_distances(query, gallery, rows)
    reach = np.partition(near, count - 1)[count - 1] * (1 + 4 * error)
    kept = np.flatnonzero(near <= reach)
    rows, near = rows[kept], near[kept]
    order = np.argsort(near, kind="stable")
    rows, near = rows[order], near[order]

    low, high = near * (1 - error), near * (1 + error)
    unsure = np.sqrt(low).astype(np.float32) != np.sqrt(high).astype(np.float32)
    close = low[1:] <= high[:-1]
    unsure[1:] |= close
    unsure[:-1] |= close
    if unsure.any():
        near[unsure] = squared_distances(query, gallery, rows[unsure])
        # every other row is farther than the errors from both of its neighbours
        order = np.lexsort((rows, near))
        rows, near = rows[order], near[order]
    rows, near = rows[:count], near[:count]
    return Decided(rows, np.sqrt(near).astype(np.float32), float(near[-1] * (1 + error)))


def _close_squared_distances(
    query: NDArray[np.float32], gallery: NDArray[np.float32], rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sums of (g - q)^2 float64 [n] in the order of the BLAS library."""
    sums = np.empty(len(rows))
    step = min(len(rows), max(1, _PART_VALUES // len(query)))
    point = query.astype(np.float64)
    gathered = np.empty((step, len(query)), dtype=np.float32)
    difference = np.empty((step, len(query)))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        here = slice(0, len(part))
        # "clip" lets NumPy write to `out` directly; the rows are known to exist
        np.take(gallery, part, axis=0, out=gathered[here], mode="clip")
        # in two steps: one of both types at once goes through NumPy's slow casting buffer
        difference[here] = gathered[here]
        difference[here] -= point
        np.vecdot(difference[here], difference[here], out=sums[start : start + step])
    return sums
