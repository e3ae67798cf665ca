"""Engines that search the gallery tile by tile and keep the nearest rows of all tiles.

In: a library that searches one tile. Out: the nearest rows of the whole gallery in its float32
arithmetic, and the distance below which no other row can be.

Features are centred first, in float32: a common part of all features would drown the distances in
rounding. |g' - q'|^2 of centred features g', q', whether computed as |g'|^2 + |q'|^2 - 2 q'.g' or
as a sum of squares, is off by at most (D + 8) u (|g'| + |q'|)^2 with u the unit roundoff, in any
order of summation (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1).
Rounding after centring moves a distance by at most u (|g'| + |q'|), and its square by at most twice
that times |g'| + |q'|.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.candidates.blas import fixed_bytes
from mtml_deploy.search.candidates.engine import Proposal
from mtml_deploy.search.distances import squared_norms
from mtml_deploy.search.error_bounds import EXTRA
from mtml_deploy.search.memory import block_rows
from mtml_deploy.search.prepared import PreparedGallery

_BLOCK_QUERIES: Final = 1024
"""Queries searched for at once: each block reads the whole gallery."""

_TILE_VALUES: Final = 1 << 24
"""Gallery values of one tile at most (64 MiB)."""

_LIBRARY_BYTES: Final = 1 << 25
"""Working memory of the library itself, whatever is asked."""

_MOST_LEFT_OUT: Final = 256
"""Candidates asked for in place of rows left out; where these are more, most are not near."""

_HALF_EPS_32: Final = 2.0**-24
"""Largest relative error of one float32 rounding."""


class Tile(Protocol):
    """Rows that a library is ready to search."""

    def nearest(
        self, query: NDArray[np.float32], count: int
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """The nearest rows of the tile.

        Args:
            query: float32 [b, D], C-contiguous.
            count: 1 to the rows of the tile.

        Returns:
            Squared distances [b, count], off as the module says, and rows of the tile
            [b, count], in any order; -1 where the library found none.
        """
        ...


class TileLibrary(Protocol):
    """A library that searches tiles."""

    @property
    def pair_bytes(self) -> int:
        """Host memory taken for each pair of a query and a row of a tile."""
        ...

    @property
    def keeps(self) -> bool:
        """Whether loaded tiles stay outside the host's memory and are worth keeping."""
        ...

    def load(self, tile: NDArray[np.float32]) -> Tile:
        """A tile of float32 [n, D] rows, C-contiguous; used until the next one is loaded."""
        ...


class TiledEngine:
    """See `mtml_deploy.search.candidates.engine.Engine`."""

    def __init__(
        self,
        library: TileLibrary,
        gallery: PreparedGallery,
        *,
        count: int,
        memory_bytes: int | None,
    ) -> None:
        """Choose block and tile, and load the tiles where the library keeps them.

        Args:
            library: searches one tile.
            gallery: G at least 1, not copied as a whole.
            count: places wanted at most.
            memory_bytes: see `open_engine`.

        Raises:
            MemoryBudgetError: too little memory.
        """
        size, dim = gallery.features.shape
        most = min(size, count + EXTRA + _MOST_LEFT_OUT)
        fixed = fixed_bytes(size, dim) + _LIBRARY_BYTES
        query_bytes, row_bytes = 24 * dim + 128 * most, 4 * dim + 16
        self.block = block_rows(
            memory_bytes,
            fixed_bytes=fixed,
            # as many rows in a tile as queries in a block, at least
            row_bytes=query_bytes + row_bytes + library.pair_bytes * _BLOCK_QUERIES,
            most=_BLOCK_QUERIES,
            purpose="ranking",
        )
        self._tile_rows = max(1, _TILE_VALUES // dim)
        if memory_bytes is not None:
            left = memory_bytes - fixed
            # most of it for tiles: lists of tiles are merged, and the less often the better
            self.block = max(1, min(self.block, left // 4 // query_bytes))
            left -= self.block * query_bytes
            self._tile_rows = min(
                self._tile_rows, left // (row_bytes + library.pair_bytes * self.block)
            )
        self._library = library
        self._gallery = gallery.features
        self._centre = gallery.terms.centre.astype(np.float32)
        # the spread is a lower bound about the centre before its rounding; 64: of its roundings
        spread = float(gallery.terms.spread.max()) * (1 + 64 * _HALF_EPS_32) + 2.0**-120
        self._longest = np.sqrt(spread) + np.linalg.norm(gallery.terms.centre - self._centre)
        self._kept = list(self._load()) if library.keeps else None

    def propose(
        self, query: NDArray[np.float32], left_out: Sequence[NDArray[np.int64]], count: int
    ) -> Callable[[int], Proposal]:
        """Candidates for float32 [b, D]; see `Engine.propose`."""
        instead = min(_MOST_LEFT_OUT, max(len(rows) for rows in left_out))
        wanted = min(len(self._gallery), count + EXTRA + instead)
        centred = query - self._centre
        near = np.empty((len(query), 0))
        rows = np.empty((len(query), 0), dtype=np.int64)
        for start, tile in self._kept or self._load():
            length = min(self._tile_rows, len(self._gallery) - start)
            found, found_rows = tile.nearest(centred, min(wanted, length))
            found_rows[found_rows >= 0] += start
            near = np.concatenate([near, found], axis=1)
            rows = np.concatenate([rows, found_rows], axis=1)
            if near.shape[1] > wanted:
                best = np.argpartition(near, wanted - 1, axis=1)[:, :wanted]
                near = np.take_along_axis(near, best, axis=1)
                rows = np.take_along_axis(rows, best, axis=1)
        floors = self._floors(centred, near.max(axis=1))
        if wanted == len(self._gallery):
            floors[:] = np.inf
        floors[(rows < 0).any(axis=1)] = 0

        def of(row: int) -> Proposal:
            listed = rows[row][rows[row] >= 0]
            if len(left_out[row]):
                listed = np.setdiff1d(listed, left_out[row])
            return Proposal(listed, float(floors[row]))

        return of

    def _floors(
        self, centred: NDArray[np.float32], last: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Squared distances [b] that no row beyond the `last` one [b] undercuts."""
        dim = centred.shape[1]
        both = np.sqrt(squared_norms(centred)) + self._longest
        # 1.25: 1 / (1 - D u) for D up to three million; products may underflow
        error = 1.25 * (dim + 16) * _HALF_EPS_32 * np.square(both) + dim * 2.0**-120
        floors: NDArray[np.float64] = last - error
        return floors

    def _load(self) -> Iterator[tuple[int, Tile]]:
        """First row and loaded tile, one after the other."""
        size, dim = self._gallery.shape
        centred = np.empty((min(self._tile_rows, size), dim), dtype=np.float32)
        for start in range(0, size, self._tile_rows):
            part = self._gallery[start : start + self._tile_rows]
            np.subtract(part, self._centre, out=centred[: len(part)])
            yield start, self._library.load(centred[: len(part)])
