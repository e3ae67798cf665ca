"""Several processes: they stop together, speak once, and change nothing of the method."""

from __future__ import annotations

from pathlib import Path

from helpers_training import board, flags, printed_totals, run_two, small_config

from mtml_train.checkpoint import BEST, LAST, load_checkpoint


def test_two_processes_validate_save_and_resume(tiny_set: Path, tmp_path: Path) -> None:
    # the first process saves its best weights alone; 2 steps an epoch
    config = small_config(
        tiny_set, batch_size=18, val=f"veri:{tiny_set}", val_every=1, epochs=9, save_every=100
    )
    out = ("--out", tmp_path / "run")
    done = run_two(*flags(config), *out, "--max-steps", 5)
    assert done.returncode == 0, done.stderr
    assert sorted(board(tmp_path / "run", "validation/mAP")) == [2, 4, 5]
    assert load_checkpoint(tmp_path / "run" / LAST).progress.step == 5
    assert load_checkpoint(tmp_path / "run" / BEST).progress.best_map > 0
    assert len(printed_totals(done.stderr)) == 5
    for line in ("weights in", "next: mtml-export"):  # the closing lines, once
        assert done.stderr.count(line) == 1
    assert "Warning" not in done.stderr

    done = run_two(*out, "--resume", "--max-steps", 6)
    assert done.returncode == 0, done.stderr
    assert sorted(board(tmp_path / "run", "validation/mAP")) == [2, 4, 5, 6]
    assert load_checkpoint(tmp_path / "run" / LAST).progress.step == 6
