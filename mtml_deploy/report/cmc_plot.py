"""The CMC curves of one or more models as a picture, .png or .svg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.figure import look, plot_kind, plotted
from mtml_deploy.text import percent, shortened

if TYPE_CHECKING:
    from mtml_deploy.figure import Figure

_MAKER: Final = "mtml-deploy evaluate"

CMC_PLOT: Final = plot_kind(_MAKER)
"""By the maker that PNG and SVG files name."""

_RANKS: Final = (1, 5, 10)
"""Marked on each curve, with their values in the legend."""

_TICKS: Final = (1, 2, 3, 5, 10, 20, 50, 100)

_LABEL: Final = 44
"""Characters of a label that the legend has room for."""


class Curve(Protocol):
    """What is drawn: metrics of an evaluation, or what was read back of one."""

    @property
    def cmc(self) -> NDArray[np.float64]:
        """Float64 [K], fractions 0..1."""

    @property
    def mean_ap(self) -> float:
        """A fraction 0..1."""

    @property
    def protocol(self) -> str:
        """Name of the rule."""


def write_cmc_plot(path: Path, curves: Mapping[str, Curve]) -> None:
    """Draw CMC curves into a file; equal input gives equal bytes.

    Args:
        path: ends in .png or .svg; replaced if it exists (callers ask first).
        curves: metrics by label, drawn in this order; of several draws their mean.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MtmlError: another suffix.
        ValueError: no curve.
    """
    if not curves:
        raise ValueError("at least one curve is needed")
    with plotted(path, maker=_MAKER, height=3.9 + 0.2 * len(curves)) as figure:
        draw_cmc(figure, curves)


def draw_cmc(figure: Figure, curves: Mapping[str, Curve]) -> None:
    """Draw CMC curves over ranks, whose axis is logarithmic: what differs is at the first ones.

    Args:
        figure: empty.
        curves: one or more.
    """
    axes = figure.add_subplot()
    for number, (label, metrics) in enumerate(curves.items()):
        cmc, chosen = metrics.cmc, look(number)
        marked = [rank - 1 for rank in _RANKS if rank <= len(cmc)]
        told = ", ".join(f"{percent(cmc[at])} at {at + 1}" for at in marked)
        # matplotlib hides labels that begin with "_"
        axes.plot(np.arange(1, len(cmc) + 1), cmc * 100, linewidth=1.6, color=chosen.color,
                  linestyle=chosen.linestyle, marker=chosen.marker, markersize=5,
                  markevery=marked,
                  label=f" {shortened(label, _LABEL)}: mAP {percent(metrics.mean_ap)}; {told}",
                  )  # fmt: skip
    longest = max(len(metrics.cmc) for metrics in curves.values())
    axes.set_xscale("log")
    axes.set_xticks([rank for rank in _TICKS if rank <= longest])
    axes.set_xticks([], minor=True)
    axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(0.93, 1.05 * max(longest, 2))
    # the whole range would press curves together that begin at 90 %
    values = np.concatenate([metrics.cmc for metrics in curves.values()])
    lowest = float(values[~np.isnan(values)].min(initial=1))
    axes.set_ylim(max(10 * np.floor(10 * lowest - 1e-9), 0), 100.5)
    axes.set(xlabel="rank, logarithmic", ylabel="queries with a match, %")
    axes.set_title(f"CMC, protocol {', '.join(sorted({m.protocol for m in curves.values()}))}")
    figure.legend(loc="outside lower left", title="mAP and CMC at ranks, %",
                  alignment="left", fontsize="small", handlelength=3.2)  # fmt: skip
