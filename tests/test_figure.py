"""The look of plots: colours that everybody can tell apart, on light and on dark pages."""

import itertools
import re

import numpy as np
import pytest

from mtml_deploy.errors import MtmlError
from mtml_deploy.figure import COLOURS, INK, PAPER, look, plot_kind, plotted, require_plot

# Machado, Oliveira and Fernandes 2009, severity 1, on linear RGB
SEEN = {
    "all cones": np.eye(3),
    "no L cones": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
                   [-0.003882, -0.048116, 1.051998]],
    "no M cones": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
                   [-0.011820, 0.042940, 0.968881]],
    "no S cones": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
                   [0.004733, 0.691367, 0.303900]],
}  # fmt: skip
XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750],
                [0.0193339, 0.1191920, 0.9503041]])  # fmt: skip
WHITE = np.array([0.95047, 1, 1.08883])


def linear(colour):
    level = np.array([int(colour[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    return np.where(level <= 0.04045, level / 12.92, ((level + 0.055) / 1.055) ** 2.4)


def lab(rgb):
    part = (XYZ @ np.clip(rgb, 0, 1)) / WHITE
    x, y, z = np.where(part > 0.008856, np.cbrt(part), 7.787 * part + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def contrast(first, second):
    low, high = sorted(float(XYZ[1] @ linear(each)) + 0.05 for each in (first, second))
    return high / low


@pytest.mark.parametrize("page", [0, 1], ids=["light", "dark"])
@pytest.mark.parametrize("eye", list(SEEN))
def test_curves_differ_for_every_eye(page, eye):
    seen = [lab(np.array(SEEN[eye]) @ linear(pair[page])) for pair in COLOURS]
    # 2.3 is just noticeable; thin lines far apart need much more
    assert min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2)) > 25
    for pair in COLOURS:
        assert contrast(pair[page], PAPER[page]) > 3  # WCAG 2.2, 1.4.11: graphics
    assert contrast(INK[page], PAPER[page]) > 7


def test_looks_differ_and_begin_again_after_all():
    looks = [look(number) for number in range(24)]
    assert len(set(looks)) == 24
    assert look(24) == look(0)
    assert {each.marker for each in looks[:6]} == {"o", "s", "^", "D", "v", "P"}


def test_every_colour_of_an_svg_has_one_for_dark_pages(tmp_path):
    pytest.importorskip("matplotlib")
    with plotted(tmp_path / "a.svg", maker="some command", height=2) as figure:
        axes = figure.add_subplot()
        for number in range(6):
            axes.plot([1, 2], [number, 1], color=look(number).color, label="$x$")
        axes.legend()
    style, _, body = (tmp_path / "a.svg").read_text().partition("</style>")
    rules = dict(re.findall(r': (#\w+)"\]\{\w+:(#\w+) !important\}', style))
    assert rules == dict((PAPER, INK, *COLOURS))
    drawn = set(re.findall(r"(?:fill|stroke): (#[0-9a-f]{6})", body))
    assert drawn <= set(rules), "these stay as they are on a dark page"
    assert {PAPER[0], INK[0], COLOURS[5][0]} <= drawn
    assert plot_kind("some command").known(tmp_path / "a.svg")
    assert not plot_kind("some other").known(tmp_path / "a.svg")


def test_a_plot_that_fails_leaves_nothing(tmp_path):
    pytest.importorskip("matplotlib")
    with pytest.raises(RuntimeError), plotted(tmp_path / "a.svg", maker="x", height=2):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(MtmlError, match=r"written as \.png or \.svg"):
        require_plot(tmp_path / "a.pdf")
