"""Tiles searched by FAISS on the CPU; `faiss` is imported when an engine is opened.

FAISS computes |g|^2 + |q|^2 - 2 q.g with BLAS for many queries, and a sum of squares for few, both
in float32.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import MissingExtraError

if TYPE_CHECKING:
    Knn = Callable[
        [NDArray[np.float32], NDArray[np.float32], int],
        tuple[NDArray[np.float32], NDArray[np.int64]],
    ]


class FaissTile:
    """See `mtml_deploy.search.candidates.tiles.Tile`."""

    def __init__(self, knn: Knn, rows: NDArray[np.float32]) -> None:
        """Rows float32 [n, D] and the function that searches them."""
        self._knn = knn
        self._rows = rows

    def nearest(
        self, query: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Distances and rows [b, count]; see `Tile.nearest`."""
        near, rows = self._knn(query, self._rows, count)
        return near.astype(np.float64), rows


class FaissTiles:
    """See `mtml_deploy.search.candidates.tiles.TileLibrary`."""

    pair_bytes = 0
    """Its products are of a few thousand queries and rows, whatever is asked."""

    keeps = False

    def __init__(self) -> None:
        """Find the library.

        Raises:
            MissingExtraError: it is not installed.
        """
        try:
            from faiss import knn
        except ImportError as error:
            raise MissingExtraError("the faiss engine needs faiss", "faiss") from error
        self._knn: Knn = knn

    def load(self, tile: NDArray[np.float32]) -> FaissTile:
        """A tile of float32 [n, D] rows."""
        return FaissTile(self._knn, tile)
