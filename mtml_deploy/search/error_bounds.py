"""Bounds of squared distances from float32 products, and the candidates they leave.

In: products of a query with gallery rows, and per row a norm and a distance to a centre, which a
gallery can compute once and keep. Out: the rows that may be among the nearest, few enough that the
float64 sums of all of them cost little beside the products.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import squared_norms_about

EXTRA: Final = 16
"""Candidates beyond those wanted: enough that a second look at the gallery is rare."""

_HALF_EPS_32: Final = 2.0**-24
"""Largest relative error of one float32 rounding."""

_HALF_EPS_64: Final = 2.0**-53
"""Largest relative error of one float64 rounding."""


@dataclass(frozen=True)
class RowTerms:
    """The terms of a bound that no query changes, for n rows; see `lower_bounds`.

    Attributes:
        centre: float64 [D], m; any point bounds correctly, one amid the rows bounds closely.
        spread: float32 [n], lower bounds of |g - m|^2.
        norms: float32 [n], |g|.
    """

    centre: NDArray[np.float64]
    spread: NDArray[np.float32]
    norms: NDArray[np.float32]

    def __getitem__(self, part: slice | NDArray[np.int64]) -> RowTerms:
        """The terms of some of the rows."""
        return RowTerms(self.centre, self.spread[part], self.norms[part])


def row_terms(
    features: NDArray[np.float32], centre: NDArray[np.float64]
) -> tuple[RowTerms, NDArray[np.float64]]:
    """The terms of rows, from one pass over them.

    Args:
        features: float32 [n, D].
        centre: float64 [D], m.

    Returns:
        The terms, and float64 [n], the squared norms.
    """
    squared, about = squared_norms_about(features, centre)
    # eight roundings of float32 are more than the few additions of `lower_bounds` commit
    spread = (about * (1 - 8 * _HALF_EPS_32)).astype(np.float32)
    return RowTerms(centre, spread, np.sqrt(squared).astype(np.float32)), squared


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
    rows: RowTerms,
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
        rows: their terms.

    Returns:
        For each query: `lower`, float32 [G]; `shift`; `slack`. The float64 squared distance of row
        g is at least `lower[g] + shift - slack`.
    """
    terms = query_terms(query, rows.centre)
    bounds = []
    for row, lower in enumerate(product(terms.doubled)):
        lower += rows.spread
        lower -= terms.errors[row] * rows.norms
        bounds.append((lower, float(terms.shifts[row]), float(terms.slacks[row])))
    return bounds


def possible_rows(
    product: NDArray[np.float32],
    rows: RowTerms,
    error: np.float32,
    count: int,
    *,
    left_out: NDArray[np.int64] | NDArray[np.bool_] | None = None,
) -> NDArray[np.int64]:
    """Every row that the bounds cannot prove farther from a query than the `count` nearest.

    Usually these and a few more. The bound of each row also has an upper end; no row is among the
    nearest whose lower end is above the upper ends of `count` others.

    Args:
        product: float32 [G], of `QueryTerms.doubled` with the rows; overwritten.
        rows: their terms.
        error: of that query, see `QueryTerms.errors`.
        count: rows wanted, 1 to the rows that are not left out.
        left_out: int64 [n] rows, or bool [G]; None leaves out none.

    Returns:
        int64 [n], ascending, at least `count` rows.
    """
    low = product
    low += rows.spread
    low -= error * rows.norms
    # an upper bound is higher by twice the error of the product, and by the roundings of the
    # spread; 2.1 and 64 leave room for those of these lines
    high = rows.norms * (np.float32(2.1) * error)
    high += rows.spread * np.float32(64 * _HALF_EPS_32)
    high += low
    if left_out is not None:
        low[left_out] = high[left_out] = np.inf
    high.partition(count - 1)
    # the error of products that underflow is the same for every row
    tiny = np.float32(8 * len(rows.centre) * 2.0**-120)
    reach = np.nextafter(high[count - 1] + tiny, np.float32(np.inf))
    return np.flatnonzero(low <= reach)
