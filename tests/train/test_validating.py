"""Validation inside the loop: what it may cost, and which checkpoint is the best."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from helpers_training import board, small_config

from mtml_deploy.errors import DataError
from mtml_train import train as loop
from mtml_train.checkpoint import BEST, LAST, load_checkpoint
from mtml_train.resume import resumed_config
from mtml_train.train import StepReport, train
from mtml_train.validate import Validation

pytestmark = pytest.mark.usefixtures("tiny")

REAL = loop.validate
RARELY = 100
"""Steps between saves: at the end only, because writing takes longer than a step here."""


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run folder that is removed at once: a checkpoint is large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The mAP of the validations to come; the first is taken off with each."""
    left: list[float] = []

    def scored(*arguments: object, **options: object) -> Validation:
        found = REAL(*arguments, **options)  # type: ignore[arg-type]
        return replace(found, metrics=replace(found.metrics, mean_ap=left.pop(0)))

    monkeypatch.setattr(loop, "validate", scored)
    return left


def test_the_best_is_no_nan_and_of_equal_ones_the_earlier(
    tiny_set: Path, run: Path, scores: list[float]
) -> None:
    scores += [math.nan, 0.7, 0.7, 0.5]
    reports: list[object] = []
    config = small_config(
        tiny_set, epochs=4, val=f"veri:{tiny_set}", val_every=1, log_every=3, save_every=RARELY,
        batch_size=36,
    )  # fmt: skip
    progress = train(config, run, report=reports.append)
    assert (progress.step, progress.best) == (4, 0.7)
    assert progress.validation is not None
    assert progress.validation["mAP"] == 0.5
    best = load_checkpoint(run / BEST)
    assert (best.progress.step, best.progress.best) == (2, 0.7)
    assert load_checkpoint(run / LAST).progress == progress
    assert len([report for report in reports if isinstance(report, Validation)]) == 4
    # losses are read every third step and at the end, not in between
    steps = [each for each in reports if isinstance(each, StepReport)]
    assert [each.step for each in steps if each.losses] == [3, 4]
    assert [each.epoch for each in steps] == [1, 2, 3, 4]


def test_a_validation_of_other_images_is_not_compared_with_those_before(
    tiny_set: Path, run: Path, scores: list[float]
) -> None:
    scores += [0.9, 0.2, 0.1]
    val = f"veri:{tiny_set}"
    config = small_config(tiny_set, max_steps=1, val=val)
    train(config, run)
    reports: list[object] = []
    config = resumed_config(config, {"max_steps": 2, "val_protocol": "plain"}, out=run)
    found = train(
        config, run, resume=load_checkpoint(run / LAST, resume=True), report=reports.append
    )
    assert f"{BEST} starts anew" in str(reports)
    assert (found.best, load_checkpoint(run / BEST).progress.step) == (0.2, 2)
    # the same judge again
    config = resumed_config(config, {"max_steps": 3}, out=run)
    reports.clear()
    found = train(
        config, run, resume=load_checkpoint(run / LAST, resume=True), report=reports.append
    )
    assert "anew" not in str(reports)
    assert (found.best, load_checkpoint(run / BEST).progress.step) == (0.2, 2)


def test_a_validation_that_fails_loses_nothing_and_is_made_up_for(
    tiny_set: Path, run: Path, tmp_path: Path
) -> None:
    shutil.copytree(tiny_set, tmp_path / "val")
    lost = sorted((tmp_path / "val" / "image_query").iterdir())[0]
    content = lost.read_bytes()

    def lose(report: object) -> None:  # in the middle of the first epoch
        if isinstance(report, StepReport) and report.step == 2:
            lost.unlink()

    config = small_config(tiny_set, epochs=2, val=f"veri:{tmp_path / 'val'}", val_every=1)
    with pytest.raises(DataError) as caught:
        train(config, run, report=lose)
    assert lost.name in str(caught.value)
    assert f"mtml-train --out {run} --resume goes on with this validation" in str(caught.value)
    assert (load_checkpoint(run / LAST).progress.step, (run / BEST).exists()) == (4, False)

    lost.write_bytes(content)
    reports: list[object] = []
    progress = train(
        config, run, resume=load_checkpoint(run / LAST, resume=True), report=reports.append
    )
    kinds = [type(each) for each in reports if isinstance(each, StepReport | Validation)]
    assert kinds == [Validation, *[StepReport] * 4, Validation]
    assert (progress.step, progress.validation_due) == (8, False)
    assert sorted(board(run, "validation/mAP")) == [4, 8]


def test_the_last_validation_of_a_run_is_made_up_for_too(
    tiny_set: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: object, **__: object) -> Validation:
        raise DataError("made to fail")

    config = small_config(tiny_set, max_steps=1, val=f"veri:{tiny_set}")
    monkeypatch.setattr(loop, "validate", failing)
    with pytest.raises(DataError, match="made to fail"):
        train(config, run)
    monkeypatch.setattr(loop, "validate", REAL)
    progress = train(config, run, resume=load_checkpoint(run / LAST, resume=True))
    assert (progress.step, progress.validation is None) == (1, False)
    assert load_checkpoint(run / BEST).progress.step == 1
