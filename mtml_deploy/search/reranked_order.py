"""The order of a gallery after re-ranking, block by block.

In: the parts of the re-ranked distances. Out: rank lists, ties by gallery row, and the distances
block by block, as an evaluation asks for them. A float64 product gives the
original distances; where its rounding could change an order, `squared_distances` decides.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from itertools import chain
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distance_blocks import QueryDistances, RowsOf, product_distances
from mtml_deploy.search.distances import squared_distances, squared_norms
from mtml_deploy.search.kreciprocal.encoding import SparseRows
from mtml_deploy.search.kreciprocal.jaccard import Overlap
from mtml_deploy.search.prepared import PreparedGallery
from mtml_deploy.search.rank import Ranking

BLOCK_VALUES: Final = 1 << 22
"""float64 distances held at once (32 MiB), a few times over."""

_HALF_EPS_64: Final = 2.0**-53
"""Largest relative error of one float64 rounding."""


class Reranked:
    """The order of a gallery after re-ranking, computed block by block when asked for.

    It is an `Order`; see `mtml_deploy.search.distance_blocks`.
    """

    def __init__(
        self,
        query: NDArray[np.float32],
        gallery: PreparedGallery,
        vectors: SparseRows,
        farthest: NDArray[np.float64],
        *,
        weight: float,
    ) -> None:
        """Keep the parts of the distances.

        Args:
            query: float32 [Q, D], finite.
            gallery: of G rows.
            vectors: of all queries, then of all gallery images.
            farthest: float64 [Q], squared distance to the farthest image.
            weight: share of the original distance.
        """
        self._query = query
        self._gallery = gallery
        self._overlap = Overlap(vectors, queries=len(query))
        # 0 only where all images are equal: every distance is 0 then
        self._share = weight / np.where(farthest > 0, farthest, 1.0)
        self._weight = weight

    def distances(self, query_row: int, rows: NDArray[np.int64]) -> NDArray[np.float64]:
        """The re-ranked distances that decide the order, for chosen gallery rows of one query.

        Args:
            query_row: the query.
            rows: int64 [n], gallery rows.

        Returns:
            float64 [n], 0..1.
        """
        rest = self._overlap.jaccard(query_row, query_row + 1)[0] * (1 - self._weight)
        return self._mix(query_row, rows, rest)

    def rank(self, *, top_k: int, excluded: RowsOf | None = None) -> Ranking:
        """The first `top_k` gallery rows of every query.

        Args:
            top_k: ranks wanted, at least 1; K = min(top_k, G).
            excluded: gallery rows to leave out for a query row; None leaves out nothing.

        Returns:
            The ranking, [Q, K]; its distances are the re-ranked ones, 0..1.

        Raises:
            ValueError: `top_k` below 1.
        """
        if top_k < 1:
            raise ValueError(f"top_k must be at least 1, found {top_k}")
        shape = (len(self._query), min(top_k, len(self._gallery.features)))
        rows = np.full(shape, -1, dtype=np.int32)
        ranked = np.full(shape, np.inf, dtype=np.float32)
        for row, distances, margin, exact in chain.from_iterable(self.blocks()):
            if excluded is not None:
                distances[excluded(row)] = np.inf
            count = min(shape[1], int(np.count_nonzero(np.isfinite(distances))))
            if count == 0:
                continue
            last = np.partition(distances, count - 1)[count - 1]
            close = np.flatnonzero(distances <= last + 2 * margin)
            values = exact(close)
            order = np.lexsort((close, values))[:count]
            rows[row, :count] = close[order]
            ranked[row, :count] = values[order]
        return Ranking(rows, ranked)

    def blocks(self) -> Iterator[list[QueryDistances]]:
        """Query by query the re-ranked distances; see `Order.blocks`."""
        query_norms = squared_norms(self._query)
        size = len(self._gallery.features)
        block = max(1, BLOCK_VALUES // size)
        space = np.empty((min(block, len(self._query)), size))
        for start in range(0, len(self._query), block):
            part = slice(start, start + block)
            near, margins = product_distances(
                self._query[part], self._gallery, query_norms[part], out=space
            )
            overlap = self._overlap.jaccard(start, start + len(near))
            overlap *= 1 - self._weight
            near *= self._share[part, None]
            near += overlap
            # the mix, at most about 1, is rounded a few times more
            margins = margins * self._share[part] * 1.01 + 16 * _HALF_EPS_64
            yield [
                QueryDistances(row, distances, margin, partial(self._mix, row, rest=rest))
                for row, distances, margin, rest in zip(
                    range(start, start + len(near)), near, margins.tolist(), overlap, strict=True
                )
            ]

    def _mix(
        self, row: int, rows: NDArray[np.int64], rest: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """float64 [n] exact distances, from the query's float64 [G] share of the Jaccard ones."""
        near = squared_distances(self._query[row], self._gallery.features, rows)
        return near * float(self._share[row]) + rest[rows]
