"""Re-ranking by k-reciprocal encoding: the full result of the dense method without its memory.

In: features of queries and gallery. Out: `Reranked`, which gives rank lists and ranks of matches in
the order of the re-ranked distances.

Source: Zhong et al., Re-ranking Person Re-identification with k-reciprocal Encoding, CVPR 2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.defaults import RERANK_K1, RERANK_K2, RERANK_LAMBDA
from mtml_deploy.search.distances import require_features
from mtml_deploy.search.kreciprocal.encoding import encode
from mtml_deploy.search.kreciprocal.neighbours import (
    Progress,
    estimate_neighbours_bytes,
    find_neighbours,
)
from mtml_deploy.search.prepared import PreparedGallery, prepare
from mtml_deploy.search.reranked_order import BLOCK_VALUES, Reranked


@dataclass(frozen=True)
class RerankOptions:
    """Parameters of the method; the defaults are the paper's.

    Attributes:
        k1: neighbours that must be mutual, at least 1.
        k2: nearest images, the image itself included, whose vectors are averaged; 1 to k1 + 1.
        weight: share of the original distance, lambda of eq. 12; 0..1.
    """

    k1: int = RERANK_K1
    k2: int = RERANK_K2
    weight: float = RERANK_LAMBDA

    def __post_init__(self) -> None:
        """Refuse values without meaning.

        Raises:
            ValueError: a parameter out of its range.
        """
        if self.k1 < 1 or not 1 <= self.k2 <= self.k1 + 1:
            raise ValueError(f"k1 must be at least 1 and k2 1..k1 + 1, found {self.k1}, {self.k2}")
        if not 0 <= self.weight <= 1:
            raise ValueError(f"lambda must be 0..1, found {self.weight}")


def estimate_bytes(queries: int, gallery: int, dim: int, *, options: RerankOptions) -> int:
    """Memory that `rerank` and its result take beyond the two inputs, at most, in ordinary data.

    Args:
        queries: Q.
        gallery: G.
        dim: D.
        options: parameters.

    Returns:
        Bytes. Grows with (Q + G) (D + k1), never with its square.
    """
    size = queries + gallery
    together = 4 * size * dim
    count = min(options.k1 + 1, size)
    search = estimate_neighbours_bytes(size, dim, count=count)
    # measured: a vector has up to about k1 / 2 * k2 values, each held a few times while averaged
    vectors = 60 * size * (options.k1 + 1) * options.k2 // 2
    blocks = 8 * 8 * min(max(BLOCK_VALUES, gallery), queries * gallery)
    return together + max(search, 12 * size * count + vectors + blocks)


def rerank(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32] | PreparedGallery,
    *,
    options: RerankOptions | None = None,
    progress: Progress | None = None,
) -> Reranked:
    """k-reciprocal re-ranking of `gallery` for every query.

    The distance of query q to gallery image g is lambda d(q, g) + (1 - lambda) J(q, g): d is the
    squared L2 distance divided by the squared distance from q to the image farthest from it, among
    all queries and gallery images; J is the Jaccard distance of their vectors, see
    `kreciprocal.encoding.encode`. All images, whichever a protocol later leaves out of the lists,
    take part as neighbours, as in the authors' program.

    Every distance is made of float64 sums, products and quotients in a fixed order, `exp` as well
    (see `mtml_deploy.search.portable`), so it has the same bits on every machine, and so have the
    lists; equal distances are ordered by gallery row.

    Args:
        query: float32 [Q, D].
        gallery: float32 [G, D], or prepared.
        options: parameters; None takes the paper's.
        progress: called with (blocks of the all-pairs product done, in total).

    Returns:
        The re-ranked order.

    Raises:
        ValueError: an empty set, other dtypes or shapes, or values that are not finite.

    Example:
        Images at 0, 1, 2 and 10 on a line; k1 = 1 pairs each with its nearest, if that is mutual.

        >>> line = np.array([[0.0], [1.0], [2.0], [10.0]], dtype=np.float32)
        >>> found = rerank(line[:1], line[1:], options=RerankOptions(k1=1, k2=1, weight=0.5))
        >>> ranking = found.rank(top_k=3)
        >>> ranking.rows.tolist(), [f"{distance:.4f}" for distance in ranking.distances[0]]
        ([[0, 1, 2]], ['0.0106', '0.5200', '1.0000'])
    """
    options = options or RerankOptions()
    features = gallery.features if isinstance(gallery, PreparedGallery) else gallery
    if query.ndim != 2 or features.ndim != 2 or query.shape[1] != features.shape[1]:
        raise ValueError(f"query is {list(query.shape)}, gallery {list(features.shape)}")
    if 0 in (len(query), len(features)):
        raise ValueError(f"{len(query)} queries, {len(features)} gallery images: both are needed")
    query_norms = require_features("query", query)
    prepared = prepare(gallery)
    together = np.concatenate([query, prepared.features])
    neighbours = find_neighbours(
        together,
        count=options.k1 + 1,
        norms=np.concatenate([query_norms, prepared.squared_norms]),
        progress=progress,
    )
    vectors = encode(together, neighbours, k1=options.k1, k2=options.k2)
    return Reranked(
        query, prepared, vectors, neighbours.farthest[: len(query)], weight=options.weight
    )
