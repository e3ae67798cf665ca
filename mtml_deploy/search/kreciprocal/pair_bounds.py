"""Bounds of the distances between all rows of one set, from float32 products.

In: float32 features. Out: centred features whose products, less two norms, are bounds. The bounds
are symmetric, so one product serves both of its rows.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_HALF_EPS_32: Final = 2.0**-24
"""Largest relative error of one float32 rounding."""


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
