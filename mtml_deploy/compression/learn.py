"""What a user may choose of a projection, and the one way from that to a `Projection`.

In: training embeddings with their vehicles. Out: the projection, whatever its method.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.compression.principal import principal_directions
from mtml_deploy.compression.projection import Projection
from mtml_deploy.compression.within_vehicle import within_vehicle
from mtml_deploy.defaults import PROJECTION, SHRINKAGE, ProjectionMethod
from mtml_deploy.embed.rows import Ids


@dataclass(frozen=True)
class CompressOptions:
    """How to project an embedding.

    Attributes:
        method: see `ProjectionMethod`.
        dim: dimensions to keep; None keeps all, with lda only.
        shrinkage: of lda, see `WithinVehicle.projection`.
        normalise: scale every projected embedding to length 1.
    """

    method: ProjectionMethod = PROJECTION
    dim: int | None = None
    shrinkage: float = SHRINKAGE
    normalise: bool = True

    def __post_init__(self) -> None:
        """Refuse what no method can do.

        Raises:
            ValueError: PCA of all dimensions, which changes no distance or has no end.
        """
        if self.dim is None and self.method != "lda":
            raise ValueError(f"{self.method} needs a number of dimensions, lda alone keeps all")


def learn_projection(
    features: NDArray[np.float32], vehicle_ids: Ids, options: CompressOptions
) -> Projection:
    """The projection that a method learns from training embeddings.

    Args:
        features: float32 [N, D] of training images, as the model gave them.
        vehicle_ids: int32 or int64 [N], -1 where unknown; only lda looks at them.
        options: how.

    Returns:
        The projection.

    Raises:
        EmbeddingsError: too few rows, directions or vehicles.
        ValueError: other dtypes or shapes, values that are not finite, or options out of range.
    """
    if options.dim is None or options.method == "lda":
        return within_vehicle(features, vehicle_ids).projection(
            dim=options.dim, shrinkage=options.shrinkage, normalise=options.normalise
        )
    if not 1 <= options.dim <= features.shape[1]:
        raise ValueError(f"dim must be 1..{features.shape[1]}, found {options.dim}")
    return principal_directions(features, most=options.dim).projection(
        dim=options.dim, whiten=options.method == "pca-whiten", normalise=options.normalise
    )
