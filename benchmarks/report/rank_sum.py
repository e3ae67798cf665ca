"""The rank-sum test of Mann and Whitney: do two samples differ in location?

Mann and Whitney, "On a test of whether one of two random variables is stochastically larger than
the other", Annals of Mathematical Statistics 18 (1947).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

_EXACT_VALUES: Final = 20
"""Up to so many values in each sample, and without ties, p is counted out; beyond that the normal
approximation is as good."""


@dataclass(frozen=True)
class RankSum:
    """Result of the test.

    Attributes:
        u: pairs (x, y) with x > y, ties counted half; 0 .. n m.
        p: two-sided, 0..1: how often chance alone would give a U as far from n m / 2.
        superiority: rank-biserial correlation 2 U / (n m) - 1, -1..1; 1 where every x is larger.
    """

    u: float
    p: float
    superiority: float


def rank_sum(x: Sequence[float], y: Sequence[float]) -> RankSum:
    """Compare two samples.

    Args:
        x: n values, 1 or more.
        y: m values, 1 or more.

    Returns:
        The result; p exact for small samples without ties, else by the normal distribution with
        corrections for ties and continuity.

    Raises:
        ValueError: a sample is empty.

    Example:
        >>> rank_sum([4, 5, 6], [1, 2, 3])
        RankSum(u=9.0, p=0.1, superiority=1.0)
    """
    n, m = len(x), len(y)
    if not n or not m:
        raise ValueError(f"both samples hold a value, found {n} and {m}")
    left, right = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    above = (left[:, None] > right).sum()
    equal = (left[:, None] == right).sum()
    u = float(above + equal / 2)
    tied = np.unique(np.concatenate([left, right]), return_counts=True)[1]
    if tied.max() == 1 and max(n, m) <= _EXACT_VALUES:
        p = _exact(u, n, m)
    else:
        p = _normal(u, n, m, tied)
    return RankSum(u, p, 2 * u / (n * m) - 1)


def least_p(n: int, m: int) -> float:
    """The smallest p that samples of n and m values can give: 2 of all (n + m over n) orders."""
    return min(1.0, 2 / math.comb(n + m, n))


def _exact(u: float, n: int, m: int) -> float:
    """Share of all orders whose U is at least as far from the middle."""
    # counts[i][k]: orders of i values x and j values y with U = k; a y at the end adds nothing,
    # an x at the end stands above all j values y
    counts = [[1] + [0] * (n * m) for _ in range(n + 1)]  # j = 0: no pair, U = 0
    for j in range(1, m + 1):
        for i in range(1, n + 1):
            below = counts[i - 1]
            counts[i] = [counts[i][k] + (below[k - j] if k >= j else 0) for k in range(n * m + 1)]
    tail = sum(counts[n][: int(min(u, n * m - u)) + 1])
    return min(1.0, 2 * tail / math.comb(n + m, n))


def _normal(u: float, n: int, m: int, tied: NDArray[np.int64]) -> float:
    """By the normal distribution of the same mean and variance."""
    total = n + m
    ties = float((tied.astype(np.float64) ** 3 - tied).sum())
    variance = n * m / 12 * (total + 1 - ties / (total * (total - 1)))
    if variance <= 0:  # all values are equal
        return 1.0
    distance = max(0.0, abs(u - n * m / 2) - 0.5)
    return math.erfc(distance / math.sqrt(2 * variance))
