"""Medians side by side as bars, each with the range of its values, for pages and for Markdown.

In: series of one unit. Out: shares of an axis, 0..1, which a page turns into boxes that any width
of a screen has room for.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.measure.rounds import Series, Unit, in_words

_LOG_FACTOR: Final = 50.0
"""Largest over smallest median beyond which a linear axis would hide the small ones."""


_UNITS: Final[dict[Unit, str]] = {
    "s": "Time, shorter is better",
    "images/s": "Images per second, longer is better",
    "FLOP/s": "Arithmetic per second, longer is better",
    "B/s": "Bytes per second, longer is better",
    "B": "Memory, shorter is better",
}


@dataclass(frozen=True)
class Bar:
    """One series.

    Attributes:
        title: of the series.
        what: what was timed.
        words: its median with its unit.
        length: share of the axis up to the median.
        low: likewise, up to the 5th percentile.
        high: likewise, up to the 95th.
    """

    title: str
    what: str
    words: str
    length: float
    low: float
    high: float


@dataclass(frozen=True)
class Bars:
    """Bars on one axis.

    Attributes:
        logarithmic: whether the axis is, from half of the least value; otherwise it begins at 0.
        rows: in the order of the series.
    """

    logarithmic: bool
    rows: tuple[Bar, ...]


def bars(series: Sequence[Series]) -> Bars:
    """Bars of several series of one unit.

    Args:
        series: one or more.

    Returns:
        Bars to the median, with the 5th and the 95th percentile. The axis is logarithmic where the
        medians differ by more than a factor of 50.

    Raises:
        ValueError: no series, or two units.
    """
    if len({item.unit for item in series}) != 1:
        raise ValueError(f"a plot has one unit, found {sorted({item.unit for item in series})}")
    lows = [-percentiles([-value for value in item.values])[1] for item in series]
    highs = [percentiles(item.values)[1] for item in series]
    medians = [item.median for item in series]
    logarithmic = max(medians) > _LOG_FACTOR * min(medians)
    start, end = min(lows) / 2, max(*highs, *medians)

    def share(value: float) -> float:
        return math.log(value / start) / math.log(end / start) if logarithmic else value / end

    rows = (
        Bar(item.title, item.what, in_words(item.median, item), share(item.median), share(low),
            share(high))
        for item, low, high in zip(series, lows, highs, strict=True)
    )  # fmt: skip
    return Bars(logarithmic, tuple(rows))


def plot_groups(series: Sequence[Series]) -> list[tuple[str, list[Series]]]:
    """The plots of a record: series of one unit and one batch size side by side.

    Args:
        series: of the record.

    Returns:
        Title and series of each plot, in the order of the record.
    """
    groups: dict[str, list[Series]] = {}
    for item in series:
        batch = re.match(r"b(\d+)/", item.key)
        title = _UNITS[item.unit] + (f", batch {batch[1]}" if batch else "")
        groups.setdefault(title, []).append(item)
    return list(groups.items())


def percentiles(values: Sequence[float]) -> tuple[float, float, float]:
    """p50, p95 and p99 of values, interpolated linearly between neighbours."""
    p50, p95, p99 = np.percentile(values, (50, 95, 99)).tolist()
    return p50, p95, p99
