"""A plot of medians as inline SVG: one bar per series, with the range of its values.

In: series of one unit. Out: an SVG element without identifiers, dates or versions, whose text and
bars take their colours from the page by the classes `bar`, `range` and `axis`.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from html import escape
from typing import Any, Final

from benchmarks.measure.rounds import Series, in_words
from benchmarks.report.record import percentiles
from mtml_deploy.errors import MissingExtraError

_WIDTH: Final = 920
_LABEL: Final = 380
_VALUE: Final = 110
_ROW: Final = 24
_FOOT: Final = 22
_SPAN: Final = _WIDTH - _LABEL - _VALUE
_POINTS: Final = 72
"""Per inch: all lengths here are points, which are the SVG's own unit."""

_LOG_FACTOR: Final = 50.0
"""Largest over smallest median beyond which a linear axis would hide the small ones."""

_STYLE: Final[dict[Any, Any]] = {
    "svg.hashsalt": "bars",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that every machine has it
}
_NOTHING: Final = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def bars_svg(series: Sequence[Series], *, title: str) -> str:
    """Bars of several series of one unit, in the order given.

    Args:
        series: one or more.
        title: read out in place of the plot.

    Returns:
        An SVG element: bars to the median, a line from the 5th to the 95th percentile. The axis is
        logarithmic where the medians differ by more than a factor of 50. Equal series give equal
        text.

    Raises:
        MissingExtraError: matplotlib is not installed.
        ValueError: no series, or two units.
    """
    if len({item.unit for item in series}) != 1:
        raise ValueError(f"a plot has one unit, found {sorted({item.unit for item in series})}")
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("drawing benchmarks needs matplotlib", "bench") from error
    ranges = [(percentiles([-v for v in s.values])[1] * -1, s.median, percentiles(s.values)[1])
              for s in series]  # fmt: skip
    medians = [middle for _, middle, _ in ranges]
    logarithmic = max(medians) > _LOG_FACTOR * min(medians)
    start = min(map(min, ranges)) / 2 if logarithmic else 0.0
    height = _ROW * len(series) + _FOOT
    file = io.StringIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH / _POINTS, height / _POINTS))
        figure.patch.set_visible(False)
        axes = figure.add_axes(
            (_LABEL / _WIDTH, _FOOT / height, _SPAN / _WIDTH, 1 - _FOOT / height), frame_on=False
        )
        axes.set_axis_off()
        axes.set_xscale("log" if logarithmic else "linear")
        axes.set(xlim=(start, max(map(max, ranges))), ylim=(len(series), 0))
        across = axes.get_yaxis_transform()  # x in widths of the axes, y in rows
        for number, (item, (low, middle, high)) in enumerate(zip(series, ranges, strict=True)):
            centre = number + 0.5
            # black is what a page may colour: it is left out of the file
            axes.barh(centre, middle - start, 0.65, start, color="k", gid="bar", clip_on=False)
            axes.plot([low, high], [centre, centre], color="k", lw=2, gid="range", clip_on=False,
                      solid_capstyle="butt")  # fmt: skip
            words = in_words(middle, item)
            for place, text, side in ((-8, item.title, "right"), (_SPAN + 8, words, "left")):
                axes.text(place / _SPAN, centre, text, ha=side, va="center", size=12,
                          transform=across)  # fmt: skip
        kind = "logarithmic axis" if logarithmic else "axis from 0"
        figure.text(_LABEL / _WIDTH, 5 / height, size=11, gid="axis",
                    s=f"median, line from the 5th to the 95th percentile, {kind}")  # fmt: skip
        figure.savefig(file, format="svg", metadata=_NOTHING)
    # matplotlib's own head and identifiers would act on the whole page
    drawn = file.getvalue().partition("</defs>")[2].rstrip()
    drawn = re.sub(r'<g id="(bar|range|axis)">', r'<g class="\1">', drawn)
    drawn = re.sub(r'<g id="[^"]*">', "<g>", drawn)
    shown = iter(f'<g class="bar"><title>{escape(item.what)}</title>' for item in series)
    drawn = re.sub(r'<g class="bar">', lambda _: next(shown), drawn)
    return (
        f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(title)}" '
        f'xmlns="http://www.w3.org/2000/svg">{drawn}'
    )
