"""The order of chosen rows by their float64 sums, most of it proven without these sums.

In: a query and candidates. Out: the nearest of them and their distances, bit for bit those of
`squared_distances`. One float64 product takes half the time of the sum of squares that decides;
where its error could change a place or the last bit of a distance, and there alone, the sums are
taken.

The bound. With u = 2^-53 and float32 inputs every product of two values is exact in float64, so a
sum of D of them, in any order, is off by at most D u / (1 - D u) times the sum of their sizes
(Higham, Accuracy and Stability of Numerical Algorithms, 2002, sections 3.1 and 4.2). Then
|g|^2 + |q|^2 - 2 q.g, three such sums and a few roundings, is off by at most
(D + 8) u' (|g| + |q|)^2 with u' = u / (1 - (D + 8) u). Each of the squares in the sum of (g - q)^2
has three roundings, so it is off by at most (D + 3) u' |g - q|^2, and |g - q| is at most |g| + |q|.
The two differ by at most the sum of both errors.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import CHUNK_VALUES, squared_distances

_HALF_EPS_64: Final = 2.0**-53
"""Largest relative error of one float64 rounding."""

_LEAST_DIM: Final = 2048
"""Shorter rows are summed at once: the proof would cost what it saves."""

_MOST_ROWS: Final = 4096
"""More are summed at once: they are masses of ties, or the memory of the proof would count."""


class Placed(NamedTuple):
    """The nearest of chosen rows, nearest first.

    Attributes:
        order: int64 [k], places in what was chosen.
        distances: float32 [k], L2 distances.
        last: an upper bound of the squared distance of the last; 0 where k is 0.
    """

    order: NDArray[np.int64]
    distances: NDArray[np.float32]
    last: float


def placed(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    rows: NDArray[np.int64],
    norms: NDArray[np.float64],
    places: int,
) -> Placed:
    """The nearest of chosen gallery rows by `squared_distances`, ties by lower row.

    Args:
        query: float32 [D].
        gallery: float32 [G, D].
        rows: int64 [n], distinct gallery rows, in any order.
        norms: float64 [G], squared norms of the gallery, see `squared_norms`.
        places: how many are wanted, at least 0.

    Returns:
        The first `places` of them, or all.
    """
    if len(query) < _LEAST_DIM or len(rows) > _MOST_ROWS:
        near, error = squared_distances(query, gallery, rows), np.zeros(len(rows))
    else:
        near, error = _product_distances(query, gallery, rows, norms)
        unclear = _unclear(near, error)
        if len(unclear):
            near[unclear] = squared_distances(query, gallery, rows[unclear])
    order = np.lexsort((rows, near))[:places]
    if not len(order):
        return Placed(order, np.empty(0, np.float32), 0.0)
    distances = np.sqrt(near[order]).astype(np.float32)
    return Placed(order, distances, float(near[order[-1]] + error[order[-1]]))


def _product_distances(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    rows: NDArray[np.int64],
    norms: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared distances float64 [n], and how far they may be from `squared_distances`, [n]."""
    point = query.astype(np.float64)
    products = np.empty(len(rows))
    step = max(1, min(len(rows), CHUNK_VALUES // len(query)))
    space = np.empty((step, len(query)))
    for start in range(0, len(rows), step):
        part = rows[start : start + step]
        wide = space[: len(part)]
        wide[...] = gallery[part]
        # row by row: a product of a matrix would wait for the threads of the BLAS library
        np.vecdot(wide, point, out=products[start : start + step])
    own, squares = float(np.vecdot(point, point)), norms[rows]
    # 2.5: both errors, the divisions by 1 - (D + 8) u and the roundings of these lines
    error = np.square(np.sqrt(squares) + np.sqrt(own))
    error *= 2.5 * (len(query) + 8) * _HALF_EPS_64
    products *= -2
    products += squares + own
    return products, error


def _unclear(near: NDArray[np.float64], error: NDArray[np.float64]) -> NDArray[np.int64]:
    """Where an error within the bound could change the order or a float32 distance.

    Args:
        near: float64 [n], squared distances.
        error: float64 [n], how far they may be off.

    Returns:
        int64 [m], ascending. All others are in their place, whatever the true values are.
    """
    low, high = near - error, near + error
    with np.errstate(invalid="ignore"):  # below zero: a root that is NaN equals nothing
        unclear = np.sqrt(low).astype(np.float32) != np.sqrt(high).astype(np.float32)
    # an interval that reaches a later one reaches the next one too: marking both ends of every
    # touch of neighbours, in the order of their beginnings, marks all that touch
    by_low = np.argsort(low)
    touching = np.maximum.accumulate(high[by_low])[:-1] >= low[by_low[1:]]
    unclear[by_low[1:][touching]] = True
    unclear[by_low[:-1][touching]] = True
    return np.flatnonzero(unclear)
