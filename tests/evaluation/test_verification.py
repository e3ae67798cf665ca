"""True positive rates at fixed false positive rates: by hand, and against sorting all pairs."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mtml_deploy.evaluation import verification
from mtml_deploy.evaluation.verification import Verification, VerificationPairs

SMALL_RATES = (20, 10, 4)  # small sets have few negative pairs


@pytest.fixture
def small_rates(monkeypatch):
    monkeypatch.setattr(verification, "ONE_IN", SMALL_RATES)


def collect(exact, takes_part, matches, *, margin=0.0, noise=0.0, seed=0):
    """Feed float64 [Q, G] distances, infinite where left out, each with an error up to `noise`."""
    rng = np.random.default_rng(seed)
    asked = []

    def exactly(query_row, rows):
        asked.extend((query_row, row) for row in rows.tolist())
        return exact[query_row, rows]

    pairs = VerificationPairs(np.array(takes_part), gallery_size=exact.shape[1], exact=exactly)
    for row, distances in enumerate(exact):
        near = distances + rng.uniform(-noise, noise, size=len(distances))
        pairs.add(row, near, np.flatnonzero(matches[row] & np.isfinite(distances)), margin=margin)
    return pairs.result(), asked


def by_sorting(exact, takes_part, matches):
    """Every threshold there is, tried one after the other."""
    positive, negative = [], []
    for q in range(exact.shape[0]):
        for g in range(exact.shape[1]):
            if takes_part[q] and np.isfinite(exact[q, g]):
                (positive if matches[q, g] else negative).append(exact[q, g])
    rates, thresholds = [], []
    for one_in in verification.ONE_IN:
        if not positive or len(negative) < one_in:
            rates.append(None)
            thresholds.append(None)
            continue
        # so many may be accepted; the next one, and what is as far, is refused
        thresholds.append(sorted(negative)[len(negative) // one_in])
        best = 0.0
        # accept what is nearer than the threshold
        for threshold in [*sorted(set(positive + negative)), np.inf]:
            false = sum(d < threshold for d in negative)
            if false * one_in <= len(negative):
                best = max(best, sum(d < threshold for d in positive) / len(positive))
        rates.append(best)
    return Verification(len(positive), len(negative), tuple(rates), tuple(thresholds))


def test_by_hand(small_rates):
    # one query, 20 other images at 1, 2, ..., 20 and matches at 0.5, 2, 2.5, 5.5, 30
    exact = np.array([[*range(1, 21), 0.5, 2, 2.5, 5.5, 30]], dtype=np.float64)
    matches = np.array([[False] * 20 + [True] * 5])
    found, _ = collect(exact, [True], matches)
    # 1 in 20: one other image may be accepted, so the threshold is 2, which refuses the match at 2;
    # 1 in 10: two, threshold 3; 1 in 4: five, threshold 6
    assert found == Verification(5, 20, (1 / 5, 3 / 5, 4 / 5), (2, 3, 6))


def test_too_few_other_pairs_have_no_rate(small_rates):
    exact = np.arange(11, dtype=np.float64)[None]
    matches = np.array([[True] + [False] * 10])
    assert collect(exact, [True], matches)[0] == Verification(
        1, 10, (None, 1.0, 1.0), (None, 2.0, 3.0)
    )
    none = (None, None, None)
    assert collect(exact, [True], ~matches)[0] == Verification(10, 1, none, none)
    assert collect(exact, [True], matches & False)[0] == Verification(0, 11, none, none)


def test_equal_distances_are_on_one_side_of_the_threshold(small_rates):
    # 20 other images, four of them at 1, the rest at 5: none of the four may be accepted at 1 in 20
    # and 1 in 10, so the threshold is 1, which refuses the match at 1 too; at 1 in 4 it is 5
    exact = np.array([[1.0] * 4 + [5.0] * 16 + [0.5, 1.0, 4.0, 5.0]])
    matches = np.array([[False] * 20 + [True] * 4])
    found, _ = collect(exact, [True], matches)
    assert found == Verification(4, 20, (1 / 4, 1 / 4, 3 / 4), (1, 1, 5))


def test_squared_distances_are_told_as_distances(small_rates):
    exact = np.array([[*range(1, 21), 0.5]], dtype=np.float64)
    pairs = VerificationPairs(
        np.array([True]),
        gallery_size=21,
        exact=lambda row, rows: exact[row, rows] ** 2,
        squared="squared",
    )
    pairs.add(0, exact[0] ** 2, np.array([20]), margin=0.0)
    assert pairs.result().distances == (2, 3, 6)


def test_the_real_rates_are_counted_in_whole_pairs():
    # 30,000 other pairs: 3, 30 and 300 may be accepted; a match lies behind each such rank
    distances = np.sort(np.concatenate([np.arange(30_000), [2.5, 3.5, 29.5, 300.5]]))
    exact = distances[None]
    matches = (distances % 1 == 0.5)[None]
    found, _ = collect(exact, [True], matches)
    assert found == Verification(4, 30_000, (1 / 4, 3 / 4, 3 / 4), (3, 30, 300))


def test_queries_of_unknown_vehicle_do_not_take_part(small_rates):
    exact = np.array([[0.0, *range(1, 21)], [0.0] * 21])
    matches = np.zeros((2, 21), dtype=bool)
    matches[0, 0] = True
    assert collect(exact, [True, False], matches)[0] == Verification(
        1, 20, (1.0, 1.0, 1.0), (2, 3, 6)
    )
    assert collect(exact, [True, True], matches)[0].tpr == (0.0, 0.0, 0.0)


def test_only_pairs_near_a_threshold_are_compared_again(small_rates):
    rng = np.random.default_rng(0)
    exact = rng.permutation(2000).reshape(20, 100).astype(np.float64)
    matches = rng.random((20, 100)) < 0.1
    found, asked = collect(exact, [True] * 20, matches, margin=0.4, noise=0.4)
    assert found == by_sorting(exact, [True] * 20, matches)
    assert 0 < len(asked) < 200


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(verification, "ONE_IN", (1000, 500, 200))
    most = 0
    rng = np.random.default_rng(0)
    pairs = VerificationPairs(
        np.ones(500, dtype=bool), gallery_size=400, exact=lambda row, rows: np.empty(0)
    )
    for row in range(500):
        pairs.add(row, rng.random(400), np.empty(0, dtype=np.int64), margin=0.0)
        most = max(most, len(pairs._negative))
    # 1 in 200 of 200,000 pairs, twice, and one query's
    assert 0 < most <= 2 * 1001 + 400


def test_what_is_dropped_early_is_never_missed(monkeypatch):
    monkeypatch.setattr(verification, "ONE_IN", (200, 100, 50))
    rng = np.random.default_rng(0)
    exact = rng.integers(0, 100, size=(200, 30)).astype(np.float64)
    matches = rng.random((200, 30)) < 0.1
    found, _ = collect(exact, [True] * 200, matches, margin=20.0, noise=20.0)
    assert found == by_sorting(exact, [True] * 200, matches)


@st.composite
def pair_tables(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    shape = draw(st.integers(1, 12)), draw(st.integers(1, 60))
    steps = draw(st.sampled_from([1, 3, 50, 10**6]))  # few steps: many ties
    exact = rng.integers(0, steps, size=shape).astype(np.float64)
    exact[rng.random(shape) < draw(st.sampled_from([0, 0.2]))] = np.inf
    matches = rng.random(shape) < draw(st.sampled_from([0, 0.1, 0.5]))
    noise = draw(st.sampled_from([0.0, 0.3, 3.0, 1e7]))
    return exact, rng.random(shape[0]) < 0.8, matches, noise


@settings(deadline=None, max_examples=300)
@given(pair_tables())
def test_equals_trying_every_threshold(table):
    exact, takes_part, matches, noise = table
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verification, "ONE_IN", SMALL_RATES)
        expected = by_sorting(exact, takes_part, matches)
        found, _ = collect(exact, takes_part, matches, margin=noise, noise=noise)
    assert found == expected
