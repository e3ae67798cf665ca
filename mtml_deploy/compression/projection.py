"""Shorter embeddings by principal component analysis, learnt from training embeddings.

In: float32 features of training images. Out: a `Projection`, float64: subtract the mean, project
onto the directions of largest variance, and on request whiten and scale to length 1.

Source of the order whiten, then scale: Jégou and Chum, Negative evidences and co-occurences in
image retrieval: the benefit of PCA and whitening, ECCV 2012.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.unit_length import unit_rows
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.search.distances import require_features, squared_norms

WHITENING_FLOOR: Final = 1e-4
"""Share of the largest variance that is added to every variance before whitening divides by its
root. No direction is stretched more than 100 times as much as the first one, so rounding errors of
the model stay small, and directions that a small training set hardly tells from noise are held
back."""

_RANK: Final = 1e-10
"""Variances below this share of the largest are rounding errors of float32 features (6e-8 of a
value, squared), not directions in which the images differ."""

_BLOCK_VALUES: Final = 1 << 22
"""float64 values of a block of features (32 MiB)."""


@dataclass(frozen=True)
class Projection:
    """A learnt projection from D to d dimensions.

    Attributes:
        mean: float64 [D], of the training features.
        matrix: float64 [D, d], applied to centred features from the right; columns in the order of
            falling variance, divided by the regularised deviation where `whiten`.
        variances: float64 [d], of the training features along the columns before whitening.
        total_variance: of the training features, over all D dimensions.
        whiten: every column has about variance 1 on the training features.
        normalise: rows are divided by their length at the end.
    """

    mean: NDArray[np.float64]
    matrix: NDArray[np.float64]
    variances: NDArray[np.float64]
    total_variance: float
    whiten: bool
    normalise: bool

    @property
    def explained_variance(self) -> float:
        """Share of the training features' variance that the kept directions hold, 0..1."""
        return min(1.0, float(self.variances.sum()) / self.total_variance)

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
        projected = np.empty((len(features), self.matrix.shape[1]))
        step = _block_rows(features.shape[1])
        for start in range(0, len(features), step):
            part = slice(start, start + step)
            projected[part] = (features[part] - self.mean) @ self.matrix  # [step, d]
        if self.normalise:
            projected = unit_rows(projected)
        return projected


def learn_projection(
    features: NDArray[np.float32], *, dim: int, whiten: bool, normalise: bool
) -> Projection:
    """The projection onto the `dim` directions in which training features vary most.

    The covariance is that of the N rows, divided by N. Where there are fewer rows than dimensions,
    the eigenvectors come from the smaller matrix of products between rows. A direction is known up
    to its sign: the sign is chosen so that its entry of largest magnitude is positive.

    Args:
        features: float32 [N, D] of training images, as the model gave them.
        dim: directions to keep, 1..D.
        whiten: divide each direction by sqrt(v + `WHITENING_FLOOR` v1), v its variance and v1 the
            largest one.
        normalise: scale rows to length 1 at the end.

    Returns:
        The projection.

    Raises:
        EmbeddingsError: too few rows, or rows that vary in fewer than `dim` directions.
        ValueError: other dtypes or shapes, values that are not finite, or `dim` out of its range.

    Example:
        Points on a line along (3, 4), with the deviations 5, 0 and -5.

        >>> line = np.array([[4, 5], [1, 1], [-2, -3]], dtype=np.float32)
        >>> found = learn_projection(line, dim=1, whiten=False, normalise=False)
        >>> found.mean.tolist(), found.matrix.round(6).tolist()
        ([1.0, 1.0], [[0.6], [0.8]])
        >>> found.apply(line).round(6).tolist()
        [[5.0], [0.0], [-5.0]]
    """
    require_features("training", features)
    rows, width = features.shape
    if not 1 <= dim <= width:
        raise ValueError(f"dim must be 1..{width}, found {dim}")
    if rows <= dim:
        raise EmbeddingsError(
            f"{rows} training embeddings cannot tell {dim} directions: more rows than dimensions "
            f"kept are needed; embed more training images, or keep fewer dimensions with --dim"
        )
    mean = features.mean(axis=0, dtype=np.float64)
    variances, directions = (_from_rows if rows < width else _from_columns)(features, mean, dim)
    known = int(np.count_nonzero(variances > _RANK * variances[0]))
    if known < dim:
        raise EmbeddingsError(
            f"the {rows} training embeddings vary in {known} directions only, and {dim} were asked "
            f"for; keep fewer with --dim, or embed more and more different training images"
        )
    largest = np.abs(directions).argmax(axis=0)  # [d]
    directions *= np.where(directions[largest, np.arange(dim)] < 0, -1.0, 1.0)
    if whiten:
        directions /= np.sqrt(variances + WHITENING_FLOOR * variances[0])
    return Projection(
        mean=mean,
        matrix=np.ascontiguousarray(directions),
        variances=variances,
        total_variance=float(squared_norms(features, mean).mean()),
        whiten=whiten,
        normalise=normalise,
    )


def _from_columns(
    features: NDArray[np.float32], mean: NDArray[np.float64], dim: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances [d] and directions [D, d] from the covariance of the columns [D, D]."""
    rows, width = features.shape
    covariance = np.zeros((width, width))
    step = _block_rows(width)
    for start in range(0, rows, step):
        part = features[start : start + step] - mean  # [step, D]
        covariance += part.T @ part
    values, vectors = np.linalg.eigh(covariance / rows)
    return np.maximum(values[::-1][:dim], 0.0), vectors[:, ::-1][:, :dim].copy()


def _from_rows(
    features: NDArray[np.float32], mean: NDArray[np.float64], dim: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Variances [d] and directions [D, d] from the products of the rows [N, N]."""
    centred = features - mean  # [N, D]
    values, vectors = np.linalg.eigh(centred @ centred.T / len(features))
    directions = centred.T @ vectors[:, ::-1][:, :dim]  # [D, d], orthogonal but for rounding
    # rounding is relative to the largest direction; QR makes the small ones orthogonal to it again
    orthonormal, _ = np.linalg.qr(directions)
    return np.maximum(values[::-1][:dim], 0.0), orthonormal


def _block_rows(width: int) -> int:
    """Rows of a block of features."""
    return max(1, _BLOCK_VALUES // width)
