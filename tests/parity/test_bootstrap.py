"""The bootstrap of the gate gives the interval that SciPy's gives."""

import numpy as np
import pytest
from scipy import stats

from mtml_deploy.parity.bootstrap import RESAMPLES, paired_change

SCIPY_RESAMPLES = 20_000

CHANCE = 4 * np.sqrt(0.025 * 0.975 * (1 / RESAMPLES + 1 / SCIPY_RESAMPLES)) / 0.05845
"""Largest difference of an end, in standard deviations of the mean: four standard errors of the
difference of two 2.5 % quantiles of a normal distribution (density there: 0.05845), each from so
many resamples. The ends of a 90 % interval would be 0.32 away."""


def differences(kind: str, queries: int) -> np.ndarray:
    """Changes of average precision as a gate sees them, float64 [Q]."""
    random = np.random.default_rng(queries)
    if kind == "even":
        return random.normal(0.002, 0.01, size=queries)
    # most queries do not change at all, a few get worse
    return np.where(random.random(queries) < 0.2, -random.exponential(0.05, size=queries), 0.0)


@pytest.mark.parametrize("kind", ["even", "skewed"])
@pytest.mark.parametrize("queries", [60, 400])
def test_the_interval_is_that_of_scipy(kind: str, queries: int) -> None:
    change = differences(kind, queries)
    reference = np.random.default_rng(1).random(queries)
    found = paired_change(reference, reference + change)
    expected = stats.bootstrap(
        (change,),
        np.mean,
        n_resamples=SCIPY_RESAMPLES,
        confidence_level=0.95,
        method="percentile",
        rng=np.random.default_rng(2),
    ).confidence_interval
    deviation = change.std() / np.sqrt(queries)
    assert found.low == pytest.approx(expected.low, abs=CHANCE * deviation)
    assert found.high == pytest.approx(expected.high, abs=CHANCE * deviation)
    assert 3 * deviation < found.high - found.low < 5 * deviation
