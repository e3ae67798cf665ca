"""A plot that is the same twice, and what is refused."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
from helpers_report import METRICS

from mtml_deploy.errors import MissingExtraError, MtmlError
from mtml_deploy.evaluation.random_galleries import DrawnMetrics
from mtml_deploy.report.cmc_plot import draw_cmc, write_cmc_plot


@pytest.mark.parametrize(("suffix", "head"), [(".png", b"\x89PNG"), (".svg", b"<?xml")])
def test_plots_are_the_same_twice(tmp_path, suffix, head):
    pytest.importorskip("matplotlib")
    curves = {"_a $x$ <b>": METRICS, "other": replace(METRICS, cmc=METRICS.cmc / 2)}
    first, second = tmp_path / f"1{suffix}", tmp_path / f"2{suffix}"
    write_cmc_plot(first, curves)
    write_cmc_plot(second, curves)
    assert first.read_bytes().startswith(head)
    assert first.read_bytes() == second.read_bytes()
    write_cmc_plot(second, {"other": METRICS})
    assert first.read_bytes() != second.read_bytes()


def test_plot_refusals(tmp_path, monkeypatch):
    with pytest.raises(MtmlError, match=r"\.png or \.svg"):
        write_cmc_plot(tmp_path / "cmc.pdf", {"a": METRICS})
    with pytest.raises(ValueError, match="at least one curve"):
        write_cmc_plot(tmp_path / "cmc.png", {})

    really_import = builtins.__import__

    def without_matplotlib(name, *rest):
        if name.startswith("matplotlib"):
            raise ImportError(name)
        return really_import(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without_matplotlib)
    with pytest.raises(MissingExtraError, match=r"pip install 'mtml-reid\[report\]'"):
        write_cmc_plot(tmp_path / "cmc.png", {"a": METRICS})
    assert list(tmp_path.iterdir()) == []


def test_drawn_galleries_are_one_curve_of_their_mean(tmp_path):
    pytest.importorskip("matplotlib")
    other = replace(METRICS, mean_ap=0.5, cmc=np.zeros(5))
    drawn = DrawnMetrics("veri776", (METRICS, other), seed=0, gallery_size=5)
    mean = replace(METRICS, mean_ap=(0.64608 + 0.5) / 2, cmc=METRICS.cmc / 2)
    write_cmc_plot(tmp_path / "drawn.svg", {"a": drawn})
    write_cmc_plot(tmp_path / "mean.svg", {"a": mean})
    assert (tmp_path / "drawn.svg").read_bytes() == (tmp_path / "mean.svg").read_bytes()


def test_ranks_1_5_and_10_are_marked_and_told():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    long = replace(METRICS, mean_ap=0.5, cmc=np.linspace(0.62, 1, 50))
    draw_cmc(figure, {"_short": METRICS, "a" * 30 + "b" * 30: long})
    (axes,) = figure.axes
    short, other = axes.lines
    assert short.get_xdata().tolist() == [1, 2, 3, 4, 5]
    assert short.get_ydata() == pytest.approx([92.3, 94.0, 95.0, 95.6, 95.7])
    assert (short.get_markevery(), other.get_markevery()) == ([0, 4], [0, 4, 9])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    # 62 + 38 x 4 / 49 and 62 + 38 x 9 / 49
    assert texts == [
        " _short: mAP 64.6; 92.3 at 1, 95.7 at 5",
        f" {'a' * 21}…{'b' * 22}: mAP 50.0; 62.0 at 1, 65.1 at 5, 69.0 at 10",
    ]
    assert axes.get_xscale() == "log"
    assert axes.get_xticks().tolist() == [1, 2, 3, 5, 10, 20, 50]
    assert axes.get_ylim()[0] == 60  # the lowest value is 62 %
    assert (short.get_color(), short.get_marker()) != (other.get_color(), other.get_marker())


@pytest.mark.parametrize("cmc", [[0.0], [0.0, 0.0, 0.0], [1.0], [], [np.nan]])
def test_curves_that_are_a_point_or_flat_are_drawn(tmp_path, cmc):
    pytest.importorskip("matplotlib")
    write_cmc_plot(tmp_path / "cmc.svg", {"a": replace(METRICS, cmc=np.array(cmc))})
    assert (tmp_path / "cmc.svg").is_file()
