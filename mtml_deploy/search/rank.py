"""Exact nearest gallery rows of every query, by L2 distance.

In: two sets of float32 features. Out: a `Ranking`, the same on every machine and for any number of
queries asked at once: order of the float64 distances, ties by lower gallery row.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.defaults import EngineName
from mtml_deploy.search.candidates.engine import Engine, Proposal
from mtml_deploy.search.candidates.open import open_engine
from mtml_deploy.search.distance_blocks import RowsOf
from mtml_deploy.search.distances import in_threads, require_features
from mtml_deploy.search.prepared import PreparedGallery, prepare
from mtml_deploy.search.proven_order import placed

logger = logging.getLogger(__name__)

_SPAN: Final = 8
"""Queries that a thread takes at once."""


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
    gallery: NDArray[np.float32] | PreparedGallery,
    *,
    top_k: int,
    excluded: RowsOf | None = None,
    engine: EngineName = "numpy",
    device: str = "cpu",
    memory_bytes: int | None = None,
) -> Ranking:
    """Exact `top_k` nearest gallery rows of every query.

    An engine proposes candidates in float32; the float64 sums of (g - q)^2 alone decide between
    them. A row is left aside only if a rigorous bound on the engine's rounding error proves it
    farther than the last rank; a query for which the bound of another engine does not prove that
    is done again by the NumPy engine, which needs no such luck. So neither engine, block sizes nor
    the BLAS library can change the result.

    Args:
        query: float32 [Q, D].
        gallery: float32 [G, D], or prepared: asked several times, its norms are computed once.
        top_k: ranks wanted, at least 1; K = min(top_k, G).
        excluded: gallery rows to leave out for a query row; None leaves out nothing.
        engine: what proposes candidates; see `mtml_deploy.search.candidates.engine`.
        device: where engine "ort" does, "cpu" or "cuda:N".
        memory_bytes: what may be taken beside the inputs and the result, a copy of a gallery that
            is not C-contiguous and what BLAS keeps for itself apart; None allows 512 queries at
            once (32 bytes per value) and 64 MiB of their products.

    Returns:
        The ranking, [Q, K].

    Raises:
        ValueError: `top_k` below 1, other dtypes or shapes, or values that are not finite.
        MissingExtraError: the engine's library is not installed.
        BackendError: the device is not usable.
        MemoryBudgetError: too little memory.

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
    gallery = prepare(gallery)
    size, dim = gallery.features.shape
    if query.shape[1] != dim:
        raise ValueError(f"query has {query.shape[1]} dimensions, gallery {dim}")
    shape = (len(query), min(top_k, size))
    ranking = Ranking(np.full(shape, -1, np.int32), np.full(shape, np.inf, np.float32))
    if 0 in shape:
        return ranking
    search = _Search(query, gallery, excluded, ranking)

    def open_one(name: EngineName, device: str) -> Engine:
        return open_engine(name, gallery, device=device, count=shape[1], memory_bytes=memory_bytes)

    unproven = search.fill(np.arange(len(query)), open_one(engine, device))
    if len(unproven):
        logger.info(
            "engine %s could not prove the last rank of %d of %d queries; NumPy ranked these",
            engine,
            len(unproven),
            len(query),
        )
        search.fill(unproven, open_one("numpy", "cpu"))
    return ranking


@dataclass(frozen=True)
class _Search:
    """What is looked for, and where the result goes."""

    query: NDArray[np.float32]
    gallery: PreparedGallery
    excluded: RowsOf | None
    ranking: Ranking

    def fill(self, queries: NDArray[np.int64], engine: Engine) -> NDArray[np.int64]:
        """Rank these queries; those whose last rank the engine could not prove are returned."""
        proven = np.zeros(len(queries), dtype=bool)
        # equal blocks: a short last one would keep the BLAS library waiting
        blocks = -(-len(queries) // engine.block)
        nothing = np.empty(0, dtype=np.int64)
        for part in np.array_split(np.arange(len(queries)), blocks):
            here = queries[part]
            left_out = [
                nothing if self.excluded is None else self.excluded(int(row)) for row in here
            ]
            proposed = engine.propose(self.query[here], left_out, self.ranking.rows.shape[1])

            def decide_span(
                start: int,
                part: NDArray[np.int64] = part,
                left_out: Sequence[NDArray[np.int64]] = left_out,
                proposed: Callable[[int], Proposal] = proposed,
            ) -> None:
                for offset in range(start, min(start + _SPAN, len(part))):
                    proven[part[offset]] = self._decide(
                        int(queries[part[offset]]), proposed(offset), left_out[offset]
                    )

            in_threads(decide_span, range(0, len(part), _SPAN))
        return queries[~proven]

    def _decide(self, row: int, proposal: Proposal, left_out: NDArray[np.int64]) -> bool:
        """Write the ranks of one query; whether they are proven."""
        length = self.ranking.rows.shape[1]
        places = length
        if len(left_out):
            places = min(length, len(self.gallery.features) - len(np.unique(left_out)))
        gallery = self.gallery
        near = placed(
            self.query[row], gallery.features, proposal.rows, gallery.squared_norms, places
        )
        found = len(near.order)
        self.ranking.rows[row, :found] = proposal.rows[near.order]
        self.ranking.distances[row, :found] = near.distances
        return found == places and (places == 0 or near.last < proposal.floor)
