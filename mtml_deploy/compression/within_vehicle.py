"""A projection that whitens how images of one vehicle differ: linear discriminant analysis.

In: float32 features of training images and their vehicles. Out: directions in which images of one
vehicle scatter, and the `Projection` that makes all directions scatter alike.

Sources: Fukunaga, Introduction to Statistical Pattern Recognition, 1990, chapter 10 (whitening of
the within-class scatter, then the directions of the between-class scatter); Hariharan, Malik and
Ramanan, Discriminative decorrelation for clustering and classification, ECCV 2012 (whitened
features compared as they are, in all dimensions); Ledoit and Wolf, A well-conditioned estimator for
large-dimensional covariance matrices, 2004 (the form of the shrinkage; its share is given here).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.compression.projection import Projection
from mtml_deploy.compression.scatter import scatter_directions, signed
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.rows import Ids
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.search.distances import require_features


@dataclass(frozen=True)
class WithinVehicle:
    """How training features of one vehicle scatter about its mean, and where the means are.

    Attributes:
        mean: float64 [D], of all rows of known vehicle.
        centres: float64 [V, D], the mean of each vehicle.
        counts: int64 [V], rows of each vehicle; N in all.
        values: float64 [r], variances of the scatter Sw, divided by N - V, along `directions`.
        directions: float64 [D, r], orthonormal columns: in all others no vehicle scatters.
        average: trace(Sw) / D, the variance that every direction is shrunk towards.
    """

    mean: NDArray[np.float64]
    centres: NDArray[np.float64]
    counts: NDArray[np.int64]
    values: NDArray[np.float64]
    directions: NDArray[np.float64]
    average: float

    def projection(self, *, dim: int | None, shrinkage: float, normalise: bool) -> Projection:
        """The projection in which images of one vehicle scatter alike in all directions.

        The matrix is W = (S / a)^(-1/2) with S = (1 - s) Sw + s a I, s the shrinkage and a the
        average variance: dividing by it keeps lengths of the order of the embedding's, and no
        direction is stretched more than s^(-1/2) times. With `dim`, W times the `dim` directions in
        which the vehicles' means differ most after W: the generalised eigenvectors of the scatter
        of the means and S.

        Args:
            dim: directions to keep; None keeps all D dimensions, as the symmetric W.
            shrinkage: above 0, at most 1, where W is the identity.
            normalise: scale rows to length 1 at the end.

        Returns:
            The projection.

        Raises:
            EmbeddingsError: the means of the vehicles differ in fewer than `dim` directions.
            ValueError: `shrinkage` or `dim` out of its range.
        """
        if not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage must be above 0 and at most 1, found {shrinkage}")
        if dim is not None and not 1 <= dim <= len(self.mean):
            raise ValueError(f"dim must be 1..{len(self.mean)}, found {dim}")
        learnt: dict[str, object] = {
            "method": "lda",
            "shrinkage": shrinkage,
            "vehicles": len(self.counts),
        }
        # outside `directions` Sw is 0, so W is `rest` there
        rest = shrinkage**-0.5
        factors = ((1 - shrinkage) * self.values / self.average + shrinkage) ** -0.5 - rest
        if dim is None:
            matrix = (self.directions * factors) @ self.directions.T  # [D, D]
            matrix.flat[:: len(matrix) + 1] += rest
        else:
            weights = np.sqrt(self.counts / self.counts.sum())[:, None]
            between = (self.centres - self.mean) * weights  # [V, D]
            whitened = between * rest + ((between @ self.directions) * factors) @ self.directions.T
            values, kept = scatter_directions(
                whitened,
                np.zeros((1, whitened.shape[1])),
                np.zeros(len(whitened), dtype=np.intp),
                count=1,
                most=dim,
            )
            if len(values) < dim:
                raise EmbeddingsError(
                    f"the {len(self.counts)} training vehicles differ in {len(values)} directions "
                    f"only, and {dim} were asked for; keep fewer with --dim, or leave --dim out "
                    f"to keep all {len(self.mean)} dimensions"
                )
            inside = (self.directions.T @ kept) * factors[:, None]  # [r, d]
            matrix = signed(kept * rest + self.directions @ inside)
            learnt["between_variance"] = min(1.0, float(values[:dim].sum() / values.sum()))
        return Projection(mean=self.mean, matrix=matrix, normalise=normalise, learnt=learnt)


def within_vehicle(features: NDArray[np.float32], vehicle_ids: Ids) -> WithinVehicle:
    """How features of one vehicle scatter, over all vehicles of the training images.

    Args:
        features: float32 [N, D] of training images, as the model gave them.
        vehicle_ids: int32 or int64 [N]; rows of unknown vehicle play no part.

    Returns:
        The scatter.

    Raises:
        EmbeddingsError: fewer than two vehicles, or no two different images of one.
        ValueError: other dtypes or shapes, or values that are not finite.

    Example:
        Two vehicles; images of one differ along the first axis, twice as far as along the second.

        >>> rows = np.array([[0, 1], [4, 3], [0, 7], [4, 5]], dtype=np.float32)
        >>> found = within_vehicle(rows, np.array([1, 1, 2, 2], dtype=np.int32))
        >>> found.centres.tolist(), found.average
        ([[2.0, 2.0], [2.0, 6.0]], 5.0)
    """
    require_features("training", features)
    known = np.flatnonzero(vehicle_ids != UNKNOWN)
    vehicles, which, counts = np.unique(vehicle_ids[known], return_inverse=True, return_counts=True)
    if len(vehicles) < 2 or counts.max() < 2:
        raise EmbeddingsError(
            f"the training embeddings hold {len(vehicles)} known vehicles with at most "
            f"{counts.max(initial=0)} images each, and how images of one vehicle differ needs two "
            f"vehicles and two images of one; embed a labelled training set such as veri:DIR#train"
        )
    order = np.argsort(which, kind="stable")
    ends = np.cumsum(counts)
    rows = features if len(known) == len(features) else features[known]
    centres = np.empty((len(vehicles), features.shape[1]))
    for number, (start, end) in enumerate(zip(ends - counts, ends, strict=True)):
        centres[number] = rows[order[start:end]].mean(axis=0, dtype=np.float64)
    freedom = len(rows) - len(vehicles)
    values, directions = scatter_directions(rows, centres, which, count=freedom)
    if not len(values):
        raise EmbeddingsError(
            "all training images of one vehicle have the same embedding, so there is no way they "
            "differ; embed different images of each vehicle"
        )
    return WithinVehicle(
        mean=rows.mean(axis=0, dtype=np.float64),
        centres=centres,
        counts=counts.astype(np.int64),
        values=values,
        directions=directions,
        average=float(values.sum()) / features.shape[1],
    )
