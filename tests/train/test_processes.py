"""Several processes: they stop together, speak once, and change nothing of the method."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner
from helpers_training import LAUNCH_TWO, board, flags, printed_totals, run_two, small_config

from mtml_deploy.data.source import load_source
from mtml_deploy.errors import BackendError
from mtml_train import distributed
from mtml_train.checkpoint import BEST, LAST, load_checkpoint
from mtml_train.cli.train import train_main
from mtml_train.data.sampler import plan_epoch
from mtml_train.data.train_set import join_training_sets


def test_two_processes_validate_save_and_resume(tiny_set: Path, tmp_path: Path) -> None:
    # the first process saves its best weights alone; 2 steps an epoch
    config = small_config(
        tiny_set, batch_size=18, val=f"veri:{tiny_set}", val_every=1, epochs=9, save_every=100
    )
    out = ("--out", tmp_path / "run")
    statuses, said = run_two(*flags(config), *out, "--max-steps", 5)
    assert statuses == [0, 0], said
    assert sorted(board(tmp_path / "run", "validation/mAP")) == [2, 4, 5]
    assert load_checkpoint(tmp_path / "run" / LAST).progress.step == 5
    assert load_checkpoint(tmp_path / "run" / BEST).progress.best > 0
    assert len(printed_totals(said)) == 5
    for line in ("weights in", "next: mtml-export"):  # the closing lines, once
        assert said.count(line) == 1
    assert "Warning" not in said

    statuses, said = run_two(*out, "--resume", "--max-steps", 6)
    assert statuses == [0, 0], said
    assert sorted(board(tmp_path / "run", "validation/mAP")) == [2, 4, 5, 6]
    assert load_checkpoint(tmp_path / "run" / LAST).progress.step == 6


def test_an_error_in_one_process_ends_all_with_one_message(tiny_set: Path, tmp_path: Path) -> None:
    copy = tmp_path / "damaged"
    shutil.copytree(tiny_set, copy)
    config = small_config(copy)
    train_set = join_training_sets([load_source(f"veri:{copy}", split="train")])
    # the second half of the first batch is the second process's
    bad = Path(train_set.paths[plan_epoch(train_set, config, 0)[0][-1]])
    bad.write_bytes(bad.read_bytes()[:200])
    words = [*LAUNCH_TWO, *flags(config), "--out", str(tmp_path / "run")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(words, capture_output=True, text=True, timeout=200, env=environment)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert bad.name in line
    assert "RuntimeError" not in done.stderr  # what the first process met is not shown


@pytest.mark.parametrize(("first", "shown"), [(True, 1), (False, 0)])
@pytest.mark.parametrize("rank", ["0", "1"])
def test_of_processes_that_fail_the_first_speaks(
    monkeypatch: pytest.MonkeyPatch, rank: str, first: bool, shown: int
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setattr(distributed, "first_to_fail", lambda: first)
    for words, status, text in (
        (["--data", "veri:x"], 1, "error: no run folder"),
        (["--lr", "x"], 2, "Error: Invalid value for '--lr'"),
    ):
        result = CliRunner().invoke(train_main, words)
        assert result.exit_code == status
        assert result.output.count(text) == shown
        assert bool(result.output) == bool(shown)


def test_several_processes_without_a_launcher_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with (
        pytest.raises(BackendError, match="WORLD_SIZE is 2, but RANK, MASTER_ADDR, MASTER_PORT"),
        distributed.join_processes("cpu"),
    ):
        pass
