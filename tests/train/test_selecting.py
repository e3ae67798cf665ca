"""Which checkpoint is the best, by which measure, and when a run ends because none gets better."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import safetensors
import safetensors.torch
import torch
from click.testing import CliRunner
from helpers_training import coloured_set, run_two, small_config, train_command
from torch import distributed

from mtml_deploy.data.csv_table import table_text
from mtml_deploy.errors import CheckpointError
from mtml_deploy.evaluation.measures import LISTED
from mtml_train import train as loop
from mtml_train.checkpoint import BEST, LAST, find_checkpoint, load_checkpoint
from mtml_train.cli.export import export_main
from mtml_train.config import BestBy, TrainConfig
from mtml_train.export.export import _chosen
from mtml_train.resume import resumed_config
from mtml_train.run_card import read_header
from mtml_train.train import train
from mtml_train.validate import Validation, chosen_on

REAL = loop.validate


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """MAP and CMC@1 of the validations to come; the first are taken off with each."""
    left: list[tuple[float, float]] = []

    def scored(*arguments: object, **options: object) -> Validation:
        found = REAL(*arguments, **options)  # type: ignore[arg-type]
        mean_ap, first = left.pop(0)
        changed = replace(found.metrics, mean_ap=mean_ap, cmc=np.full(2, first))
        return replace(found, metrics=changed)

    monkeypatch.setattr(loop, "validate", scored)
    return left


def config_of(folder: Path, **changes: object) -> TrainConfig:
    """One step an epoch, each validated."""
    labels = [(number % 4, number // 4, 0) for number in range(8)]
    (folder / "t.csv").write_text(table_text(coloured_set(folder / "images", labels).records))
    source = f"csv:{folder / 't.csv'}"
    config = small_config("x", data=(source,), val=source, val_every=1, epochs=6, save_every=100)
    return replace(config, **changes)  # type: ignore[arg-type]


def test_every_measure_of_a_table_can_choose() -> None:
    assert get_args(BestBy) == tuple(measure.tag for measure in LISTED)


@pytest.mark.usefixtures("tiny")
def test_the_best_by_another_measure(tmp_path: Path, scores: list[tuple[float, float]]) -> None:
    scores += [(0.9, 0.1), (0.2, 0.7), (0.3, 0.7)]
    progress = train(config_of(tmp_path, best_by="CMC@1", max_steps=3), tmp_path / "run")
    assert (progress.best, progress.since_best) == (0.7, 1)
    best = load_checkpoint(tmp_path / "run" / BEST)
    assert best.progress.step == 2
    assert _chosen(best) == {
        "by": "CMC@1", "queries": best.card.config.val, "protocol": "veri776"
    }  # fmt: skip
    assert _chosen(load_checkpoint(tmp_path / "run" / LAST)) is None
    # by another measure the best starts anew
    scores += [(0.1, 0.1)]
    config = resumed_config(best.card.config, {"best_by": "mAP", "max_steps": 4}, out=tmp_path)
    resume = load_checkpoint(tmp_path / "run" / LAST, resume=True)
    notes: list[object] = []
    progress = train(config, tmp_path / "run", resume=resume, report=notes.append)
    assert (progress.best, progress.since_best) == (0.1, 0)
    assert "another protocol or measure than before" in str(notes)


@pytest.mark.usefixtures("tiny")
def test_a_run_that_gets_no_better_ends_and_can_go_on(
    tmp_path: Path, scores: list[tuple[float, float]]
) -> None:
    scores += [(0.5, 0), (0.6, 0), (0.6, 0), (0.4, 0)]
    notes: list[object] = []
    config, run = config_of(tmp_path, patience=2), tmp_path / "run"
    progress = train(config, run, report=notes.append)
    assert (progress.step, progress.best, progress.since_best) == (4, 0.6, 2)
    assert load_checkpoint(run / LAST).progress == progress
    assert load_checkpoint(run / BEST).progress.step == 2
    said = "the last 2 validations gave no better mAP than 60.0 %, so the run ends at step 4"
    assert said in str(notes)
    # asked again it says so, and changes nothing
    resume = load_checkpoint(run / LAST, resume=True)
    notes.clear()
    assert train(config, run, resume=resume, report=notes.append) == progress
    assert f"nothing to do: {said}" in str(notes)
    # what it names goes on; a better one starts the count anew
    scores += [(0.7, 0), (0.1, 0)]
    progress = train(resumed_config(config, {"patience": 0}, out=run), run, resume=resume)
    assert (progress.step, progress.best, progress.since_best) == (6, 0.7, 1)


def test_choosing_on_test_queries_is_said() -> None:
    config = small_config("x")
    assert chosen_on(config) == ""
    assert chosen_on(replace(config, val="holdout:0.1")) == ""
    published = chosen_on(replace(config, val="veri:x", best_by="mINP"))
    assert published.startswith("best.safetensors will be chosen by mINP on the test queries of")
    assert "are too good" in published and "--val holdout:0.1" in published
    own = chosen_on(replace(config, val="csv:x", patience=3))
    assert "and the end of the run, will be chosen by mAP on the queries of csv:x" in own
    assert "are, if you test on these, too good" in own


def test_a_checkpoint_of_a_run_is_named(tmp_path: Path) -> None:
    (tmp_path / LAST).write_bytes(b"x")
    assert find_checkpoint(tmp_path).name == LAST
    with pytest.raises(CheckpointError, match=r"it was not validated; take --checkpoint last"):
        find_checkpoint(tmp_path, which="best")
    (tmp_path / BEST).write_bytes(b"x")
    assert [find_checkpoint(tmp_path, which=each).name for each in (None, "best", "last")] == [
        BEST, BEST, LAST,
    ]  # fmt: skip
    with pytest.raises(CheckpointError, match="is no run folder, expected one for --checkpoint"):
        find_checkpoint(tmp_path / LAST, which="last")


def test_export_takes_the_checkpoint_that_is_asked_for(tmp_path: Path) -> None:
    words = [str(tmp_path), "--out", str(tmp_path / "a"), "--target", "onnx"]
    for which in ("best", "last"):
        result = CliRunner().invoke(export_main, [*words, "--checkpoint", which])
        name = {"best": BEST, "last": LAST}[which]
        assert result.exit_code == 1
        assert f"expected a .safetensors file of mtml-train or a run folder with {name}\n" in (
            result.stderr
        )


@pytest.mark.usefixtures("tiny")
def test_a_checkpoint_of_the_schema_before_is_read(tmp_path: Path) -> None:
    train(config_of(tmp_path, max_steps=1, val=""), tmp_path / "run")
    with safetensors.safe_open(tmp_path / "run" / LAST, framework="pt") as opened:
        header = json.loads(opened.metadata()["mtml"])
    header["schema"] = 2
    del header["progress"]["best"], header["progress"]["since_best"], header["origin"]
    header["progress"]["best_map"] = 0.25
    card, progress, _ = read_header(json.dumps(header), where="x")
    assert (card.recipe, progress.best, progress.since_best) == ("paper", 0.25, 0)


def watched(folder: Path, *words: str) -> None:
    """A run in which every wait for the first process is counted, and must be in a group without a
    limit: one that waits for a long validation in the group of the steps is timed out there."""
    real, groups = distributed.broadcast, []
    grouped = distributed.new_group

    def new_group(**options: Any) -> distributed.ProcessGroup:
        assert options["timeout"] > timedelta(days=300), options
        groups.append(grouped(**options))
        return groups[-1]

    def broadcast(told: torch.Tensor, *, src: int, group: distributed.ProcessGroup) -> None:
        assert group is groups[0]
        with (folder / f"waits-{distributed.get_rank()}").open("a") as file:
            file.write("x")
        real(told, src=src, group=group)

    distributed.new_group, distributed.broadcast = new_group, broadcast
    train_command(*words)


def test_processes_wait_for_a_validation_without_a_limit_and_end_together(tmp_path: Path) -> None:
    config = config_of(tmp_path)
    words = ["--data", config.data[0], "--val", config.val, "--variant", "MTML-G", "--image-size",
             "32", "--backbone", "resnet18", "--weights", "none", "--workers", "0", "--device",
             "cpu", "--val-every", "1", "--epochs", "9", "--patience", "1",
             "--set", "consensus_dim=16", "--save-every", "100"]  # fmt: skip
    # learning nothing, it gets no better: the second validation ends the run in both processes
    words += ["--lr", "1e-30", "--set", "flip=0", "--out", str(tmp_path / "run")]
    statuses, said = run_two(tmp_path, *words, work=watched)
    assert statuses == [0, 0], said
    progress = load_checkpoint(tmp_path / "run" / LAST).progress
    assert progress.since_best == 1
    assert 2 <= progress.step < 9
    assert said.count("so the run ends at step") == 1
    # once before the first step, then with every validation
    waits = [(tmp_path / f"waits-{rank}").read_text() for rank in (0, 1)]
    assert waits[0] == waits[1]
    assert len(waits[0]) == progress.step + 1
