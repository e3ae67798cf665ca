"""A gallery with all that searching and evaluating it asks of its rows, computed once.

In: float32 features. Out: a `PreparedGallery`, which ranking, query expansion, re-ranking and
evaluation take in place of the features.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import require_matrix, require_order
from mtml_deploy.search.error_bounds import RowTerms, row_terms

_CENTRE_ROWS: Final = 2048
"""Rows whose mean is the centre: any point bounds correctly, so not all need to be read."""


@dataclass(frozen=True)
class PreparedGallery:
    """Features that are known to have an order; made by `prepare`.

    Attributes:
        features: float32 [G, D], C-contiguous, finite; must not change any more.
        squared_norms: float64 [G].
        terms: of the bounds of distances, see `lower_bounds`.
    """

    features: NDArray[np.float32]
    squared_norms: NDArray[np.float64]
    terms: RowTerms


def prepare(gallery: NDArray[np.float32] | PreparedGallery) -> PreparedGallery:
    """A gallery, prepared: one pass over its rows, unless that was done before.

    Args:
        gallery: float32 [G, D], kept and not copied where it is C-contiguous; or prepared.

    Returns:
        The prepared gallery, 16 bytes a row beside the features; `gallery` itself if it is one.

    Raises:
        ValueError: other dtype or shape, NaN or infinite values, or a norm above `NORM_LIMIT`.

    Example:
        >>> gallery = prepare(np.array([[3, 4], [0, 1]], dtype=np.float32))
        >>> gallery.squared_norms.tolist()
        [25.0, 1.0]
    """
    if isinstance(gallery, PreparedGallery):
        return gallery
    require_matrix("gallery", gallery)
    features = np.ascontiguousarray(gallery)
    centre = np.zeros(features.shape[1])
    if len(features):
        sample = features[:: -(-len(features) // _CENTRE_ROWS)]
        with np.errstate(invalid="ignore"):  # infinite values, refused below
            centre = sample.mean(axis=0, dtype=np.float64)
    terms, squared = row_terms(features, centre)
    require_order("gallery", squared)
    return PreparedGallery(features, squared, terms)
