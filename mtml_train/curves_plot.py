"""Curves of runs as a picture: validation, then the losses of each branch, over optimiser steps.

In: points of one or more runs. Out: panels in which a run has a colour, and a measure or a term of
the loss a kind of line.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mtml_deploy.errors import DataError
from mtml_deploy.figure import COLOURS, DASHES, INK, look, plot_kind, plotted
from mtml_deploy.text import shortened
from mtml_train.history import Group, Point

if TYPE_CHECKING:
    from mtml_deploy.figure import Axes, Figure

_MAKER: Final = "mtml-train curves"

CURVES_PLOT: Final = plot_kind(_MAKER)
"""By the maker that PNG and SVG files name."""

_JUDGED: Final = ("mAP", "CMC@1")
"""What is shown of a validation, in percent."""

_VALIDATION: Final = "validation, %"
_TOTAL: Final = "total loss"
_FIRST: Final = (_VALIDATION, _TOTAL, "consensus")
"""Panels before those of the branches."""

_LABEL: Final = 60
"""Characters of a run's name that the legend has room for."""

Series = Sequence[tuple[int, float]]
"""Step and value, in the order of the steps."""


def write_curves_plot(path: Path, runs: Mapping[str, Sequence[Point]]) -> None:
    """Draw runs over one another; equal points give equal bytes.

    Args:
        path: ends in .png or .svg; replaced if it exists (callers ask first).
        runs: points by label, drawn in this order.

    Raises:
        DataError: more runs than there are colours, or none of them has a point.
        MissingExtraError: matplotlib is not installed.
        MtmlError: another suffix.
    """
    if len(runs) > len(COLOURS):
        raise DataError(
            f"{len(COLOURS)} runs can be told apart by their colours, found {len(runs)}; draw them "
            "in several plots"
        )
    rows, columns = _grid(len(panels(runs)))
    height = 2.5 * rows + 0.2 * len(runs) + 0.4
    with plotted(path, maker=_MAKER, width=3.4 * columns, height=height) as figure:
        draw_curves(figure, runs)


def draw_curves(figure: Figure, runs: Mapping[str, Sequence[Point]]) -> None:
    """Draw one panel for validation, the total loss, the consensus and each branch.

    Args:
        figure: empty.
        runs: points by label.

    Raises:
        DataError: none of them has a point.
    """
    shown = panels(runs)
    rows, columns = _grid(len(shown))
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for place, (title, terms) in zip(axes, shown.items(), strict=False):
        place.set_title(title, fontsize="medium")
        for number, label in enumerate(runs):
            for dash, (term, series) in zip(_dashes(terms), terms.items(), strict=True):
                found = series.get(label, ())
                place.plot([step for step, _ in found], [value for _, value in found],
                           color=look(number).color, linestyle=dash, linewidth=1.3, label=term,
                           marker=look(number).marker if title == _VALIDATION else "",
                           markersize=4)  # fmt: skip
        if len(terms) > 1:
            _terms_legend(place, terms)
    for place in axes[len(shown) :]:
        place.remove()
    for place in axes[max(len(shown) - columns, 0) : len(shown)]:
        place.set_xlabel("optimiser step")
    handles = [axes[0].plot([], [], color=look(number).color, marker=look(number).marker)[0]
               for number in range(len(runs))]  # fmt: skip
    figure.legend(handles, [run_text(label, points) for label, points in runs.items()],
                  loc="outside lower left", alignment="left", fontsize="small")  # fmt: skip


def panels(runs: Mapping[str, Sequence[Point]]) -> dict[str, dict[str, dict[str, Series]]]:
    """What is drawn: title of a panel -> term -> label of a run -> its series.

    Args:
        runs: points by label.

    Raises:
        DataError: none of them has a point.
    """
    found: dict[str, dict[str, dict[str, list[tuple[int, float]]]]] = {}
    for label, points in runs.items():
        for point in sorted(points, key=lambda each: each.step):
            for name, value in point.values.items():
                place = _place(point.group, name)
                if place is not None:
                    panel, term = place
                    series = found.setdefault(panel, {}).setdefault(term, {}).setdefault(label, [])
                    series.append((point.step, 100 * value if panel == _VALIDATION else value))
    if not found:
        raise DataError(
            f"there is nothing to draw: {', '.join(runs)} kept no losses and no validation yet; "
            "train longer, or with a smaller --log-every"
        )
    order = [*(name for name in _FIRST if name in found),
             *sorted(found.keys() - set(_FIRST))]  # fmt: skip
    return {name: {term: dict(of_runs) for term, of_runs in found[name].items()} for name in order}


def _place(group: Group, name: str) -> tuple[str, str] | None:
    """Panel and term of a value; None where it is not drawn."""
    if group == "loss":
        branch, _, term = name.partition("/")
        return (branch, term) if term else (_TOTAL, name)
    return (_VALIDATION, name) if group == "validation" and name in _JUDGED else None


def best_map(points: Sequence[Point]) -> tuple[int, float] | None:
    """Step and value, a fraction, of the first highest mAP of a run; None without validation."""
    judged = [(point.step, point.values["mAP"]) for point in points
              if point.group == "validation" and "mAP" in point.values]  # fmt: skip
    return max(judged, key=lambda each: (each[1], -each[0])) if judged else None


def run_text(label: str, points: Sequence[Point]) -> str:
    """A run and how good it became, as the legend says it."""
    best = best_map(points)
    told = "no validation" if best is None else f"best mAP {100 * best[1]:.1f} % at step {best[0]}"
    return f" {shortened(label, _LABEL)}: {told}"


def _grid(count: int) -> tuple[int, int]:
    """Rows and columns of so many panels."""
    columns = min(count, 2 if count <= 4 else 3 if count <= 6 else 4)
    return -(-count // columns), columns


def _dashes(terms: Mapping[str, object]) -> list[str]:
    """A kind of line for each term."""
    return [DASHES[number % len(DASHES)] for number in range(len(terms))]


def _terms_legend(axes: Axes, terms: Mapping[str, object]) -> None:
    """Which kind of line is which term, in no run's colour."""
    handles = [axes.plot([], [], color=INK[0], linestyle=dash)[0] for dash in _dashes(terms)]
    axes.legend(handles, list(terms), fontsize="x-small", loc="best")
