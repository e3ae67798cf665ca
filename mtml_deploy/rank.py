"""Exact nearest gallery rows of every query, by L2 distance.

In: two sets of float32 features. Out: a `Ranking`, the same on every machine and for any number of
queries asked at once: order of the float64 distances, ties by lower gallery row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.bounds import lower_bounds, nearest, spread_about
from mtml_deploy.distances import require_features, squared_distances

Excluded = Callable[[int], NDArray[np.int64]]
"""Query row -> gallery rows to leave out, for example those a protocol removes."""

_BLOCK_VALUES: Final = 1 << 24
"""float32 products held at once (64 MiB)."""

_BLOCK_QUERIES: Final = 512
"""Queries per matrix product: BLAS gains nothing from more."""


@dataclass(frozen=True)
class Ranking:
    """The K nearest gallery rows of Q queries.

    Attributes:
        rows: int32 [Q, K], gallery rows, nearest first; ties by lower row; -1 where fewer than K
            remain after exclusion.
        distances: float32 [Q, K], L2 distances; infinite where `rows` is -1.
    """

    rows: NDArray[np.int32]
    distances: NDArray[np.float32]


def rank(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32],
    *,
    top_k: int,
    excluded: Excluded | None = None,
) -> Ranking:
    """Exact `top_k` nearest gallery rows of every query.

    A float32 matrix product proposes candidates; their distances are then computed anew in float64
    as sum((g - q)^2), which alone decides the order. A row is left aside only if a rigorous bound
    on the product's rounding error proves it farther than the last rank, so neither block sizes nor
    the BLAS library can change the result.

    Args:
        query: float32 [Q, D].
        gallery: float32 [G, D].
        top_k: ranks wanted, at least 1; K = min(top_k, G).
        excluded: gallery rows to leave out for a query row; None leaves out nothing.

    Returns:
        The ranking, [Q, K].

    Raises:
        ValueError: `top_k` below 1, other dtypes or shapes, or values that are not finite.

    Example:
        Two gallery rows are equally far (distance 1); the lower row comes first.

        >>> query = np.array([[0.0, 0.0]], dtype=np.float32)
        >>> gallery = np.array([[3, 4], [0, 1], [1, 0]], dtype=np.float32)
        >>> found = rank(query, gallery, top_k=3)
        >>> found.rows.tolist(), found.distances.tolist()
        ([[1, 2, 0]], [[1.0, 1.0, 5.0]])
        >>> rank(query, gallery, top_k=2, excluded=lambda row: np.array([1])).rows.tolist()
        [[2, 0]]
    """
    if top_k < 1:
        raise ValueError(f"top_k must be at least 1, found {top_k}")
    require_features("query", query)
    norms = np.sqrt(require_features("gallery", gallery))
    if query.shape[1] != gallery.shape[1]:
        raise ValueError(f"query has {query.shape[1]} dimensions, gallery {gallery.shape[1]}")
    shape = (len(query), min(top_k, len(gallery)))
    rows = np.full(shape, -1, dtype=np.int32)
    distances = np.full(shape, np.inf, dtype=np.float32)
    if 0 in shape:
        return Ranking(rows, distances)

    bounds = _LowerBounds(np.ascontiguousarray(gallery), norms.astype(np.float32))
    block = max(1, min(_BLOCK_QUERIES, _BLOCK_VALUES // len(gallery)))
    for start in range(0, len(query), block):
        for offset, (lower, shift, slack) in enumerate(bounds.of(query[start : start + block])):
            row = start + offset
            left_out = np.empty(0, dtype=np.int64) if excluded is None else excluded(row)
            lower[left_out] = np.inf
            remaining = len(gallery) - len(np.unique(left_out))
            found, exact = nearest(
                partial(squared_distances, query[row], gallery),
                lower,
                min(top_k, remaining),
                shift=shift,
                slack=slack,
            )
            rows[row, : len(found)] = found
            distances[row, : len(found)] = np.sqrt(exact)
    return Ranking(rows, distances)


class _LowerBounds:
    """Lower bounds of squared distances from a float32 matrix product; see `lower_bounds`.

    The centre is the mean of the gallery.
    """

    def __init__(self, gallery: NDArray[np.float32], norms: NDArray[np.float32]) -> None:
        """Prepare the terms that no query changes.

        Args:
            gallery: float32 [G, D], C-contiguous, not copied.
            norms: float32 [G], L2 norms of its rows.
        """
        self._gallery = gallery
        self._norms = norms
        self._mean = gallery.mean(axis=0, dtype=np.float64)  # [D]
        self._spread = spread_about(gallery, self._mean)  # [G]

    def of(self, query: NDArray[np.float32]) -> list[tuple[NDArray[np.float32], float, float]]:
        """Bounds for a block of queries.

        Args:
            query: float32 [b, D].

        Returns:
            For each query: `lower`, float32 [G]; `shift`; `slack`. The float64 squared distance
            of row g is at least `lower[g] + shift - slack`.
        """
        return lower_bounds(
            query,
            lambda centred: centred @ self._gallery.T,
            centre=self._mean,
            spread=self._spread,
            norms=self._norms,
        )
