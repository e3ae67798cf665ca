"""Magnitudes of activations, and the thresholds of the three rules."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mtml_deploy.precision.histogram import (
    BINS,
    LEVELS,
    PERCENTILE,
    Histogram,
    _divergence,
    threshold,
)


def histogram(*parts: np.ndarray) -> Histogram:
    found = Histogram()
    for part in parts:
        found = found.with_values(np.asarray(part, np.float32))
    return found


def test_counts_by_hand() -> None:
    found = histogram(np.array([0.0, -1.0, 0.5, 3.0, 0.0]))
    assert (found.peak, found.limit) == (3.0, 4.0)
    # bins of 4 / 4096; zeros are left out
    assert {int(i): int(found.counts[i]) for i in np.flatnonzero(found.counts)} == {
        512: 1,
        1024: 1,
        3072: 1,
    }


def test_the_largest_magnitude_is_in_the_last_bin() -> None:
    assert histogram(np.array([4.0])).counts[-1] == 1


@given(st.lists(st.lists(st.floats(-1e4, 1e4, width=32), min_size=1), min_size=1, max_size=5))
def test_parts_in_any_order_give_one_histogram(parts: list[list[float]]) -> None:
    arrays = [np.array(part, np.float32) for part in parts]
    together = histogram(np.concatenate(arrays))
    for order in (arrays, arrays[::-1]):
        found = histogram(*order)
        assert (found.limit, found.peak) == (together.limit, together.peak)
        np.testing.assert_array_equal(found.counts, together.counts)
    magnitudes = np.abs(np.concatenate(arrays))
    if together.peak:
        expected, _ = np.histogram(
            magnitudes[magnitudes > 0].astype(np.float64), BINS, (0, together.limit)
        )
        np.testing.assert_array_equal(together.counts, expected)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_no_number_is_refused(value: float) -> None:
    with pytest.raises(ValueError, match="not finite"):
        histogram(np.array([1.0, value]))


def test_minmax_takes_the_largest() -> None:
    assert threshold(histogram(np.array([-7.5, 2.0])), "minmax") == 7.5


@pytest.mark.parametrize("rule", ["minmax", "percentile", "entropy"])
def test_an_activation_that_is_always_zero(rule) -> None:
    assert threshold(histogram(np.zeros(5)), rule) == 0.0


def test_percentile_by_counting() -> None:
    values = np.concatenate([np.linspace(0.001, 1.0, 100_000), [64.0] * 5, np.zeros(100_000)])
    found = threshold(histogram(values), "percentile")
    # zeros do not count: ten of the others may lie beyond, and five do by far
    exact = np.sort(values[values > 0])[math.ceil(PERCENTILE / 100 * 100_005) - 1]
    assert exact <= found <= exact + 64 / BINS


def test_entropy_cuts_a_far_outlier_and_keeps_a_full_range() -> None:
    random = np.random.default_rng(0)
    body = np.abs(random.normal(0, 1, 50_000))
    assert threshold(histogram(body, np.array([100.0])), "entropy") < 20
    flat = random.uniform(0, 10, 50_000)
    assert threshold(histogram(flat), "entropy") > 9.5


def test_few_values_keep_their_range() -> None:
    assert threshold(histogram(np.array([1.0, 2.0, 3.0])), "entropy") == 3.0


def test_divergence_by_plain_loops() -> None:
    counts = np.zeros(BINS, np.int64)
    counts[:300] = np.random.default_rng(1).integers(0, 50, 300)
    counts[255] = 7  # the last kept bin must not be empty
    kept = 256
    reference = [float(count) for count in counts[:kept]]
    levels = [0.0] * kept
    for level in range(LEVELS):  # two bins a level
        pair = [2 * level, 2 * level + 1]
        there = [i for i in pair if reference[i]]
        for i in there:
            levels[i] = sum(reference[j] for j in pair) / len(there)
    reference[-1] += float(counts[kept:].sum())
    total, kept_total = sum(reference), sum(levels)
    expected = sum(
        p / total * math.log((p / total) / (q / kept_total))
        for p, q in zip(reference, levels, strict=True)
        if p
    )
    assert _divergence(counts, kept) == pytest.approx(expected, rel=1e-12)
