"""Ctrl-C and SIGTERM: the run is saved between two steps, and goes on as if it had not stopped."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from helpers_training import (
    LAUNCH_TWO,
    TRAIN,
    assert_equal_tensors,
    board,
    flags,
    same_threads,
    small_config,
)

from mtml_deploy.errors import ImageError, OutputBusyError
from mtml_deploy.write_error import WriteError
from mtml_train.checkpoint import LAST, load_checkpoint
from mtml_train.distributed import Process
from mtml_train.history import HISTORY, read_history
from mtml_train.stop import Stopped, StopRequests
from mtml_train.train import StepReport, train
from mtml_train.validate import Validation

ALONE = Process(rank=0, world=1, device=torch.device("cpu"))
RARELY = 100
PARTS = {"sampler": "pk", "jitter": 0.5, "schedule": "cosine", "warmup_epochs": 0.5}


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run folder that is removed at once: a checkpoint is large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


@pytest.fixture(autouse=True)
def handlers_come_back() -> Iterator[None]:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


# when a signal takes effect


@pytest.mark.own_process
def test_a_signal_takes_effect_at_once_or_at_the_end_of_what_is_held() -> None:
    with pytest.raises(Stopped) as caught, StopRequests(ALONE):
        signal.raise_signal(signal.SIGTERM)
    assert (caught.value.number, caught.value.torn) == (signal.SIGTERM, False)
    done = []
    with pytest.raises(Stopped) as caught, StopRequests(ALONE) as stop:
        with stop.held():
            signal.raise_signal(signal.SIGINT)
            done.append("the step")
        done.append("more")
    assert done == ["the step"]
    assert not caught.value.torn


@pytest.mark.own_process
def test_whoever_asks_twice_does_not_wait() -> None:
    with pytest.raises(Stopped) as caught, StopRequests(ALONE) as stop, stop.held():
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
    assert caught.value.torn


# runs


@pytest.mark.own_process
def test_ctrl_c_in_any_epoch_goes_on_exactly(tiny_set: Path, run: Path) -> None:
    # 4 steps an epoch, and no save in between
    config = small_config(tiny_set, epochs=2, save_every=RARELY, **PARTS)
    texts: list[str] = []

    def press(report: object) -> None:
        if isinstance(report, StepReport) and report.step in (1, 6):
            signal.raise_signal(signal.SIGINT)
        elif isinstance(report, str):
            texts.append(report)

    resume = None
    for step in (1, 6):
        with pytest.raises(Stopped):
            train(config, run, resume=resume, report=press)
        assert texts[-1] == f"stopped: step {step} is saved; go on: mtml-train --out {run} --resume"
        resume = load_checkpoint(run / LAST, resume=True)
        assert resume.progress.step == step
    train(config, run, resume=resume)
    found = dict(load_checkpoint(run / LAST, resume=True).tensors)
    assert sorted(board(run, "loss/total")) == list(range(1, 9))
    losses = [point for point in read_history(run / HISTORY) if point.group == "loss"]
    assert [point.step for point in losses] == list(range(1, 9))  # none twice
    shutil.rmtree(run)
    train(config, run)
    assert_equal_tensors(found, dict(load_checkpoint(run / LAST, resume=True).tensors))


@pytest.mark.own_process
def test_before_the_first_step_there_is_nothing_to_save(
    tiny_set: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtml_train import train as loop

    def press(*_: object, **__: object) -> Iterator[object]:
        signal.raise_signal(signal.SIGINT)
        yield

    monkeypatch.setattr(loop, "training_batches", press)
    texts: list[object] = []
    with pytest.raises(Stopped):
        train(small_config(tiny_set), run, report=texts.append)
    assert texts[-1] == "stopped before the end of the first step: there is nothing to save"
    assert not (run / LAST).exists()


@pytest.mark.own_process
def test_a_validation_that_was_stopped_is_done_first(
    tiny_set: Path, run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mtml_train import train as loop

    real = loop.validate

    def press(*_: object, **__: object) -> Validation:
        signal.raise_signal(signal.SIGTERM)
        raise AssertionError("the signal stops the run before this")

    config = small_config(tiny_set, max_steps=2, val=f"veri:{tiny_set}", val_every=9)
    monkeypatch.setattr(loop, "validate", press)
    with pytest.raises(Stopped):
        train(config, run)
    monkeypatch.setattr(loop, "validate", real)
    progress = train(config, run, resume=load_checkpoint(run / LAST, resume=True))
    assert (progress.step, progress.validation_due) == (2, False)
    assert progress.validation is not None


def test_a_bad_image_in_mid_epoch_loses_no_step(tiny_set: Path, run: Path, tmp_path: Path) -> None:
    from mtml_deploy.data.source import load_source
    from mtml_train.data.sampler import plan_epoch
    from mtml_train.data.train_set import join_training_sets

    shutil.copytree(tiny_set, tmp_path / "set")
    config = small_config(tmp_path / "set", epochs=1)
    images = load_source(f"veri:{tmp_path / 'set'}#train")
    plan = plan_epoch(join_training_sets([images]), config, 0)
    bad = images.records[plan[2][0]].path  # of the third of four steps
    content = bad.read_bytes()
    bad.write_bytes(content[:200])
    texts: list[object] = []
    with pytest.raises(ImageError, match=bad.name):
        train(config, run, report=texts.append)
    assert "an image cannot be read: step 2 is saved; go on when it is mended" in str(texts[-1])
    bad.write_bytes(content)
    assert train(config, run, resume=load_checkpoint(run / LAST, resume=True)).step == 4


def first_lines(process: subprocess.Popen[str], until: str) -> str:
    """What a command says up to a line that holds `until`."""
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if until in line:
            return said
    raise AssertionError(said)


def test_the_command_with_workers_saves_and_says_so(tiny_set: Path, run: Path) -> None:
    config = small_config(tiny_set, workers=2, save_every=10_000, epochs=1000)
    process = subprocess.Popen(
        [*TRAIN, *flags(config), "--out", str(run)],
        stderr=subprocess.PIPE, text=True, env=same_threads(), start_new_session=True,
    )  # fmt: skip
    try:
        first_lines(process, "step 2/")
        os.killpg(process.pid, signal.SIGTERM)  # the workers get it too
        _, rest = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in rest
    step = load_checkpoint(run / LAST).progress.step
    assert step >= 2
    assert f"stopped: step {step} is saved; go on: mtml-train --out {run} --resume" in rest


def test_two_processes_stop_at_the_same_step(tiny_set: Path, run: Path) -> None:
    config = small_config(tiny_set, workers=1, save_every=10_000, epochs=1000)
    process = subprocess.Popen(
        [*LAUNCH_TWO, *flags(config), "--out", str(run)],
        stderr=subprocess.PIPE, text=True, env=same_threads(), start_new_session=True,
    )  # fmt: skip
    try:
        first_lines(process, "step 2/")
        process.send_signal(signal.SIGINT)  # to the launcher, which passes it on
        _, rest = process.communicate(timeout=90)
    finally:
        os.killpg(process.pid, signal.SIGKILL) if process.poll() is None else None
    step = load_checkpoint(run / LAST).progress.step
    assert step >= 2
    assert rest.count(f"stopped: step {step} is saved") == 1


# a machine that refuses, and another run


def test_a_checkpoint_without_room_leaves_the_one_before(tiny_set: Path, run: Path) -> None:
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    config = small_config(tiny_set, max_steps=2, save_every=1)
    whole = 0

    def fill(report: object) -> None:
        nonlocal whole
        if isinstance(report, StepReport) and report.step == 2:
            whole = (run / LAST).stat().st_size
            resource.setrlimit(resource.RLIMIT_FSIZE, (whole - 1, limit[1]))

    try:
        with pytest.raises(
            WriteError, match=r"last\.safetensors cannot be written: File too large"
        ):
            train(config, run, report=fill)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert load_checkpoint(run / LAST, resume=True).progress.step == 1
    assert not [path for path in run.iterdir() if path.name.startswith(".")]


def test_a_second_run_into_one_folder_is_refused(tiny_set: Path, run: Path) -> None:
    config = small_config(tiny_set, max_steps=1)

    def second(report: object) -> None:
        if isinstance(report, StepReport):
            with pytest.raises(OutputBusyError, match=f"number {os.getpid()} on "):
                train(config, run)

    assert train(config, run, report=second).step == 1
