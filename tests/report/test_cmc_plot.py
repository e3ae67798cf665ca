"""A plot that is the same twice, and what is refused."""

import builtins
from dataclasses import replace

import numpy as np
import pytest
from helpers_report import METRICS

from mtml_deploy.errors import MissingExtraError, MtmlError
from mtml_deploy.evaluation.random_galleries import DrawnMetrics
from mtml_deploy.report.cmc_plot import write_cmc_plot


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
