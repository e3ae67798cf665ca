"""The engine that needs nothing but NumPy: one matrix product per block of queries.

In: blocks of queries. Out: for each query every row that may be among the nearest, so no second
look is needed; see `possible_rows`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.candidates.engine import Proposal
from mtml_deploy.search.distances import chunk_bytes, worker_threads
from mtml_deploy.search.error_bounds import possible_rows, query_terms
from mtml_deploy.search.memory import block_rows
from mtml_deploy.search.prepared import PreparedGallery

_BLOCK_VALUES: Final = 1 << 24
"""float32 products held at once without a budget (64 MiB)."""

_BLOCK_QUERIES: Final = 512
"""Queries per matrix product: BLAS gains nothing from more."""


class BlasEngine:
    """See `mtml_deploy.search.candidates.engine.Engine`."""

    def __init__(self, gallery: PreparedGallery, *, memory_bytes: int | None) -> None:
        """Choose the block.

        Args:
            gallery: G at least 1, not copied.
            memory_bytes: see `open_engine`.

        Raises:
            MemoryBudgetError: too little memory.
        """
        size, dim = gallery.features.shape
        self.block = block_rows(
            memory_bytes,
            fixed_bytes=fixed_bytes(size, dim),
            # a product with every row; the query, centred in float64 and in float32
            row_bytes=4 * size + 32 * dim + 256,
            most=max(1, min(_BLOCK_QUERIES, _BLOCK_VALUES // size)),
            purpose="ranking",
        )
        self._gallery = gallery
        self._products = np.empty((0, size), dtype=np.float32)

    def propose(
        self, query: NDArray[np.float32], left_out: Sequence[NDArray[np.int64]], count: int
    ) -> Callable[[int], Proposal]:
        """Candidates for float32 [b, D]; see `Engine.propose`."""
        size = len(self._gallery.features)
        if len(self._products) < len(query):  # kept: new memory costs as much as a look at it
            self._products = np.empty((len(query), size), dtype=np.float32)
        rows = self._gallery.terms
        terms = query_terms(query, rows.centre)
        products = self._products[: len(query)]
        np.matmul(terms.doubled, self._gallery.features.T, out=products)

        def of(row: int) -> Proposal:
            absent = left_out[row]
            places = min(count, size - len(np.unique(absent)) if len(absent) else size)
            if places == 0:
                return Proposal(np.empty(0, dtype=np.int64), np.inf)
            possible = possible_rows(
                products[row], rows, terms.errors[row], places, left_out=absent
            )
            return Proposal(possible, np.inf)

        return of


def fixed_bytes(size: int, dim: int) -> int:
    """Memory that ranking takes beside its blocks, for a gallery of `size` rows."""
    # squared norms, norms and spread; each thread has a few rows of bounds, and its candidates:
    # all rows, where masses of them tie
    return 24 * size + 16 * dim + worker_threads() * (80 * size + chunk_bytes(dim) + 32 * dim)
