"""Verification: which share of matching pairs a threshold accepts while it rarely accepts another.

In: distances of one query after the other. Out: `Verification`, true positive rates at fixed false
positive rates and the distances where these are reached. Of the pairs that do not match only the
nearest are kept, of those that match only the ones near enough to be accepted; distances come with
a bound of their error, and the few pairs so near to a threshold that the error matters are compared
again by the exact distance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

PairDistances = Callable[[int, NDArray[np.int64]], NDArray[np.float64]]
"""Query row, int64 [n] gallery rows -> float64 [n] distances that decide the order."""

ONE_IN: Final = (10_000, 1_000, 100)
"""False positive rates 1e-4, 1e-3 and 1e-2, as one accepted pair in so many: whole numbers, so that
counting is exact."""


@dataclass(frozen=True)
class Verification:
    """True positive rates at the false positive rates 1 / `ONE_IN`, and their thresholds.

    A threshold accepts the pairs whose distance is below it. The true positive rate at the false
    positive rate 1 / n is the largest share of the positive pairs that one threshold accepts while
    it accepts at most 1 / n of the negative pairs. With N negative pairs that threshold is the
    distance of the negative pair with number N // n + 1, nearest first: pairs at equal distance
    are accepted or refused together, and nothing is interpolated.

    Attributes:
        positives: pairs of a query and a match.
        negatives: pairs of a query and another image that takes part.
        tpr: for each of `ONE_IN`, the share of positive pairs accepted, 0..1; None where there are
            fewer than so many negative pairs (accepting one of them is then too often already), or
            no positive pair.
        distances: for each of `ONE_IN`, the threshold: what is nearer is accepted. None as in
            `tpr`.
    """

    positives: int
    negatives: int
    tpr: tuple[float | None, ...]
    distances: tuple[float | None, ...]


@dataclass(frozen=True)
class NearPairs:
    """The pairs that were kept, by their exact distances.

    Attributes:
        positive_queries: int64 [P], query row of each pair that matches and is near enough to be
            accepted by any threshold in question.
        positive_distances: float64 [P].
        negative_queries: int64 [N], of the nearest pairs that do not match.
        negative_distances: float64 [N].
    """

    positive_queries: NDArray[np.int64]
    positive_distances: NDArray[np.float64]
    negative_queries: NDArray[np.int64]
    negative_distances: NDArray[np.float64]


class VerificationPairs:
    """Collects pairs query by query, and gives the rates at the end.

    Keeps at most about 1 in 50 of all pairs, 32 bytes each, beside the matches.
    """

    def __init__(
        self,
        takes_part: NDArray[np.bool_],
        *,
        gallery_size: int,
        exact: PairDistances,
        squared: Literal["", "squared"] = "",
        most: Fraction | None = None,
    ) -> None:
        """Start without a pair.

        Args:
            takes_part: bool [Q], queries whose pairs count; the others are of unknown vehicle, so
                nobody can tell which of their pairs match.
            gallery_size: G.
            exact: the distances that decide, for the few pairs near a threshold.
            squared: "squared" where all distances are squares, and thresholds are to be told as
                distances.
            most: largest false positive rate that is looked at; None takes that of `ONE_IN`.
        """
        largest = Fraction(1, min(ONE_IN)) if most is None else most
        self._takes_part = takes_part
        # at least the negative pairs that any threshold needs; those left out are not known yet
        self._wanted = int(int(np.count_nonzero(takes_part)) * gallery_size * largest) + 1
        self._exact = exact
        self._shown = math.sqrt if squared else float
        self._bound = np.inf
        self._positive = _Pairs()
        self._negative = _Pairs()
        self._positives = 0
        self._negatives = 0
        self._positives_of = np.zeros(len(takes_part), dtype=np.int64)
        self._negatives_of = np.zeros(len(takes_part), dtype=np.int64)

    def add(
        self,
        query_row: int,
        distances: NDArray[np.float64],
        matching: NDArray[np.int64],
        *,
        margin: float,
    ) -> None:
        """Count the pairs of one query.

        Args:
            query_row: the query.
            distances: float64 [G], within `margin` of the exact ones; infinite where left out.
            matching: int64 [n], rows that match, none of them left out.
            margin: largest error of `distances`.
        """
        if not self._takes_part[query_row]:
            return
        others_here = int(np.count_nonzero(np.isfinite(distances))) - len(matching)
        self._positives += len(matching)
        self._negatives += others_here
        self._positives_of[query_row], self._negatives_of[query_row] = len(matching), others_here
        # whatever is beyond the bound, no threshold will accept
        near = np.flatnonzero(distances < self._bound + margin)
        matches = matching[distances[matching] < self._bound + margin]
        others = np.setdiff1d(near, matches, assume_unique=True)
        self._positive.append(query_row, matches, distances[matches], margin)
        self._negative.append(query_row, others, distances[others], margin)
        if len(self._negative) > 2 * self._wanted + len(distances):
            self._bound = self._negative.keep_nearest(self._wanted, self._exact)

    def result(self) -> Verification:
        """The rates over all pairs that were added."""
        tpr: list[float | None] = []
        distances: list[float | None] = []
        for one_in in ONE_IN:
            if self._positives == 0 or self._negatives < one_in:
                tpr.append(None)
                distances.append(None)
                continue
            threshold = self._negative.nth(self._negatives // one_in + 1, self._exact)
            accepted = self._positive.count_below(threshold, self._exact)
            tpr.append(accepted / self._positives)
            distances.append(self._shown(threshold))
        return Verification(self._positives, self._negatives, tuple(tpr), tuple(distances))

    def near(self) -> NearPairs:
        """The pairs that were kept, every distance exact: as `exact` gives it, squared or not."""
        return NearPairs(*self._positive.settled(self._exact), *self._negative.settled(self._exact))

    @property
    def counts(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """int64 [Q] pairs of each query that match, and that do not."""
        return self._positives_of, self._negatives_of


class _Pairs:
    """Pairs with distances that are within a margin of the exact ones, 0 once these are known."""

    def __init__(self) -> None:
        self._parts: list[tuple[int, float, NDArray[np.int64], NDArray[np.float64]]] = []
        self._appended = 0
        self._queries = np.empty(0, dtype=np.int64)
        self._rows = np.empty(0, dtype=np.int64)
        self._values = np.empty(0)
        self._margins = np.empty(0)

    def __len__(self) -> int:
        return len(self._values) + self._appended

    def append(
        self,
        query_row: int,
        rows: NDArray[np.int64],
        values: NDArray[np.float64],
        margin: float,
    ) -> None:
        """Add pairs of one query: int64 [n] gallery rows, float64 [n] distances."""
        self._parts.append((query_row, margin, rows, values))
        self._appended += len(rows)

    def nth(self, count: int, exact: PairDistances) -> float:
        """The exact distance of the pair with number `count`, from 1, nearest first."""
        self._join()
        # by their errors, these bound the distance asked for from both sides
        lowest = np.partition(self._values - self._margins, count - 1)[count - 1]
        highest = np.partition(self._values + self._margins, count - 1)[count - 1]
        self._settle(lowest, highest, exact)
        # the other pairs are on their side of it whichever of their two distances is looked at
        return float(np.partition(self._values, count - 1)[count - 1])

    def keep_nearest(self, count: int, exact: PairDistances) -> float:
        """Drop all but the `count` nearest pairs; the exact distance of the farthest of these."""
        farthest = self.nth(count, exact)
        kept = np.argpartition(self._values, count - 1)[:count]
        self._queries, self._rows = self._queries[kept], self._rows[kept]
        self._values, self._margins = self._values[kept], self._margins[kept]
        return farthest

    def count_below(self, threshold: float, exact: PairDistances) -> int:
        """Pairs whose exact distance is below `threshold`."""
        self._join()
        self._settle(threshold, threshold, exact)
        return int(np.count_nonzero(self._values < threshold))

    def settled(self, exact: PairDistances) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """Query rows and exact distances of all pairs."""
        self._join()
        self._settle(-math.inf, math.inf, exact)
        return self._queries, self._values

    def _settle(self, lowest: float, highest: float, exact: PairDistances) -> None:
        """Replace distances that may be inside these limits by the exact ones."""
        unsure = np.flatnonzero(
            (self._margins > 0)
            & (self._values + self._margins >= lowest)
            & (self._values - self._margins <= highest)
        )
        unsure = unsure[np.argsort(self._queries[unsure], kind="stable")]
        queries, starts = np.unique(self._queries[unsure], return_index=True)
        for query_row, pairs in zip(queries, np.split(unsure, starts[1:]), strict=False):
            self._values[pairs] = exact(int(query_row), self._rows[pairs])
        self._margins[unsure] = 0

    def _join(self) -> None:
        """Move what was appended into the arrays."""
        if not self._parts:
            return
        queries, margins, rows, values = zip(*self._parts, strict=True)
        counts = [len(part) for part in rows]
        self._queries = np.concatenate([self._queries, np.repeat(queries, counts)])
        self._rows = np.concatenate([self._rows, *rows])
        self._values = np.concatenate([self._values, *values])
        self._margins = np.concatenate([self._margins, np.repeat(margins, counts)])
        self._parts, self._appended = [], 0
