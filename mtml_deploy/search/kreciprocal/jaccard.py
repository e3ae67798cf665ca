"""How much the sparse vectors of queries overlap those of a gallery.

In: vectors of `encoding.encode`. Out: blocks of Jaccard distances; only pairs that share a column
cost time.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.kreciprocal.encoding import SparseRows, entries


class Overlap:
    """Jaccard distances of query vectors to gallery vectors, by inverted lists.

    With both vectors of sum 1 and m the sum of their smaller values, the distance is
    1 - m / (2 - m) (section 3.3, eq. 10).
    """

    _BATCH: Final = 1 << 18
    """Pairs of values compared at once (about 10 MiB: stays near the cache)."""

    def __init__(self, vectors: SparseRows, *, queries: int) -> None:
        """Invert the gallery part.

        Args:
            vectors: of Q queries, then of G gallery images.
            queries: Q.
        """
        self._vectors = vectors
        self._gallery = len(vectors.starts) - 1 - queries
        begin = vectors.starts[queries]
        columns = vectors.columns[begin:]
        rows = np.repeat(np.arange(self._gallery), np.diff(vectors.starts[queries:]))
        order = np.argsort(columns.astype(np.int64) * self._gallery + rows)
        self._rows = rows[order]
        self._values = vectors.values[begin:][order]
        self._starts = np.searchsorted(columns[order], np.arange(len(vectors.starts)))

    def jaccard(self, begin: int, end: int) -> NDArray[np.float64]:
        """Distances of the queries from `begin` to before `end`.

        The sum of each pair is taken in the order of the columns, so its bits do not depend on
        which queries are asked for together.

        Args:
            begin: first query.
            end: query behind the last.

        Returns:
            float64 [end - begin, G], 0..1.
        """
        starts = self._vectors.starts[begin : end + 1]
        columns = self._vectors.columns[starts[0] : starts[-1]]
        values = self._vectors.values[starts[0] : starts[-1]]
        queries = np.repeat(np.arange(end - begin), np.diff(starts))
        lengths = self._starts[columns + 1] - self._starts[columns]
        work = np.cumsum(np.bincount(queries, weights=lengths, minlength=end - begin))
        shared = np.empty((end - begin, self._gallery))
        first = 0
        while first < end - begin:
            done = work[first - 1] if first else 0.0
            last = max(first + 1, int(np.searchsorted(work, done + self._BATCH, side="right")))
            part = slice(starts[first] - starts[0], starts[last] - starts[0])
            positions, owners = entries(self._starts, columns[part])
            cells = (queries[part][owners] - first) * self._gallery + self._rows[positions]
            smaller = np.minimum(values[part][owners], self._values[positions])
            sums = np.bincount(cells, weights=smaller, minlength=(last - first) * self._gallery)
            shared[first:last] = sums.reshape(last - first, self._gallery)
            first = last
        shared /= 2 - shared
        return np.subtract(1, shared, out=shared)
