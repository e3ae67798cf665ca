"""Re-ranking against a persistent gallery: the shortlist of each query, by itself.

In: shortlists of a search. Out: their first places in the order of k-reciprocal re-ranking.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.values import Hits, RerankedHits
from mtml_deploy.search.rerank import RerankOptions, rerank


def rerank_shortlists(
    query: NDArray[np.float32],
    shortlists: Hits,
    vectors_of: Callable[[Sequence[int]], NDArray[np.float32]],
    *,
    top_k: int,
    options: RerankOptions | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> RerankedHits:
    """Re-rank the shortlist of every query by itself.

    `rerank` runs for one query and its M rows as if they were all there is: neighbours are looked
    for among them, and distances are divided by the farthest of them. The time, M^2 D products and
    M reads, does not depend on the gallery; the result of a query does not depend on the others.
    The full method also lets rows beyond the shortlist and all queries take part, so places differ:
    the farther down a shortlist ends, the less.

    Args:
        query: float32 [Q, D].
        shortlists: [Q, M], what a search found for them.
        vectors_of: row numbers -> float32 [n, D], such as `Gallery.vectors`.
        top_k: ranks wanted, at least 1; K = min(top_k, M).
        options: parameters; None takes the paper's.
        progress: called with (queries done, queries).

    Returns:
        The first places, [Q, K].

    Raises:
        ValueError: `top_k` below 1, or sizes that do not fit together.
    """
    if top_k < 1 or len(query) != len(shortlists.rows):
        raise ValueError(f"top_k {top_k}, {len(query)} queries, {len(shortlists.rows)} shortlists")
    shape = len(query), min(top_k, shortlists.rows.shape[1])
    rows = np.empty(shape, dtype=np.int64)
    distances = np.empty(shape, dtype=np.float32)
    reranked = np.empty(shape, dtype=np.float32)
    places = np.empty(shape, dtype=np.int64)
    for number in range(len(query) if shape[1] else 0):
        # by row number, which is how equal distances are ordered
        order = np.argsort(shortlists.rows[number])
        candidates = shortlists.rows[number][order]
        vectors = vectors_of(candidates.tolist())
        found = rerank(query[number : number + 1], vectors, options=options).rank(top_k=top_k)
        chosen = found.rows[0]
        rows[number] = candidates[chosen]
        reranked[number] = found.distances[0]
        places[number] = order[chosen] + 1
        distances[number] = shortlists.distances[number][order[chosen]]
        if progress is not None:
            progress(number + 1, len(query))
    return RerankedHits(Hits(rows, distances), reranked, places)
