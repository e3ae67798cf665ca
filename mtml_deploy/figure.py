"""Plots as files with one look: colours that differ for every reader, on light and dark pages.

In: what is drawn on a matplotlib figure. Out: a .png on white paper, or an .svg that takes the
light or dark colours of the page it is shown on. matplotlib is imported here alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mtml_deploy.errors import MissingExtraError, MtmlError
from mtml_deploy.files import atomic_file
from mtml_deploy.output_kind import FileKind, text_kind

if TYPE_CHECKING:
    from matplotlib.artist import Artist as Artist
    from matplotlib.axes import Axes as Axes
    from matplotlib.figure import Figure as Figure

PAPER: Final = ("#ffffff", "#1b2027")
"""Behind everything, on a light and on a dark page."""

INK: Final = ("#1c2128", "#e7eaee")
"""Of text and axes, likewise."""

COLOURS: Final = (
    ("#0011bb", "#6699ff"),
    ("#dd6611", "#cc8844"),
    ("#339977", "#66ff33"),
    ("#cc66dd", "#eebbee"),
    ("#770066", "#ff5588"),
    ("#000000", "#ddffbb"),
)
"""Of curves, likewise; far from each other with every kind of colour blindness."""

DASHES: Final = ("-", "--", ":", "-.")
"""Of lines: each for as many curves as there are colours."""

MARKERS: Final = ("o", "s", "^", "D", "v", "P")
"""One for each colour, which alone would exclude some readers."""

_STYLE: Final[dict[Any, Any]] = {
    "text.color": INK[0],
    "axes.labelcolor": INK[0],
    "axes.edgecolor": INK[0],
    "xtick.color": INK[0],
    "ytick.color": INK[0],
    "grid.color": INK[0],
    "figure.facecolor": PAPER[0],
    "axes.facecolor": PAPER[0],
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.15,
    "text.parse_math": False,  # a "$" in a name is a "$"
    "svg.fonttype": "path",  # needs no font of the reader
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that every machine has it
}


@dataclass(frozen=True)
class Look:
    """How one of several curves is drawn.

    Attributes:
        color: for a light page; on a dark one an SVG shows its other colour.
        linestyle: of its line.
        marker: of its points.
    """

    color: str
    linestyle: str
    marker: str


def look(number: int) -> Look:
    """The look of curve `number`, from 0: 24 differ."""
    turn, colour = divmod(number, len(COLOURS))
    return Look(COLOURS[colour][0], DASHES[turn % len(DASHES)], MARKERS[colour])


def plot_kind(maker: str) -> FileKind:
    """Plots of a command, by the maker that PNG and SVG files name."""
    return text_kind(f"a plot of {maker}", rf"Software\0{re.escape(maker)}|>{re.escape(maker)}<")


def require_plot(path: Path) -> None:
    """Refuse a plot that could not be written, before what is to be drawn is computed.

    Args:
        path: the file.

    Raises:
        MtmlError: a suffix other than .png and .svg.
        MissingExtraError: matplotlib is not installed.
    """
    if path.suffix.lower() not in (".png", ".svg"):
        raise MtmlError(f"{path}: a plot is written as .png or .svg; change the suffix")
    try:
        import matplotlib  # noqa: F401
    except ImportError as error:
        raise MissingExtraError("drawing a plot needs matplotlib", "report") from error


@contextmanager
def plotted(path: Path, *, maker: str, width: float = 6.4, height: float) -> Iterator[Figure]:
    """Yield an empty figure, which is written when it has been drawn; equal plots, equal bytes.

    Args:
        path: ends in .png or .svg; replaced if it exists (callers ask first).
        maker: the command, which the file names.
        width: inches; a PNG has 150 pixels for each.
        height: likewise.

    Yields:
        The figure.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MtmlError: another suffix.
    """
    require_plot(path)
    import matplotlib as mpl
    from matplotlib.figure import Figure as NewFigure

    kind = path.suffix.lower()[1:]
    # the salt fixes the identifiers inside an SVG file; a date or a version would change the bytes
    with mpl.rc_context({**_STYLE, "svg.hashsalt": maker}):
        figure = NewFigure(figsize=(width, height), dpi=150, layout="constrained")
        yield figure
        about = {"svg": {"Date": None, "Creator": maker}, "png": {"Software": maker}}[kind]
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format=kind, metadata=about)
            if kind == "svg":
                drawn = temporary.read_text(encoding="utf-8")
                temporary.write_text(drawn.replace("<defs>", _dark() + "<defs>", 1), "utf-8")


def _dark() -> str:
    """What gives an SVG other colours on a dark page: matplotlib writes each into its element."""
    rules = [
        f'[style*="{what}: {light}"]{{{what}:{dark} !important}}'
        for light, dark in (PAPER, INK, *COLOURS)
        for what in ("fill", "stroke")
    ]
    return f"<style>@media (prefers-color-scheme: dark){{{''.join(rules)}}}</style>\n "
