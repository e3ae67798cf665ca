"""The distance at a false positive rate: by hand, against plain loops, and its interval."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from helpers_embeddings import embedded

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import ProtocolError
from mtml_deploy.evaluation import calibration
from mtml_deploy.evaluation.calibration import Interval, calibrate
from mtml_deploy.evaluation.protocols import find_protocol

PLAIN = find_protocol("plain")


def points(values, vehicles, cameras=None) -> Embeddings:
    return embedded(
        [[value] for value in values],
        vehicles,
        cameras,
        names=(f"{each}.png" for each in range(len(values))),
        source="line",
    )


def below(value: float) -> float:
    return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


def test_by_hand():
    # one query of vehicle 7 at 0; others at 1, 2, ..., 20; matches at 0.5, 2, 2.5, 5.5 and 30
    gallery = points([*range(1, 21), 0.5, 2, 2.5, 5.5, 30], [1] * 20 + [7] * 5)
    query = points([0], [7])
    # 1 of 20 may be accepted: the other at 1; the one at 2, and with it the match at 2, may not
    found = calibrate(query, gallery, PLAIN, fpr=Fraction(1, 20))
    assert found.distance == below(2) and found.tpr == 1 / 5
    assert (found.positives, found.negatives, found.accepted_negatives) == (5, 20, 1)
    assert (found.queries, found.vehicles) == (1, 1)
    assert found.interval is None and found.tpr_interval is None  # one vehicle
    # 5 of 20, and 5.9 of 20 are five as well
    for fpr in (Fraction(1, 4), Fraction(59, 200)):
        found = calibrate(query, gallery, PLAIN, fpr=fpr)
        assert (found.distance, found.tpr, found.accepted_negatives) == (below(6), 4 / 5, 5)


def test_equal_distances_are_refused_together():
    # four others at 1: accepting one is accepting all, 4 of 20, which is more than 3 of 20
    gallery = points([1, 1, -1, -1, *[9] * 16, 0.5, 1], [1] * 20 + [7] * 2)
    found = calibrate(points([0], [7]), gallery, PLAIN, fpr=Fraction(3, 20))
    assert (found.distance, found.tpr, found.accepted_negatives) == (below(1), 1 / 2, 0)
    found = calibrate(points([0], [7]), gallery, PLAIN, fpr=Fraction(4, 20))
    assert (found.distance, found.tpr, found.accepted_negatives) == (below(9), 1.0, 4)


def test_what_cannot_be_calibrated_is_told():
    gallery = points([*range(1, 10), 0.5], [1] * 9 + [7])
    with pytest.raises(ProtocolError, match=r"9 pairs of line and line do not match, expected 10"):
        calibrate(points([0], [7]), gallery, PLAIN, fpr=Fraction(1, 10))
    copies = points([*[0] * 10, 0.5], [1] * 10 + [7])
    with pytest.raises(ProtocolError, match="at distance 0, expected images that differ"):
        calibrate(points([0], [7]), copies, PLAIN, fpr=Fraction(1, 10))
    with pytest.raises(ProtocolError, match=r"has a match|in common"):
        calibrate(points([0], [3]), gallery, PLAIN, fpr=Fraction(1, 9))


def test_junk_and_unknown_vehicles_take_no_part():
    query = points([0, 0], [7, -1], [1, 1])
    gallery = points([0, *range(1, 11), 0.5], [7] + [1] * 10 + [7], [1] + [2] * 10 + [2])
    found = calibrate(query, gallery, find_protocol("veri776"), fpr=Fraction(1, 10))
    # its own camera's image is left out, and the pairs of the unknown query are
    assert (found.positives, found.negatives, found.queries) == (1, 10, 1)
    assert (found.distance, found.tpr) == (below(2), 1.0)


def by_loops(query, gallery, drawn, fpr):
    """The same of queries that count as often as their vehicle was drawn, pair by pair."""
    positive, negative = [], []
    for row in range(len(query)):
        vehicle = int(query.vehicle_ids[row])
        for other in range(len(gallery)):
            gap = np.float64(query.features[row, 0]) - np.float64(gallery.features[other, 0])
            distance = float(np.float32(abs(gap)))
            same = vehicle == gallery.vehicle_ids[other]
            (positive if same else negative).extend([distance] * drawn[vehicle])
    allowed = int(len(negative) * fpr)
    refused = sorted(negative)[allowed]
    return below(refused), sum(each < refused for each in positive) / len(positive)


def random_sets(seed: int) -> tuple[Embeddings, Embeddings]:
    rng = np.random.default_rng(seed)
    vehicles = rng.integers(0, 6, 18)
    places = rng.integers(0, 40, 6)
    return (
        points(places[vehicles] + rng.integers(-4, 5, 18), vehicles),
        points(places[rng.integers(0, 6, 30)] + rng.integers(-4, 5, 30), rng.integers(0, 6, 30)),
    )


@pytest.mark.parametrize("seed", range(5))
def test_interval_is_that_of_drawing_vehicles_by_loops(seed, monkeypatch):
    monkeypatch.setattr(calibration, "RESAMPLES", 40)
    monkeypatch.setattr(calibration, "_BEYOND", 100)  # all pairs are kept
    query, gallery = random_sets(seed)
    fpr = Fraction(1, 12)
    found = calibrate(query, gallery, PLAIN, fpr=fpr, seed=3)
    vehicles = np.unique(query.vehicle_ids)
    once = dict.fromkeys(vehicles.tolist(), 1)
    assert (found.distance, found.tpr) == by_loops(query, gallery, once, fpr)
    rng = np.random.default_rng(3)
    each = []
    for _ in range(40):
        numbers = rng.choice(np.arange(len(vehicles)), len(vehicles)).tolist()
        drawn = {vehicle: numbers.count(at) for at, vehicle in enumerate(vehicles.tolist())}
        each.append(by_loops(query, gallery, drawn, fpr))
    # of 40, one is left out at each end
    distances, shares = (sorted(values) for values in zip(*each, strict=True))
    assert found.interval == Interval(max(distances[1], 0), distances[38])
    assert found.tpr_interval == Interval(shares[1], shares[38])


def test_an_end_beyond_the_kept_pairs_is_open(monkeypatch):
    # vehicle 0 has all near strangers; without it the threshold is far away
    monkeypatch.setattr(calibration, "_BEYOND", 1)
    query = points([0, 100, 200], [0, 1, 2])
    gallery = points([1, 2, 3, 4, 0, 100, 200], [9, 9, 9, 9, 0, 1, 2])
    found = calibrate(query, gallery, PLAIN, fpr=Fraction(1, 6))
    assert found.interval is not None and found.interval.high is None
    assert found.interval.low <= found.distance
    assert (found.vehicles, found.negatives) == (3, 18)
