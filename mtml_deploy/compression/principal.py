"""Principal component analysis of training embeddings, with and without whitening.

In: float32 features of training images. Out: the directions in which they vary most, and the
`Projection` onto some of them.

Source of the order whiten, then scale: Jégou and Chum, Negative evidences and co-occurences in
image retrieval: the benefit of PCA and whitening, ECCV 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.compression.projection import Projection
from mtml_deploy.compression.scatter import scatter_directions, signed
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.search.distances import require_features, squared_norms

WHITENING_FLOOR: Final = 1e-4
"""Share of the largest variance that is added to every variance before whitening divides by its
root. No direction is stretched more than 100 times as much as the first one, so rounding errors of
the model stay small, and directions that a small training set hardly tells from noise are held
back."""


@dataclass(frozen=True)
class PrincipalDirections:
    """The directions in which training features vary, by falling variance.

    Attributes:
        mean: float64 [D], of the training features.
        variances: float64 [k], along each direction; the covariance is that of the rows, by N.
        directions: float64 [D, m], the first m <= k, orthonormal columns whose entry of largest
            magnitude is positive.
        total_variance: of the training features, over all D dimensions.
        images: N, rows it was learnt from.
    """

    mean: NDArray[np.float64]
    variances: NDArray[np.float64]
    directions: NDArray[np.float64]
    total_variance: float
    images: int

    def projection(self, *, dim: int, whiten: bool, normalise: bool) -> Projection:
        """The projection onto the first directions.

        Args:
            dim: directions to keep, 1..m.
            whiten: divide each direction by sqrt(v + `WHITENING_FLOOR` v1), v its variance and v1
                the largest one.
            normalise: scale rows to length 1 at the end.

        Returns:
            The projection.

        Raises:
            EmbeddingsError: the rows tell fewer than `dim` directions.
        """
        if self.images <= dim:
            raise EmbeddingsError(
                f"{self.images} training embeddings cannot tell {dim} directions: more rows than "
                f"dimensions kept are needed; embed more training images, or keep fewer "
                f"dimensions with --dim"
            )
        if len(self.variances) < dim:
            raise EmbeddingsError(
                f"the {self.images} training embeddings vary in {len(self.variances)} directions "
                f"only, and {dim} were asked for; keep fewer with --dim, or embed more and more "
                f"different training images"
            )
        variances, matrix = self.variances[:dim], self.directions[:, :dim]
        learnt: dict[str, object] = {
            "method": "pca-whiten" if whiten else "pca",
            "explained_variance": min(1.0, float(variances.sum()) / self.total_variance),
        }
        if whiten:
            matrix = matrix / np.sqrt(variances + WHITENING_FLOOR * self.variances[0])
            learnt["whitening_floor"] = WHITENING_FLOOR
        return Projection(
            mean=self.mean,
            matrix=np.ascontiguousarray(matrix),
            normalise=normalise,
            learnt=learnt,
        )


def principal_directions(
    features: NDArray[np.float32], *, most: int | None = None
) -> PrincipalDirections:
    """The directions in which training features vary.

    Args:
        features: float32 [N, D] of training images, as the model gave them.
        most: directions wanted; None gives all that are no rounding errors.

    Returns:
        The directions, at most min(N - 1, D).

    Raises:
        ValueError: other dtypes or shapes, or values that are not finite.

    Example:
        Points on a line along (3, 4), with the deviations 5, 0 and -5.

        >>> line = np.array([[4, 5], [1, 1], [-2, -3]], dtype=np.float32)
        >>> found = principal_directions(line).projection(dim=1, whiten=False, normalise=False)
        >>> found.mean.tolist(), found.matrix.round(6).tolist()
        ([1.0, 1.0], [[0.6], [0.8]])
        >>> found.apply(line).round(6).tolist()
        [[5.0], [0.0], [-5.0]]
    """
    require_features("training", features)
    mean = features.mean(axis=0, dtype=np.float64)
    one = np.zeros(len(features), dtype=np.intp)
    variances, directions = scatter_directions(
        features, mean[None], one, count=len(features), most=most
    )
    return PrincipalDirections(
        mean=mean,
        variances=variances,
        directions=signed(directions),
        total_variance=float(squared_norms(features, mean).mean()),
        images=len(features),
    )
