"""Nearest and farthest images of every image of one set, exact and in bounded memory.

In: float32 features. Out: `Neighbours`, the same on every machine: the order of the float64
distances, the image itself first, ties by lower row. The all-pairs product is symmetric, so only
half of its blocks are computed, and none is kept.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.search.distances import require_features, squared_pair_distances
from mtml_deploy.search.kreciprocal.candidate_pool import CandidatePool, capacity
from mtml_deploy.search.kreciprocal.duplicates import Duplicates

BLOCK: Final = 2048
"""Rows and columns of one float32 product (16 MiB)."""

_HALF_EPS_32: Final = 2.0**-24
"""Largest relative error of one float32 rounding."""

Progress = Callable[[int, int], None]
"""Called with (done, total)."""


@dataclass(frozen=True)
class Neighbours:
    """Neighbours of each of N images among all N.

    Attributes:
        rows: int32 [N, K], the image itself first, then by distance, ties by lower row.
        distances: float64 [N, K], squared L2 distances, row-aligned with `rows`.
        farthest: float64 [N], squared L2 distance to the farthest image; 0 if all are equal.
    """

    rows: NDArray[np.int32]
    distances: NDArray[np.float64]
    farthest: NDArray[np.float64]


def estimate_neighbours_bytes(size: int, dim: int, *, count: int) -> int:
    """Memory that `find_neighbours` takes beyond its input, at most, in ordinary data.

    Args:
        size: N.
        dim: D.
        count: K.

    Returns:
        Bytes: copies of the features, blocks of products, candidates, results.
    """
    blocks = 3 * 4 * min(size, max(BLOCK, 2 * count)) ** 2
    # the distinct features and their centred copy
    return (
        2 * 4 * size * dim + blocks + 70 * min(capacity(size, count), size**2) + 12 * size * count
    )


def find_neighbours(
    features: NDArray[np.float32],
    *,
    count: int,
    norms: NDArray[np.float64] | None = None,
    progress: Progress | None = None,
) -> Neighbours:
    """The `count` nearest images of every image, itself included, and its farthest distance.

    A float32 product of the centred features gives bounds of every distance; pairs that the bounds
    cannot rule out are computed anew in float64 as sum((a - b)^2), which alone decides. Equal
    images are searched for once.

    Args:
        features: float32 [N, D], N at least 1.
        count: images wanted, at least 1, the image itself included; K = min(count, N).
        norms: float64 [N], squared norms by `require_features`; None computes them.
        progress: called with (blocks done, blocks in total).

    Returns:
        The neighbours.

    Raises:
        ValueError: `count` below 1, no image, other dtypes or shapes, or values not finite.
    """
    if count < 1 or len(features) < 1:
        raise ValueError(f"count and images must be at least 1, found {count} and {len(features)}")
    duplicates = Duplicates(
        features, require_features("image", features) if norms is None else norms
    )
    distinct = features if len(duplicates.first) == len(features) else features[duplicates.first]
    bounds = PairBounds(distinct)

    def exact(rows: NDArray[np.int64], columns: NDArray[np.int64]) -> NDArray[np.float64]:
        return squared_pair_distances(distinct, rows, columns) * bounds.scale**2

    near = CandidatePool(bounds.widths, count=min(count, len(distinct)), exact=exact)
    far = CandidatePool(bounds.widths, count=1, exact=lambda i, j: -exact(i, j))
    _scan(bounds, near, far, count=min(count, len(distinct)), progress=progress)
    columns, distances = near.first()
    _, farthest = far.first()
    # the scale is a power of two: dividing by it is exact
    rows, distances = duplicates.spread(
        columns, distances / bounds.scale**2, count=min(count, len(features))
    )
    return Neighbours(rows, distances, (-farthest[:, 0] / bounds.scale**2)[duplicates.group])


class PairBounds:
    """Bounds of squared distances from float32 products of centred features.

    With x the features less their mean, |x_i - x_j|^2 = |x_i|^2 + |x_j|^2 - 2 x_i.x_j. A sum of D
    float32 products, in any order, is off by at most D u / (1 - D u) |x_i| |x_j|, u the unit
    roundoff (Higham, Accuracy and Stability of Numerical Algorithms, 2002, section 3.1), and
    |x_i| |x_j| is at most half of |x_i|^2 + |x_j|^2: so norms made smaller by that share give a
    lower bound that is still symmetric.

    Attributes:
        points: float32 [N, D], centred and scaled.
        halves: float32 [N]; x_i.x_j - halves[i] - halves[j] is half of minus the lower bound.
        widths: float64 [N]; the upper bound is larger than the lower by widths[i] + widths[j].
        scale: power of two that brings the largest norm near 1: nothing over- or underflows.
    """

    def __init__(self, features: NDArray[np.float32]) -> None:
        """Centre, scale and bound.

        Args:
            features: float32 [N, D].
        """
        size, dim = features.shape
        mean = features.mean(axis=0, dtype=np.float64)
        self.points = np.empty((size, dim), dtype=np.float32)
        norms = np.empty(size)
        step = max(1, (1 << 20) // dim)
        for start in range(0, size, step):
            part = features[start : start + step] - mean  # float64 [step, D]
            norms[start : start + step] = np.square(part).sum(axis=1)
        self.scale = 1.0
        if norms.max() > 0:
            self.scale = float(2.0 ** -np.ceil(np.log2(norms.max()) / 2))
        for start in range(0, size, step):
            self.points[start : start + step] = (features[start : start + step] - mean) * self.scale
        norms *= self.scale**2
        # 8: rounding of the points, the norms and the two subtractions; 1.25: 1 / (1 - D u)
        share = 1.25 * (dim + 8) * _HALF_EPS_32
        slack = dim * 2.0**-120  # products may still underflow beside a row of much larger norm
        self.halves = (norms * (1 - share) / 2 - slack).astype(np.float32)
        self.widths = norms * 2 * share + 4 * slack


def _scan(
    bounds: PairBounds,
    near: CandidatePool,
    far: CandidatePool,
    *,
    count: int,
    progress: Progress | None,
) -> None:
    """Offer every pair to both pools, block by block of the upper triangle."""
    size = len(bounds.points)
    # a diagonal block must hold `count` columns, to give each row a limit to begin with
    blocks = max(1, -(-size // max(BLOCK, 2 * count)))
    edges = [size * number // blocks for number in range(blocks + 1)]
    spans = list(pairwise(edges))
    diagonal = [(span, span) for span in spans]
    rest = [(a, b) for number, a in enumerate(spans) for b in spans[number + 1 :]]
    for done, (a, b) in enumerate(diagonal + rest, start=1):
        left, right = bounds.points[slice(*a)], bounds.points[slice(*b)]
        halves = left @ right.T
        halves -= bounds.halves[slice(*b)]
        halves -= bounds.halves[slice(*a), None]
        if a == b:
            last = np.partition(halves, len(left) - count, axis=1)[:, len(left) - count]
            widest = bounds.widths[slice(*a)].max()
            highs = -2 * last + bounds.widths[slice(*a)] + widest
            near.tighten(a[0], highs.astype(np.float32))
        _offer(halves, bounds.widths, near, far, a, b, axis=0)
        if a != b:
            _offer(halves, bounds.widths, near, far, b, a, axis=1)
        if progress is not None:
            progress(done, len(diagonal) + len(rest))


def _offer(
    halves: NDArray[np.float32],
    widths: NDArray[np.float64],
    near: CandidatePool,
    far: CandidatePool,
    rows: tuple[int, int],
    columns: tuple[int, int],
    *,
    axis: int,
) -> None:
    """Offer the pairs of one block to the pools of the rows that lie along `axis`.

    Args:
        halves: float32 [m, n], half of minus the lower bounds.
        widths: float64 [N], see `PairBounds`.
        near: pool of the smallest distances.
        far: pool of the largest, held as negative distances.
        rows: first row and the row behind the last.
        columns: the same for columns.
        axis: 0 where the rows are those of `halves`, 1 where they are its columns.
    """

    def along(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return values[:, None] if axis == 0 else values

    def pairs(
        chosen: NDArray[np.bool_],
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        flat = np.flatnonzero(chosen)
        places = np.divmod(flat, halves.shape[1])
        return places[axis] + rows[0], places[1 - axis] + columns[0], 2 * halves.ravel()[flat]

    span = slice(*rows)
    found, others, doubled = pairs(halves >= along(near.limits[span] * np.float32(-0.5)))
    near.add(found, others, -doubled)

    far.tighten(rows[0], 2 * halves.min(axis=1 - axis))
    reach = (far.limits[span] + widths[span] + widths[slice(*columns)].max()) / 2
    reach = np.nextafter(reach.astype(np.float32), np.float32(np.inf))
    found, others, doubled = pairs(halves <= along(reach))
    low = doubled - (widths[found] + widths[others])
    far.add(found, others, np.nextafter(low.astype(np.float32), np.float32(-np.inf)))
