"""The engine that needs nothing but NumPy: one matrix product per block of queries.

In: blocks of queries. Out: for each query every row that the bounds of `lower_bounds` cannot prove
farther than the last place: usually the places wanted and a few more, so no second look is needed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.candidates.engine import Proposal
from mtml_deploy.search.distances import worker_threads
from mtml_deploy.search.error_bounds import query_terms, spread_about
from mtml_deploy.search.memory import block_rows
from mtml_deploy.search.rescore import decision_bytes

_BLOCK_VALUES: Final = 1 << 24
"""float32 products held at once without a budget (64 MiB)."""

_BLOCK_QUERIES: Final = 512
"""Queries per matrix product: BLAS gains nothing from more."""

_CENTRE_ROWS: Final = 2048
"""Rows whose mean is the centre: any point bounds correctly, so not all need to be read."""

_HALF_EPS_32: Final = 2.0**-24
"""Largest relative error of one float32 rounding."""


class BlasEngine:
    """See `mtml_deploy.search.candidates.engine.Engine`."""

    def __init__(
        self,
        gallery: NDArray[np.float32],
        norms: NDArray[np.float64],
        *,
        memory_bytes: int | None,
    ) -> None:
        """Prepare the terms that no query changes.

        Args:
            gallery: float32 [G, D], C-contiguous, G at least 1, not copied.
            norms: float64 [G], squared norms of its rows.
            memory_bytes: see `open_engine`.

        Raises:
            MemoryBudgetError: too little memory.
        """
        size, dim = gallery.shape
        self.block = block_rows(
            memory_bytes,
            fixed_bytes=fixed_bytes(size, dim),
            # a product with every row; the query, centred in float64 and in float32
            row_bytes=4 * size + 32 * dim + 256,
            most=max(1, min(_BLOCK_QUERIES, _BLOCK_VALUES // size)),
            purpose="ranking",
        )
        self._gallery = gallery
        self._norms = np.sqrt(norms).astype(np.float32)
        self._centre = gallery[:: -(-size // _CENTRE_ROWS)].mean(axis=0, dtype=np.float64)
        self._spread = spread_about(gallery, self._centre)
        self._products = np.empty((0, size), dtype=np.float32)

    def propose(
        self, query: NDArray[np.float32], left_out: Sequence[NDArray[np.int64]], count: int
    ) -> Callable[[int], Proposal]:
        """Candidates for float32 [b, D]; see `Engine.propose`."""
        if len(self._products) < len(query):  # kept: new memory costs as much as a look at it
            self._products = np.empty((len(query), len(self._gallery)), dtype=np.float32)
        terms = query_terms(query, self._centre)
        products = self._products[: len(query)]
        np.matmul(terms.doubled, self._gallery.T, out=products)
        # the error of products that underflow is the same for every row
        tiny = np.float32(8 * query.shape[1] * 2.0**-120)

        def of(row: int) -> Proposal:
            error = terms.errors[row]
            low = products[row]
            low += self._spread
            low -= error * self._norms
            # an upper bound is higher by twice the error of the product, and by the roundings of
            # the spread; 2.1 and 64 leave room for those of these lines
            high = self._norms * (np.float32(2.1) * error)
            high += self._spread * np.float32(64 * _HALF_EPS_32)
            high += low
            places = len(high)
            if len(left_out[row]):
                low[left_out[row]] = high[left_out[row]] = np.inf
                places -= len(np.unique(left_out[row]))
            if places == 0:
                return Proposal(np.empty(0, dtype=np.int64), np.inf)
            places = min(places, count)
            high.partition(places - 1)
            reach = np.nextafter(high[places - 1] + tiny, np.float32(np.inf))
            return Proposal(np.flatnonzero(low <= reach), np.inf)

        return of


def fixed_bytes(size: int, dim: int) -> int:
    """Memory that ranking takes beside its blocks, for a gallery of `size` rows."""
    # squared norms, norms and spread; each thread has a few rows of bounds and its candidates
    return 24 * size + 16 * dim + worker_threads() * (16 * size + decision_bytes(size, dim))
