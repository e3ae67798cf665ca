"""The trade-off curve of a mixed model as a picture: layers in fp16 against what int8 loses.

In: the report of the search. Out: an .svg or .png with the bounds, the curve and the chosen point.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mtml_deploy.figure import INK, look, plotted
from mtml_deploy.precision.sensitivity import SensitivityReport, TradeOff

if TYPE_CHECKING:
    from mtml_deploy.figure import Artist, Axes, Figure

_MAKER: Final = "mtml-deploy convert"

_LEAST_LOSS: Final = 1e-8
"""Of a cosine that is 1 in float32: a logarithmic axis has no 0."""

_CURVE, _BOUND, _FP32 = look(0), look(1), look(2)


def write_sensitivity_plot(path: Path, report: SensitivityReport) -> None:
    """Draw the trade-off; equal reports give equal bytes.

    Args:
        path: ends in .svg or .png.
        report: what the search found.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MtmlError: another suffix.
    """
    rows = 1 if report.reference_map is None else 2
    with plotted(path, maker=_MAKER, height=1.6 + 2.6 * rows) as figure:
        draw_sensitivity(figure, report)


def draw_sensitivity(figure: Figure, report: SensitivityReport) -> None:
    """Draw the loss of cosine, and the mAP below it where it was measured.

    Args:
        figure: empty.
        report: what the search found.
    """
    points = (*report.curve, *report.beyond)
    chosen, total = report.curve[-1].kept, len(report.ranking)
    panels = figure.subplots(1 if report.reference_map is None else 2, sharex=True, squeeze=False)
    top, bottom = panels[0, 0], panels[-1, 0]
    _curve(top, [_loss(point) for point in points], report)
    top.axhline(
        max(1 - report.min_cosine, _LEAST_LOSS),
        color=_BOUND.color,
        linestyle="--",
        label=f"bound: cosine {report.min_cosine:g}",
    )
    top.set_yscale("log")
    top.yaxis.set_major_formatter("{x:g}")
    top.set_ylabel("1 - worst cosine to fp32")
    top.set_title(f"int8 with {chosen} of {total} layers in fp16", fontsize="medium")
    if report.reference_map is not None:
        _map_panel(bottom, report, report.reference_map)
    # 0, 1, 2, 4, ...: one step apart, as on a logarithmic axis, and the last beside them
    bottom.set_xticks(range(len(points)), [str(point.kept) for point in points])
    bottom.set_xlim(-0.3, len(points) - 0.7)
    bottom.set_xlabel("layers in fp16, doubled at each step; the others are int8")
    shown: dict[str, Artist] = {}
    for axes in dict.fromkeys((top, bottom)):
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            shown.setdefault(label, handle)
    figure.legend(shown.values(), shown, loc="outside lower left", ncols=2, fontsize="small")


def _map_panel(axes: Axes, report: SensitivityReport, reference_map: float) -> None:
    """MAP in percent, what it is in fp32, and how far it may be from that."""
    found = [point.quality.mean_ap for point in report.curve]
    _curve(axes, [math.nan if value is None else 100 * value for value in found], report)
    exact, most = 100 * reference_map, 100 * report.max_map_drop
    axes.axhline(exact, color=_FP32.color, linestyle="-.", label=f"fp32: mAP {exact:.2f} %")
    for value in (exact - most, exact + most):
        label = f"bound: mAP within {most:g} points"
        axes.axhline(value, color=_BOUND.color, linestyle=":", label=label)
    axes.set_ylabel("mAP, %")


def _curve(axes: Axes, values: Sequence[float], report: SensitivityReport) -> None:
    """A value at each step, NaN where it was not measured, and that of the artifact."""
    step = len(report.curve) - 1
    axes.plot(range(len(values)), values, color=_CURVE.color, marker="o", markersize=4,
              label="tried")  # fmt: skip
    axes.plot([step], [values[step]], linestyle="", marker="o", markersize=11,
              markerfacecolor="none", markeredgecolor=INK[0], markeredgewidth=1.8,
              label=f"chosen: {report.curve[-1].kept} layers in fp16")  # fmt: skip


def _loss(point: TradeOff) -> float:
    """1 - the worst cosine, within what the axis can show."""
    return max(1 - min(point.quality.cosine_min.values()), _LEAST_LOSS)
