"""Magnitudes of an activation over many images, and the largest one worth an int8 step.

In: float32 activations, a few images at a time. Out: a `Histogram`, and thresholds by three rules.
NumPy only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.precision.options import Calibrator

BINS: Final = 4096
"""Bins up to `Histogram.limit`; at least half of them are below the largest magnitude."""

LEVELS: Final = 128
"""Magnitudes an int8 number can tell apart."""

PERCENTILE: Final = 99.99
"""Share of the magnitudes that the percentile rule keeps, in percent."""

_STEP: Final = 16
"""Bins between two thresholds that the entropy rule tries."""


def _no_counts() -> NDArray[np.int64]:
    return np.zeros(BINS, dtype=np.int64)


@dataclass(frozen=True)
class Histogram:
    """How often each magnitude occurred.

    Attributes:
        counts: int64 [BINS], magnitudes above 0 in equal bins from 0 to `limit`. Exact zeros, most
            of what a ReLU gives, are left out: every step represents them without error.
        limit: upper end of the last bin, a power of two, so that two histograms' bins line up.
        peak: largest magnitude.
    """

    counts: NDArray[np.int64] = field(default_factory=_no_counts)
    limit: float = 2.0**-24
    peak: float = 0.0

    def with_values(self, values: NDArray[np.float32]) -> Histogram:
        """This histogram and more values.

        Args:
            values: float32 of any shape, finite.

        Returns:
            The new histogram.

        Raises:
            ValueError: a value is not finite.
        """
        magnitudes = np.abs(values).ravel()
        peak = float(magnitudes.max(initial=0.0))
        if not math.isfinite(peak):
            raise ValueError("an activation is not finite")
        limit = self.limit
        while limit < peak:
            limit *= 2
        ratio = min(BINS, round(limit / self.limit)) if self.peak else 1
        counts = _no_counts()
        counts[: BINS // ratio] = self.counts.reshape(-1, ratio).sum(axis=1)
        # the product is exact but for the last bin's end: limit is a power of two
        bins = (magnitudes[magnitudes > 0] * np.float32(BINS / limit)).astype(np.int32)
        counts += np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)
        return Histogram(counts, limit, max(self.peak, peak))


def threshold(histogram: Histogram, rule: Calibrator) -> float:
    """The magnitude that becomes the largest int8 number; larger ones are cut to it.

    Args:
        histogram: of one activation.
        rule: "minmax": the largest magnitude seen. "percentile": `PERCENTILE` percent of the
            magnitudes above zero are at most this. "entropy": the threshold whose 128 levels lose
            least information about the distribution of magnitudes (least Kullback-Leibler
            divergence; Migacz, 8-bit inference with TensorRT, GTC 2017).

    Returns:
        0 < threshold <= peak; 0 where every value was 0.
    """
    if rule == "minmax" or histogram.peak == 0:
        return histogram.peak
    width = histogram.limit / BINS
    if rule == "percentile":
        running = np.cumsum(histogram.counts)
        last = int(np.searchsorted(running, PERCENTILE / 100 * running[-1]))
        return min(histogram.peak, (last + 1) * width)
    return min(histogram.peak, _least_divergence(histogram.counts) * width)


def _least_divergence(counts: NDArray[np.int64]) -> int:
    """Number of bins kept by the entropy rule."""
    used = int(np.flatnonzero(counts)[-1]) + 1
    best, best_divergence = used, math.inf
    for kept in (*range(LEVELS, used, _STEP), used):
        divergence = _divergence(counts, kept) if kept > LEVELS else math.inf
        if divergence < best_divergence:
            best, best_divergence = kept, divergence
    return best


def _divergence(counts: NDArray[np.int64], kept: int) -> float:
    """Divergence of `kept` bins, what lies beyond cut to the last, from their 128 levels."""
    source = counts[:kept].astype(np.float64)
    cut = source.copy()
    cut[-1] += counts[kept:].sum()
    edges = np.linspace(0, kept, LEVELS + 1).astype(np.int64)
    sums = np.add.reduceat(source, edges[:-1])
    occupied = np.add.reduceat((source > 0).astype(np.float64), edges[:-1])
    levels = np.repeat(sums / np.maximum(occupied, 1), np.diff(edges))
    levels[source == 0] = 0
    there = cut > 0
    if not levels.sum() or (levels[there] == 0).any():
        return math.inf  # a magnitude that occurs would get no level
    share, kept_share = cut[there] / cut.sum(), levels[there] / levels.sum()
    return float(np.sum(share * np.log(share / kept_share)))
