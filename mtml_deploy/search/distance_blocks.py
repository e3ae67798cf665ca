"""Distances of every query to a whole gallery, block by block, for ranks of matches.

In: the features of queries and gallery. Out: for each query its float64 distances, how far they may
be off, and a function that gives the exact ones of chosen rows, which alone decide an order. A
block of distances exists only while its queries are looked at. `Order` is what an evaluation asks
of any order of a gallery: `PlainOrder` is that of the L2 distances, `Reranked` another.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import (
    chunk_bytes,
    require_features,
    squared_distances,
    worker_threads,
)
from mtml_deploy.search.memory import block_rows
from mtml_deploy.search.prepared import PreparedGallery, prepare

RowsOf = Callable[[int], NDArray[np.int64]]
"""Query row -> int64 [n] distinct gallery rows: those that match it, or those to leave out."""

_BLOCK_VALUES: Final = 1 << 23
"""float64 distances held at once (64 MiB)."""

_BLOCK_QUERIES: Final = 1024
"""Queries per matrix product; the gallery is converted to float64 once for each block."""

_TILE_VALUES: Final = 1 << 22
"""float64 gallery values held at once (32 MiB)."""

_HALF_EPS_64: Final = 2.0**-53
"""Largest relative error of one float64 rounding."""


class QueryDistances(NamedTuple):
    """One query and its distances to every gallery row.

    Attributes:
        row: the query row.
        distances: float64 [G], may be overwritten; valid until the next block is asked for.
        margin: largest error of `distances` against the exact ones.
        exact: the distances that decide the order, float64 [n] for int64 [n] gallery rows.
    """

    row: int
    distances: NDArray[np.float64]
    margin: float
    exact: Callable[[NDArray[np.int64]], NDArray[np.float64]]


class Order(Protocol):
    """An order of one gallery for each of Q queries."""

    def blocks(self) -> Iterator[list[QueryDistances]]:
        """The queries from 0 to Q - 1, as many at a time as memory allows."""
        ...

    def distances(self, query_row: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The distances that decide the order, float64 [n], for chosen gallery rows of a query."""
        ...


class PlainOrder:
    """The order of the L2 distances, by their squares."""

    def __init__(
        self,
        query: NDArray[np.float32],
        gallery: NDArray[np.float32] | PreparedGallery,
        *,
        memory_bytes: int | None = None,
    ) -> None:
        """Look at the features and choose the size of a block.

        Args:
            query: float32 [Q, D].
            gallery: float32 [G, D], or prepared.
            memory_bytes: what a block, and ranking its queries in threads, may take beside the
                inputs and what BLAS keeps for itself; None takes about 150 MiB.

        Raises:
            ValueError: other dtypes or shapes, or values that are not finite.
            MemoryBudgetError: too little memory.
        """
        self._query_norms = require_features("query", query)
        self._gallery = prepare(gallery)
        size, dim = self._gallery.features.shape
        if query.shape[1] != dim:
            raise ValueError(f"query has {query.shape[1]} dimensions, gallery {dim}")
        self._query = query
        self._block = _block_queries(size, dim, memory_bytes=memory_bytes)

    def blocks(self) -> Iterator[list[QueryDistances]]:
        """Query by query the squared distances; see `Order.blocks`."""
        space = np.empty((min(self._block, len(self._query)), len(self._gallery.features)))
        for start in range(0, len(self._query), self._block):
            part = slice(start, start + self._block)
            near, margins = product_distances(
                self._query[part], self._gallery, self._query_norms[part], out=space
            )
            yield [
                QueryDistances(row, distances, margin, partial(self.distances, row))
                for row, distances, margin in zip(
                    range(start, start + len(near)), near, margins.tolist(), strict=True
                )
            ]

    def distances(self, query_row: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """Squared L2 distances, float64 [n], of chosen gallery rows; see `squared_distances`."""
        return squared_distances(self._query[query_row], self._gallery.features, rows)


def _block_queries(size: int, dim: int, *, memory_bytes: int | None) -> int:
    """Queries of one product with `size` gallery rows."""
    tile = min(size, max(1, _TILE_VALUES // dim))
    return block_rows(
        memory_bytes,
        # norms and spread; a tile; in each thread what is sorted and, among masses of ties,
        # compared exactly
        fixed_bytes=24 * size + 8 * tile * dim + worker_threads() * (96 * size + chunk_bytes(dim)),
        # a distance to every row, a tile of products, the query in float64
        row_bytes=8 * size + 8 * tile + 16 * dim + 1024,
        most=max(1, min(_BLOCK_QUERIES, _BLOCK_VALUES // max(1, size))),
        purpose="evaluation",
    )


def product_distances(
    query: NDArray[np.float32],
    gallery: PreparedGallery,
    query_norms: NDArray[np.float64],
    *,
    out: NDArray[np.float64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Squared L2 distances from a float64 product, tile by tile of the gallery.

    Args:
        query: float32 [b, D].
        gallery: G rows.
        query_norms: float64 [b], squared.
        out: float64 [b or more, G], where the distances are written.

    Returns:
        float64 [b, G], the beginning of `out`, and float64 [b], the largest error of each row
        against `squared_distances`.
    """
    distances = out[: len(query)]
    points = query.astype(np.float64) * -2  # [b, D]
    features, norms = gallery.features, gallery.squared_norms
    tile = max(1, _TILE_VALUES // features.shape[1])
    for start in range(0, len(features), tile):
        part = features[start : start + tile].astype(np.float64)  # [tile, D]
        product = points @ part.T  # [b, tile]
        product += norms[start : start + tile]
        product += query_norms[:, None]
        distances[:, start : start + tile] = product
    # |g - q|^2 from norms and a float64 product, in any order of summation, and the sum of
    # squares it stands for are each off by at most a few D roundings of these norms
    largest = norms.max(initial=0.0)
    margins = 8 * (query.shape[1] + 8) * _HALF_EPS_64 * (query_norms + largest)
    return distances, margins
