"""The distance up to which two images are taken for one vehicle, at a false positive rate.

In: labelled query and gallery embeddings. Out: `Calibration`: the distance, what it accepts, and
how far both would move with other vehicles.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings, require_comparable
from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation.match_ranks import match_ranks
from mtml_deploy.evaluation.metrics import relevance
from mtml_deploy.evaluation.no_match import require_match
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.evaluation.verification import VerificationPairs
from mtml_deploy.search.distance_blocks import PlainOrder

RESAMPLES: Final = 1000
"""The ends of a 95 % interval are then the 25th values from each side."""

_BEYOND: Final = 4
"""Pairs are kept up to so many times the rate: a resample may reach its threshold there."""


@dataclass(frozen=True)
class Interval:
    """The middle 95 % of the resamples.

    Attributes:
        low: lower end.
        high: upper end; None where it lies beyond the pairs that were kept.
    """

    low: float
    high: float | None


@dataclass(frozen=True)
class Calibration:
    """A distance, and what it accepts; a pair is accepted at the distance and below.

    Attributes:
        distance: L2 distance, a float32 value.
        interval: of the distance; None with a single vehicle.
        tpr: share of the matching pairs that it accepts.
        tpr_interval: of that share.
        positives: matching pairs.
        negatives: other pairs.
        accepted_negatives: of these, at the distance and below.
        queries: that took part.
        vehicles: of these queries.
    """

    distance: float
    interval: Interval | None
    tpr: float
    tpr_interval: Interval | None
    positives: int
    negatives: int
    accepted_negatives: int
    queries: int
    vehicles: int


@dataclass(frozen=True)
class _Pairs:
    """Pairs in order of their distance.

    Attributes:
        distances: float32 [n], ascending, as searches tell them.
        vehicles: int64 [n], number of the query's vehicle.
    """

    distances: NDArray[np.float32]
    vehicles: NDArray[np.int64]

    @classmethod
    def of(
        cls, squares: NDArray[np.float64], rows: NDArray[np.int64], vehicles: NDArray[np.int64]
    ) -> _Pairs:
        """From squared distances and query rows."""
        distances = np.sqrt(squares).astype(np.float32)
        order = np.argsort(distances, kind="stable")
        return cls(distances[order], vehicles[rows[order]])


def calibrate(
    query: Embeddings,
    gallery: Embeddings,
    protocol: Protocol,
    *,
    fpr: Fraction,
    seed: int = 0,
    memory_bytes: int | None = None,
) -> Calibration:
    """The largest distance that accepts at most a share of the pairs that do not match.

    The intervals are percentiles of a bootstrap over vehicles: all queries of a vehicle are drawn
    together, because what makes a vehicle hard makes all its images hard. The gallery stays.

    Args:
        query: Q labelled embeddings.
        gallery: G labelled embeddings of the same model.
        protocol: which gallery images take part.
        fpr: the share, above 0 and below 1.
        seed: of the draws.
        memory_bytes: see `PlainOrder`.

    Returns:
        The distance, just below that of the nearest pair that must not be accepted any more; equal
        distances are accepted or refused together.

    Raises:
        EmbeddingsError: the two sets were made by different models.
        ProtocolError: labels are missing, no query has a match, the pairs that do not match are too
            few for the rate, or so many of them are equal that no distance accepts so few.
    """
    require_comparable(query, gallery)
    matches, excluded, known = relevance(query, gallery, protocol, None)
    require_match(query, gallery, protocol)
    order = PlainOrder(query.features, gallery.features, memory_bytes=memory_bytes)
    pairs = VerificationPairs(
        known,
        gallery_size=len(gallery),
        exact=order.distances,
        most=min(Fraction(1), fpr * _BEYOND),
    )
    match_ranks(order, matches=matches, excluded=excluded, pairs=pairs)
    positives_of, negatives_of = pairs.counts
    positives, negatives = int(positives_of.sum()), int(negatives_of.sum())
    if negatives * fpr < 1:
        raise ProtocolError(
            f"{negatives} pairs of {query.source} and {gallery.source} do not match, expected "
            f"{-(-1 // fpr)} and more for a false positive rate of {float(fpr):g}; give more "
            "images, or a larger --fpr"
        )
    # vehicles by number, those of queries that take part only
    ids, vehicles = np.unique(query.vehicle_ids, return_inverse=True)
    near = pairs.near()
    positive = _Pairs.of(near.positive_distances, near.positive_queries, vehicles)
    negative = _Pairs.of(near.negative_distances, near.negative_queries, vehicles)
    sums = [
        np.bincount(vehicles, weights=counts, minlength=len(ids)).astype(np.int64)
        for counts in (positives_of, negatives_of)
    ]
    taking_part = np.unique(vehicles[known])
    once = np.ones(len(ids), dtype=np.int64)
    distance, tpr = _at(once, positive, negative, sums, fpr)
    if distance < 0:
        raise ProtocolError(
            f"more than {float(fpr):g} of the pairs of {query.source} and {gallery.source} that do "
            "not match are at distance 0, expected images that differ; look for copies under two "
            "vehicle ids"
        )
    intervals: tuple[Interval | None, Interval | None] = (None, None)
    if len(taking_part) > 1:
        intervals = _intervals(taking_part, positive, negative, sums, fpr, seed)
    return Calibration(
        distance=distance,
        interval=intervals[0],
        tpr=tpr,
        tpr_interval=intervals[1],
        positives=positives,
        negatives=negatives,
        accepted_negatives=int(np.count_nonzero(negative.distances <= np.float32(distance))),
        queries=int(np.count_nonzero(known)),
        vehicles=len(taking_part),
    )


def _at(
    drawn: NDArray[np.int64],
    positive: _Pairs,
    negative: _Pairs,
    sums: list[NDArray[np.int64]],
    fpr: Fraction,
) -> tuple[float, float]:
    """Distance and share of accepted matching pairs, each vehicle counted as often as drawn.

    The distance is infinite where it lies beyond the pairs that were kept.
    """
    positives, negatives = (int(drawn @ each) for each in sums)
    allowed = negatives * fpr.numerator // fpr.denominator
    accepted = np.cumsum(drawn[negative.vehicles])
    first = int(np.searchsorted(accepted, allowed, side="right"))
    if first == len(accepted):
        return float("inf"), float("nan")
    refused = negative.distances[first]
    # the largest value that is still below: what is told as equal is refused together
    distance = np.nextafter(refused, np.float32(-np.inf))
    near = int(np.searchsorted(positive.distances, refused, side="left"))
    share = int(drawn[positive.vehicles[:near]].sum()) / positives if positives else float("nan")
    return float(distance), share


def _intervals(
    vehicles: NDArray[np.int64],
    positive: _Pairs,
    negative: _Pairs,
    sums: list[NDArray[np.int64]],
    fpr: Fraction,
    seed: int,
) -> tuple[Interval | None, Interval | None]:
    """Of the distance and of the share of accepted matching pairs."""
    rng = np.random.default_rng(seed)
    found = np.empty((RESAMPLES, 2))
    for number in range(RESAMPLES):
        drawn = np.bincount(rng.choice(vehicles, len(vehicles)), minlength=len(sums[0]))
        found[number] = _at(drawn.astype(np.int64), positive, negative, sums, fpr)
    return _middle(np.maximum(found[:, 0], 0)), _middle(found[~np.isnan(found[:, 1]), 1])


def _middle(values: NDArray[np.float64]) -> Interval | None:
    """The middle 95 % of values, whose ends are among them; None where there is none."""
    ordered = np.sort(values)
    beside = len(ordered) // 40
    if not np.isfinite(ordered[beside : beside + 1]).any():
        return None
    high = float(ordered[len(ordered) - 1 - beside])
    return Interval(float(ordered[beside]), high if np.isfinite(high) else None)
