"""The trade-off curve as it is drawn: its points, bounds, and what was chosen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mtml_deploy.precision.network import Layer
from mtml_deploy.precision.sensitivity import LayerNoise, Quality, SensitivityReport, TradeOff
from mtml_deploy.precision.sensitivity_plot import draw_sensitivity, write_sensitivity_plot

_CURVE = (
    TradeOff(0, Quality({"gray": 0.9, "embedding": 0.99}, None, False)),
    TradeOff(1, Quality({"gray": 0.995, "embedding": 0.999}, 0.61, False)),
    TradeOff(2, Quality({"gray": 0.996, "embedding": 0.999}, 0.637, True)),
)
_BEYOND = (TradeOff(4, Quality({"gray": 1.0, "embedding": 1.0}, None, True)),)


def report(reference_map: float | None = 0.64) -> SensitivityReport:
    layers = tuple(
        LayerNoise(Layer(f"gray.conv{number}", "gray", "Conv", f"n{number}", "x", 0), 0.1)
        for number in range(5)
    )
    return SensitivityReport(
        ranking=layers, curve=_CURVE, beyond=_BEYOND, min_cosine=0.99, max_map_drop=0.005,
        reference_map=reference_map, data="veri:x", protocol="veri776", images=8, noise_images=4,
    )  # fmt: skip


def lines(axes: object) -> dict[str, tuple[list[float], list[float]]]:
    return {
        line.get_label(): (list(line.get_xdata()), list(line.get_ydata()))
        for line in axes.lines  # type: ignore[attr-defined]
    }


def test_curve_bounds_and_the_chosen_point() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    draw_sensitivity(figure, report())
    top, bottom = figure.axes
    assert (top.get_yscale(), bottom.get_yscale()) == ("log", "linear")
    found = lines(top)
    assert found["tried"][0] == [0, 1, 2, 3]  # steps, in which 0, 1, 2 and 4 layers are fp16
    # 1 - cosine of the worst part; what is exact is at the end of the axis
    assert found["tried"][1] == pytest.approx([0.1, 0.005, 0.004, 1e-8])
    assert found["chosen: 2 layers in fp16"] == ([2], pytest.approx([0.004]))
    assert found["bound: cosine 0.99"][1] == pytest.approx([0.01, 0.01])
    found = lines(bottom)
    unmeasured = float("nan")
    assert found["tried"][1] == pytest.approx([unmeasured, 61, 63.7], nan_ok=True)
    assert found["chosen: 2 layers in fp16"] == ([2], pytest.approx([63.7]))
    assert found["fp32: mAP 64.00 %"][1] == pytest.approx([64, 64])
    bounds = [line.get_ydata()[0] for line in bottom.lines if "points" in line.get_label()]
    assert bounds == pytest.approx([63.5, 64.5])
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert sorted(texts) == sorted({*lines(top), *lines(bottom)})  # each once
    assert [text.get_text() for text in bottom.get_xticklabels()] == ["0", "1", "2", "4"]


def test_without_labels_there_is_no_panel_of_map(tmp_path: Path) -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    alone = replace(report(None), curve=_CURVE[:1], beyond=())  # all in int8 at once
    draw_sensitivity(figure, alone)
    (axes,) = figure.axes
    assert lines(axes)["chosen: 0 layers in fp16"] == ([0], pytest.approx([0.1]))
    for name in ("1.svg", "2.svg"):
        write_sensitivity_plot(tmp_path / name, alone)
    assert (tmp_path / "1.svg").read_bytes() == (tmp_path / "2.svg").read_bytes()
