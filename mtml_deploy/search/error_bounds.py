"""Lower bounds of squared distances from float32 products, and the exact choice they allow.

In: products of a query with gallery rows, and per row a norm and a distance to a centre, which a
gallery can compute once and keep. Out: the nearest rows in float64 order, at the cost of the
products and of a few exact sums.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import squared_norms

EXTRA: Final = 16
"""Candidates beyond those wanted: enough that a second look at the gallery is rare."""

_HALF_EPS_32: Final = 2.0**-24
"""Largest relative error of one float32 rounding."""

_HALF_EPS_64: Final = 2.0**-53
"""Largest relative error of one float64 rounding."""


def spread_about(gallery: NDArray[np.float32], centre: NDArray[np.float64]) -> NDArray[np.float32]:
    """Lower bounds of |g - m|^2, the term of a bound that no query changes.

    Args:
        gallery: float32 [G, D].
        centre: float64 [D], m; any point bounds correctly, one amid the rows bounds closely.

    Returns:
        float32 [G].
    """
    # eight roundings of float32 are more than the few additions of `lower_bounds` commit
    return (squared_norms(gallery, centre) * (1 - 8 * _HALF_EPS_32)).astype(np.float32)


@dataclass(frozen=True)
class QueryTerms:
    """The terms of a bound that depend on a block of queries alone; see `lower_bounds`.

    Attributes:
        doubled: float32 [b, D], -2 (q - m): its product with the rows needs no further factor.
        shifts: float64 [b].
        slacks: float64 [b].
        errors: float32 [b]; times the norm of a row, the largest error of its bound's product.
    """

    doubled: NDArray[np.float32]
    shifts: NDArray[np.float64]
    slacks: NDArray[np.float64]
    errors: NDArray[np.float32]


def query_terms(query: NDArray[np.float32], centre: NDArray[np.float64]) -> QueryTerms:
    """The terms of `lower_bounds` that depend on the queries.

    Args:
        query: float32 [b, D].
        centre: float64 [D], m.

    Returns:
        The terms.
    """
    dim = query.shape[1]
    centred = query - centre  # float64 [b, D]
    lengths = np.sqrt(np.vecdot(centred, centred))  # [b]
    shifts = np.square(lengths) + 2 * (centred @ centre)  # [b]
    # the float64 sums round too, and float32 products may underflow
    slacks = 8 * (dim + 8) * _HALF_EPS_64 * lengths * (lengths + np.linalg.norm(centre))
    slacks += dim * 2.0**-120
    # 1.25: 1 / (1 - D u) for D up to three million, and the roundings of this line
    errors = (1.25 * 2 * (dim + 8) * _HALF_EPS_32 * lengths).astype(np.float32)
    centred *= -2
    return QueryTerms(centred.astype(np.float32), shifts, slacks, errors)


def lower_bounds(
    query: NDArray[np.float32],
    product: Callable[[NDArray[np.float32]], NDArray[np.float32]],
    *,
    centre: NDArray[np.float64],
    spread: NDArray[np.float32],
    norms: NDArray[np.float32],
) -> list[tuple[NDArray[np.float32], float, float]]:
    """Bounds of the squared distances between a block of queries and every gallery row.

    With m the centre, |g - q|^2 = |g - m|^2 - 2 (q - m).g + shift, where
    shift = |q - m|^2 + 2 (q - m).m is the same for every row. Only the query is centred, so the
    gallery is not copied; centring keeps the error small beside the distances when all features
    share a large common part, as features after a ReLU do.

    A sum of D products, in any order, is off by at most D u / (1 - D u) |q - m| |g| with u the
    unit roundoff (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).

    Args:
        query: float32 [b, D].
        product: points float32 [b, D] -> their float32 products [b, G] with the rows, a new array.
        centre: float64 [D], m.
        spread: float32 [G], `spread_about` that centre.
        norms: float32 [G], L2 norms of the rows.

    Returns:
        For each query: `lower`, float32 [G]; `shift`; `slack`. The float64 squared distance of row
        g is at least `lower[g] + shift - slack`.
    """
    terms = query_terms(query, centre)
    bounds = []
    for row, lower in enumerate(product(terms.doubled)):
        lower += spread
        lower -= terms.errors[row] * norms
        bounds.append((lower, float(terms.shifts[row]), float(terms.slacks[row])))
    return bounds


def nearest(
    exact_of: Callable[[NDArray[np.int64]], NDArray[np.float64]],
    lower: NDArray[np.float32],
    count: int,
    *,
    shift: float,
    slack: float,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """The `count` nearest rows in float64 order and their squared distances; ties by lower row.

    Args:
        exact_of: rows int64 [n] -> their float64 squared distances [n]; see `squared_distances`.
        lower: float32 [G], see `lower_bounds`; infinite for rows left out; overwritten.
        count: rows wanted, at most the number of finite values in `lower`.
        shift: see `lower_bounds`.
        slack: see `lower_bounds`.

    Returns:
        int64 [count] rows and float64 [count] squared distances, nearest first.
    """
    if count == 0:
        return np.empty(0, dtype=np.int64), np.empty(0, dtype=np.float64)
    if count + EXTRA < len(lower):
        rows = np.argpartition(lower, count + EXTRA)[: count + EXTRA]
        rows = rows[np.isfinite(lower[rows])]
    else:
        rows = np.flatnonzero(np.isfinite(lower))
    exact = exact_of(rows)

    last = float(np.partition(exact, count - 1)[count - 1])
    # every row whose bound does not prove it farther than the last rank: near ties, and exact
    # duplicates of which the partition above took an arbitrary part
    reach = np.nextafter(np.float32(last - shift + slack), np.float32(np.inf))
    lower[rows] = np.inf
    more = np.flatnonzero(lower <= reach)
    if len(more):
        rows = np.concatenate([rows, more])
        exact = np.concatenate([exact, exact_of(more)])
    order = np.lexsort((rows, exact))[:count]
    return rows[order], exact[order]
