"""How sure a difference of means over queries is: the paired bootstrap.

In: one value per query for the reference and for the candidate. Out: an interval of the mean
difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

RESAMPLES: Final = 2000
"""Resamples: the ends of a 95 % interval are then the 50th values from each side."""

_BLOCK_VALUES: Final = 1 << 22
"""Drawn indices held at once (32 MiB)."""


@dataclass(frozen=True)
class Change:
    """A mean of the candidate minus that of the reference.

    Attributes:
        reference: mean over the queries, reference.
        candidate: mean over the same queries, candidate.
        low: lower end of the 95 % interval of the difference.
        high: upper end.
        queries: how many queries were compared.
    """

    reference: float
    candidate: float
    low: float
    high: float
    queries: int

    @property
    def difference(self) -> float:
        """Candidate minus reference."""
        return self.candidate - self.reference


def paired_change(
    reference: NDArray[np.float64],
    candidate: NDArray[np.float64],
    *,
    groups: NDArray[np.integer] | None = None,
    seed: int = 0,
) -> Change:
    """Mean difference with its percentile bootstrap interval (Efron and Tibshirani 1993, ch. 13).

    Queries are drawn with replacement, each with both of its values: what makes a query easy or
    hard for both models cancels.

    Args:
        reference: float64 [Q], for example average precision of each query; finite.
        candidate: float64 [Q], the same queries.
        groups: int [Q], queries that are drawn together: those of one vehicle are easy or hard
            together. None draws each by itself.
        seed: of the draws.

    Returns:
        The change.

    Raises:
        ValueError: the lengths differ, or there is no query.
    """
    if reference.shape != candidate.shape or not len(reference):
        raise ValueError(f"cannot compare {reference.shape} with {candidate.shape} queries")
    differences = candidate - reference
    which = np.arange(len(differences))
    if groups is not None:
        _, which = np.unique(groups, return_inverse=True)
    sums = np.bincount(which, weights=differences)
    sizes = np.bincount(which)
    rng = np.random.default_rng(seed)
    means = np.empty(RESAMPLES)
    step = max(1, _BLOCK_VALUES // len(sums))
    for start in range(0, RESAMPLES, step):
        count = min(step, RESAMPLES - start)
        drawn = rng.integers(0, len(sums), size=(count, len(sums)))
        means[start : start + count] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return Change(
        reference=float(reference.mean()),
        candidate=float(candidate.mean()),
        low=float(low),
        high=float(high),
        queries=len(differences),
    )
