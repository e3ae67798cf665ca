"""A learnt projection of embeddings: subtract a mean, multiply by a matrix, scale to length 1.

In: what a method learnt. Out: a `Projection`, float64, that is applied here or appended to a graph.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.compression.scatter import block_rows
from mtml_deploy.embed.unit_length import unit_rows


@dataclass(frozen=True)
class Projection:
    """A learnt projection from D to d dimensions.

    Attributes:
        mean: float64 [D], of the training features.
        matrix: float64 [D, d], applied to centred features from the right.
        normalise: rows are divided by their length at the end.
        learnt: how it was learnt and what it keeps, for the record; JSON values only.
    """

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]
    normalise: bool
    learnt: Mapping[str, object] = field(default_factory=dict)

    @property
    def dim(self) -> int:
        """Dimensions d of a projected row."""
        return int(self.matrix.shape[1])

    def apply(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Projected features, in float64.

        Args:
            features: float32 [N, D].

        Returns:
            float64 [N, d].

        Raises:
            ValueError: another number of dimensions.
        """
        if features.ndim != 2 or features.shape[1] != len(self.mean):
            raise ValueError(f"features must be [N, {len(self.mean)}], found {features.shape}")
        projected = np.empty((len(features), self.dim))
        step = block_rows(features.shape[1])
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            rows = (features[part] - self.mean) @ self.matrix  # [step, d]
            projected[part] = unit_rows(rows) if self.normalise else rows
        return projected
