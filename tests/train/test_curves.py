"""Curves of runs as they are drawn, and the command that draws them."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_training import board

from mtml_deploy.errors import DataError
from mtml_train.checkpoint import LAST
from mtml_train.cli.train import train_main
from mtml_train.curves_plot import best_map, draw_curves, panels, run_text, write_curves_plot
from mtml_train.history import HISTORY, Point, read_history

ONE = (
    Point(10, "loss", {"total": 9.0, "gray/id": 4.0, "gray/mutual": 0.5, "consensus/id": 4.5}),
    Point(10, "speed", {"images_per_second": 100.0}),
    Point(20, "loss", {"total": 7.0, "gray/id": 3.0, "gray/mutual": 0.25, "consensus/id": 3.75}),
    Point(20, "validation", {"mAP": 0.5, "CMC@1": 0.75, "mINP": 0.25}),
    Point(30, "validation", {"mAP": 0.5, "CMC@1": 0.8}),
)
OTHER = (
    Point(5, "loss", {"total": 8.0, "consensus/id": 8.0}),
    Point(5, "validation", {"mAP": 0.4, "CMC@1": 0.5}),
)


def test_each_value_is_in_its_panel() -> None:
    found = panels({"one": ONE, "other": OTHER})
    assert list(found) == ["validation, %", "total loss", "consensus", "gray"]
    assert found["validation, %"] == {
        "mAP": {"one": [(20, 50), (30, 50)], "other": [(5, 40)]},
        "CMC@1": {"one": [(20, 75), (30, 80)], "other": [(5, 50)]},
    }
    assert found["total loss"] == {"total": {"one": [(10, 9), (20, 7)], "other": [(5, 8)]}}
    assert found["gray"] == {
        "id": {"one": [(10, 4), (20, 3)]},
        "mutual": {"one": [(10, 0.5), (20, 0.25)]},
    }


def test_a_run_has_a_colour_and_a_term_a_kind_of_line() -> None:
    figure = pytest.importorskip("matplotlib.figure").Figure()
    draw_curves(figure, {"one": ONE, "other": OTHER})
    drawn = {axes.get_title(): [line for line in axes.lines if len(line.get_xdata())]
             for axes in figure.axes}  # fmt: skip
    assert list(drawn) == ["validation, %", "total loss", "consensus", "gray"]
    judged = {(line.get_label(), line.get_color()): line for line in drawn["validation, %"]}
    colours = {colour for _, colour in judged}
    assert len(judged) == 4 and len(colours) == 2
    assert {(label, line.get_linestyle()) for (label, _), line in judged.items()} == {
        ("mAP", "-"), ("CMC@1", "--")
    }  # fmt: skip
    (total, _) = drawn["total loss"]
    assert (list(total.get_xdata()), list(total.get_ydata())) == ([10, 20], [9, 7])
    (ids, mutual) = drawn["gray"]
    assert (ids.get_linestyle(), mutual.get_linestyle()) == ("-", "--")
    assert ids.get_color() == mutual.get_color() == total.get_color()
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == [" one: best mAP 50.0 % at step 20", " other: best mAP 40.0 % at step 5"]


def test_the_best_is_the_first_highest() -> None:
    assert best_map(ONE) == (20, 0.5)
    assert best_map(ONE[:3]) is None
    assert run_text("x" * 70, ONE[:1]) == f" {'x' * 29}…{'x' * 30}: no validation"


def test_what_cannot_be_drawn_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="told apart by their colours, found 7"):
        write_curves_plot(tmp_path / "a.svg", {str(number): ONE for number in range(7)})
    with pytest.raises(DataError, match="nothing to draw: a, b kept no losses"):
        write_curves_plot(tmp_path / "a.svg", {"a": (), "b": ()})


def test_the_curves_of_a_run_are_those_of_tensorboard(tiny_run: Path) -> None:
    points = read_history(tiny_run / HISTORY)
    for group, name in (("loss", "total"), ("loss", "gray/mutual"), ("validation", "mAP"),
                        ("speed", "learning_rate")):  # fmt: skip
        kept = {each.step: each.values[name] for each in points if each.group == group}
        assert kept == pytest.approx(board(tiny_run, f"{group}/{name}"))


def test_the_command_draws_and_tells(tiny_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")

    def run(*words: object):
        return CliRunner().invoke(train_main, ["curves", *map(str, words)])

    out = tmp_path / "curves.svg"
    result = run(tiny_run, "--out", out)
    assert result.exit_code == 0, result.output
    points = read_history(tiny_run / HISTORY)
    (best,) = [each.values["mAP"] for each in points if each.group == "validation"]
    assert f"| {100 * best:.1f} at step 2 |" in result.stdout
    assert "exists already" in run(tiny_run, "--out", out).stderr
    assert run(tiny_run, "--out", out, "--overwrite").exit_code == 0
    assert run(tiny_run, tiny_run, "--out", out).exit_code == 2  # two lines of one name
    words = ("--label", "a", "--label", "b", "--out", tmp_path / "two.png")
    assert run(tiny_run, tiny_run / LAST, *words).exit_code == 0
    assert "has no curves.jsonl" in run(tmp_path, "--out", tmp_path / "c.svg").stderr
    assert "change the suffix" in run(tiny_run, "--out", tmp_path / "c.pdf").stderr
