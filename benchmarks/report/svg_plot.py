"""A plot of medians as inline SVG: one bar per series, with the range of its values."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape
from typing import Final

from benchmarks.measure.rounds import Series, in_words
from benchmarks.report.record import percentiles

_WIDTH: Final = 920
_LABEL: Final = 380
_VALUE: Final = 110
_ROW: Final = 24
_SPAN: Final = _WIDTH - _LABEL - _VALUE
_LOG_FACTOR: Final = 50.0
"""Largest over smallest median beyond which a linear axis would hide the small ones."""


def bars_svg(series: Sequence[Series], *, title: str) -> str:
    """Bars of several series of one unit, in the order given.

    Args:
        series: one or more.
        title: read out in place of the plot.

    Returns:
        An SVG element: bars to the median, a line from the 5th to the 95th percentile. The axis is
        logarithmic where the medians differ by more than a factor of 50.

    Raises:
        ValueError: no series, or two units.
    """
    if len({item.unit for item in series}) != 1:
        raise ValueError(f"a plot has one unit, found {sorted({item.unit for item in series})}")
    ranges = [(percentiles([-v for v in s.values])[1] * -1, s.median, percentiles(s.values)[1])
              for s in series]  # fmt: skip
    medians = [middle for _, middle, _ in ranges]
    high = max(max(one) for one in ranges)
    logarithmic = max(medians) > _LOG_FACTOR * min(medians)
    low = min(min(one) for one in ranges) / 2 if logarithmic else 0.0

    def place(value: float) -> float:
        if logarithmic:
            return _LABEL + _SPAN * math.log(value / low) / math.log(high / low)
        return _LABEL + _SPAN * value / high

    height = _ROW * len(series) + 22
    lines = [
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        'xmlns="http://www.w3.org/2000/svg">'
    ]
    for number, (item, (least, middle, most)) in enumerate(zip(series, ranges, strict=True)):
        top, centre = number * _ROW + 4, number * _ROW + _ROW / 2
        lines += [
            f'<text x="{_LABEL - 8}" y="{centre + 4:.0f}" text-anchor="end">'
            f"{escape(item.title)}</text>",
            f'<rect x="{_LABEL}" y="{top}" width="{max(1, place(middle) - _LABEL):.1f}" '
            f'height="{_ROW - 8}"><title>{escape(item.what)}</title></rect>',
            f'<line x1="{place(least):.1f}" x2="{place(most):.1f}" y1="{centre:.0f}" '
            f'y2="{centre:.0f}"/>',
            f'<text x="{_WIDTH - _VALUE + 8}" y="{centre + 4:.0f}" class="value">'
            f"{escape(in_words(middle, item))}</text>",
        ]
    axis = "logarithmic axis" if logarithmic else "axis from 0"
    lines.append(
        f'<text x="{_LABEL}" y="{height - 5}" class="axis">median, line from the 5th to the 95th '
        f"percentile, {axis}</text></svg>"
    )
    return "\n".join(lines)
