"""Float64 distances to stored rows, gathered from a file in bounded pieces."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import squared_distances

EXACT_VALUES: Final = 1 << 20
"""Vectors' values gathered at once for exact distances (4 MiB)."""


def exact_distances(
    query: NDArray[np.float32], features: NDArray[np.float32], slots: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Squared distances float64 [n] from a query [D] to chosen rows of [N, D], see `distances`."""
    exact = np.empty(len(slots), dtype=np.float64)
    step = max(1, EXACT_VALUES // features.shape[1])
    for start in range(0, len(slots), step):
        part = features[slots[start : start + step]]
        exact[start : start + step] = squared_distances(query, part, np.arange(len(part)))
    return exact
