"""The CMC curve as a picture, .png or .svg."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Protocol

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import MissingExtraError, MtmlError
from mtml_deploy.files import atomic_file
from mtml_deploy.output_kind import text_kind
from mtml_deploy.text import percent

_MAKER: Final = "mtml-deploy evaluate"

CMC_PLOT: Final = text_kind("a plot of mtml-deploy evaluate", f"Software\0{_MAKER}|>{_MAKER}<")
"""By the maker that PNG and SVG files name."""


_STYLES: Final = ("-", "--", ":", "-.")
"""Of lines: each for as many curves as there are colours."""

_COLOURS: Final = 10
"""Of matplotlib's own cycle."""


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
    kind = path.suffix.lower()
    if kind not in (".png", ".svg"):
        raise MtmlError(f"{path}: a plot is written as .png or .svg; change the suffix")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the CMC plot needs matplotlib", "report") from error
    # the salt fixes the identifiers inside an SVG file; text as paths needs no font of the reader
    with matplotlib.rc_context({"svg.hashsalt": "cmc", "svg.fonttype": "path"}):
        figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        for number, (label, metrics) in enumerate(curves.items()):
            ranks = np.arange(1, len(metrics.cmc) + 1)
            # matplotlib hides labels that begin with "_" and reads "$" as mathematics
            text = f" {label} (mAP {percent(metrics.mean_ap)} %)".replace("$", r"\$")
            style = _STYLES[number // _COLOURS % len(_STYLES)]
            axes.plot(ranks, metrics.cmc * 100, style, marker=".", markersize=4, linewidth=1.4,
                      label=text)  # fmt: skip
        axes.set(xlabel="rank", ylabel="queries with a match (%)", ylim=(0, 101))
        axes.set_title(f"CMC, protocol {', '.join(sorted({m.protocol for m in curves.values()}))}")
        longest = max(len(metrics.cmc) for metrics in curves.values())
        axes.set_xticks([rank for rank in (1, 5, 10, 20, 30, 40, 50) if rank <= longest])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right")
        with atomic_file(path) as temporary:
            # a date or a version would change the bytes
            about = {".svg": {"Date": None, "Creator": _MAKER}, ".png": {"Software": _MAKER}}[kind]
            figure.savefig(temporary, format=kind[1:], metadata=about)
