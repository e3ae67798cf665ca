"""Query expansion: a query moves towards the images found nearest to it, and is asked again.

In: features of queries and of what was found for them. Out: expanded features, to be ranked like
any others.

Source: Radenović, Tolias, Chum, Fine-tuning CNN Image Retrieval with No Human Annotation, TPAMI
2018, section 3.4: weights cosine^alpha; alpha 0 is average query expansion (Chum et al. 2007).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.defaults import EXPAND_ALPHA
from mtml_deploy.search.distance_blocks import RowsOf
from mtml_deploy.search.distances import require_features
from mtml_deploy.search.portable import power
from mtml_deploy.search.prepared import PreparedGallery, prepare
from mtml_deploy.search.rank import rank

VectorsOf = Callable[[int], NDArray[np.float32]]
"""Query row -> float32 [n, D], the vectors that were found for it."""


@dataclass(frozen=True)
class ExpansionOptions:
    """Parameters of the method.

    Attributes:
        neighbours: nearest gallery images that are added to each query, at least 1.
        alpha: power of the cosine that weighs them, 0 or more; 0 weighs all alike.
    """

    neighbours: int
    alpha: float = EXPAND_ALPHA

    def __post_init__(self) -> None:
        """Refuse values without meaning.

        Raises:
            ValueError: a parameter out of its range.
        """
        if self.neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, found {self.neighbours}")
        if not 0 <= self.alpha < np.inf:
            raise ValueError(f"alpha must be 0 or more, found {self.alpha}")


def expand(
    query: NDArray[np.float32],
    gallery: NDArray[np.float32] | PreparedGallery,
    *,
    options: ExpansionOptions,
    excluded: RowsOf | None = None,
    memory_bytes: int | None = None,
) -> NDArray[np.float32]:
    """Every query, expanded by its nearest gallery rows in the order of `rank`.

    Args:
        query: float32 [Q, D].
        gallery: float32 [G, D], or prepared.
        options: parameters; a query with fewer rows left takes those.
        excluded: gallery rows to leave out for a query row, which then take no part in the
            expansion either: what a protocol removes must not help.
        memory_bytes: see `rank`.

    Returns:
        float32 [Q, D], see `expanded`.

    Raises:
        ValueError: other dtypes or shapes, or values that are not finite.
        MemoryBudgetError: too little memory.

    Example:
        The query (3, 4) and its nearest row (0, 10), cosine 0.8: with alpha 1 the direction is
        (0.6, 0.8) + 0.8 (0, 1), which is (0.6, 1.6), and the length stays 5.

        >>> query = np.array([[3.0, 4.0]], dtype=np.float32)
        >>> gallery = np.array([[0, 10], [90, 0]], dtype=np.float32)
        >>> options = ExpansionOptions(neighbours=1, alpha=1)
        >>> found = expand(query, gallery, options=options)
        >>> [f"{value:.3f}" for value in found[0]]
        ['1.756', '4.682']
    """
    gallery = prepare(gallery)
    found = rank(
        query,
        gallery,
        top_k=options.neighbours,
        excluded=excluded,
        memory_bytes=memory_bytes,
    ).rows

    def vectors(row: int) -> NDArray[np.float32]:
        nearest: NDArray[np.float32] = gallery.features[found[row][found[row] >= 0]]
        return nearest

    return expand_by(query, vectors, alpha=options.alpha)


def expand_by(
    query: NDArray[np.float32], vectors: VectorsOf, *, alpha: float
) -> NDArray[np.float32]:
    """Every query, expanded by the vectors that were found for it.

    With unit vectors q and g_i in the directions of the query and of what was found, the new
    direction is that of q + sum over i of (q . g_i)^alpha g_i, over the images with a cosine
    q . g_i above 0; the others add nothing. On features of length 1 this is the published rule.
    Other features keep what their length does to L2 distances: a query has the same length after as
    before, and a found image counts by its direction alone. A vector of zeros has no direction:
    nothing is added for it, and such a query stays as it is.

    Args:
        query: float32 [Q, D].
        vectors: what was found for a query row, float32 [n, D]; n may be 0.
        alpha: power of the cosine, 0 or more.

    Returns:
        float32 [Q, D]; computed in float64, query by query, so that no other query plays a part.

    Raises:
        ValueError: other dtypes or shapes, or values that are not finite.
    """
    require_features("query", query)
    result = np.empty_like(query)
    for row, point in enumerate(query.astype(np.float64)):
        found = vectors(row).astype(np.float64)  # [n, D]
        length, lengths = _length(point), _length(found)  # [], [n]
        # from the vectors as they are: of right angles between whole numbers the sum is exactly 0
        cosines = (found * point).sum(axis=1) / (lengths * length)
        weights = np.where(cosines > 0, power(np.maximum(cosines, 0.0), alpha), 0.0)
        total = point / length + (found * (weights / lengths)[:, None]).sum(axis=0)
        # at least 1, since every weighted cosine is above 0; 0 for a query of zeros
        result[row] = total * (length / _length(total))
    return result


def _length(vectors: NDArray[np.float64]) -> NDArray[np.float64]:
    """L2 norm along the last axis, 1 for zeros: they are divided by it."""
    lengths = np.sqrt(np.square(vectors).sum(axis=-1))
    return np.where(lengths == 0, 1.0, lengths)
