"""What is seen of a run: one line of a terminal, or lines of a file."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from mtml_train.cli.progress import TrainDisplay
from mtml_train.run_data import Checking
from mtml_train.train import StepReport

LOSSES = {"total": 9.1034, "identity/class": 1.5, "identity/mutual": 0.25, "consensus": 1.7,
          "gray": 1.0, "scale": 1.1, "orientation": 1.2}  # fmt: skip


def shown(columns: int, *, terminal: bool, first: int = 1) -> list[str]:
    """The lines that are drawn of two steps, without the codes that move the cursor."""
    drawn = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            "mtml_train.cli.progress.Console",
            lambda **given: Console(
                file=drawn, width=columns, force_terminal=terminal, color_system=None,
                highlight=given["highlight"], markup=given["markup"], _environ={},
            ),
        )  # fmt: skip
        display = TrainDisplay()
    display.show(Checking(37576, 37576))
    for step in (first, first + 1):
        losses = LOSSES if step > first else {}
        display.show(StepReport(step, 90150, 12, 812.34 if losses else 0.0, losses))
    if terminal:
        Console(file=drawn, width=columns, color_system=None).print(display._bar.get_renderable())
    return drawn.getvalue().splitlines()


def test_one_line_of_80_columns_holds_all() -> None:
    (line,) = shown(80, terminal=True)
    assert line.startswith("epoch 12 ")
    for text in ("2/90150", "812.3 images/s", "loss 9.103", ":"):
        assert text in line
    assert len(line.rstrip()) <= 80
    assert "identity" not in line


def test_a_wide_terminal_has_the_losses_of_each_branch() -> None:
    (line,) = shown(200, terminal=True)
    assert "total 9.103  identity 1.750  consensus 1.700" in line


def test_a_file_has_a_line_where_losses_were_read() -> None:
    (line,) = shown(80, terminal=False, first=99)
    assert line.startswith("step 100/90150  epoch 12  812.3 images/s  total 9.103  identity 1.750")
    assert line.endswith("orientation 1.200")
