"""Losses and weights that are not finite: found, named by step, and never saved."""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from helpers_training import random_images, small_config
from torch import distributed, nn
from torch.multiprocessing import start_processes

from mtml_deploy.errors import CheckpointError, DivergedError
from mtml_train.checkpoint import (
    BEST,
    LAST,
    build_model,
    load_checkpoint,
    load_model,
    save_checkpoint,
)
from mtml_train.config import TrainConfig
from mtml_train.data.loader import TrainBatch
from mtml_train.distributed import Process
from mtml_train.divergence import (
    advice,
    first_not_finite,
    require_finite_losses,
    require_finite_state,
)
from mtml_train.run_card import Progress, RunCard
from mtml_train.step import TrainStep
from mtml_train.train import train

NAN, INF = math.nan, math.inf


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Path]:
    """A run folder that is removed at once: a checkpoint is large."""
    yield tmp_path / "run"
    shutil.rmtree(tmp_path / "run", ignore_errors=True)


# what is found


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([[2.0, 1.0, 1.0], [3.0, NAN, 1.0]], "the loss a is nan at step 11"),
        ([[NAN, 1.0, -INF], [3.0, NAN, 1.0]], "the loss b is -inf at step 10"),
        ([[INF, 1e38, 1e38]], "the loss total is inf at step 10"),  # parts that add up to it
    ],
)
def test_the_first_loss_that_is_not_finite_is_named(rows: list[list[float]], message: str) -> None:
    names = ("total", "a", "b")
    require_finite_losses(torch.zeros(2, 3), names, first_step=10)
    with pytest.raises(DivergedError, match=message):
        require_finite_losses(torch.tensor(rows), names, first_step=10)


def stepped() -> tuple[nn.Sequential, torch.optim.Optimizer]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(5, 3)).square().sum().backward()
    optimizer.step()
    return model, optimizer


@pytest.mark.parametrize("value", [NAN, INF, -INF])
@pytest.mark.parametrize("place", ["0.bias", "1.running_var", "exp_avg_sq of parameter 2"])
def test_weights_statistics_and_optimiser_are_looked_at(value: float, place: str) -> None:
    model, optimizer = stepped()
    require_finite_state(model, optimizer, step=7)
    if place.startswith("exp"):
        tensor = optimizer.state_dict()["state"][2]["exp_avg_sq"]
    else:
        tensor = model.state_dict()[place]
    tensor[1] = value
    with pytest.raises(DivergedError, match=f"^{place} is not finite after step 7$"):
        require_finite_state(model, optimizer, step=7)


def test_whole_numbers_are_left_alone() -> None:
    assert first_not_finite({"count": torch.tensor(3)}) == ""


def test_what_to_try_fits_the_settings() -> None:
    text = advice(TrainConfig(lr=3e-4, amp="fp16"), kept="kept")
    assert (
        "a lower --lr than 0.0003, --amp bf16 or none in place of fp16, shorter gradients" in text
    )
    assert text.endswith("(--set max_grad_norm=5) or a warm-up (--set warmup_epochs=5)")
    for warm in (TrainConfig(warmup_epochs=1.0), TrainConfig(warmup_steps=9)):
        text = advice(replace(warm, max_grad_norm=1.0), kept="x")
        assert text.endswith("a lower --lr than 0.0001")


# in training


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("val", [False, True])
def test_a_run_that_diverges_keeps_its_last_good_step(tiny_set: Path, run: Path, val: bool) -> None:
    # the first step moves every weight by 1e12: finite, and the second loss is not
    config = small_config(
        tiny_set, lr=1e12, save_every=1, log_every=100, val=f"veri:{tiny_set}" if val else ""
    )
    with pytest.raises(DivergedError) as caught:
        train(config, run)
    assert "is not finite after step 2, expected finite numbers" in str(caught.value)
    assert f"{run / LAST} keeps step 1, the last that was saved with finite weights; start" in str(
        caught.value
    )
    kept = load_checkpoint(run / LAST, resume=True)
    assert kept.progress.step == 1
    assert first_not_finite(kept.tensors) == ""
    assert not (run / BEST).exists()


def test_the_reading_that_sees_it_stops_the_run(tiny_set: Path, run: Path) -> None:
    config = small_config(tiny_set, lr=1e12, log_every=3)
    with pytest.raises(DivergedError, match=r"the loss \S+ is nan at step 2, .* no checkpoint was"):
        train(config, run)
    assert not (run / LAST).exists()


def test_embeddings_that_are_not_finite_are_no_validation(tiny_set: Path, run: Path) -> None:
    # one step of this size leaves finite weights, of which no image has a finite feature
    config = small_config(tiny_set, lr=1e12, max_steps=1, val=f"veri:{tiny_set}")
    with pytest.raises(DivergedError, match="the fused feature of a validation image is not"):
        train(config, run)
    assert not (run / BEST).exists()


def poisoned_step(rank: int, folder: Path) -> None:
    """Two steps of two processes; before the second one a weight of the second process is NaN."""
    distributed.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2
    )
    torch.manual_seed(0)
    config = small_config("unused", batch_size=8)
    model = build_model(config, 3).train()
    step = TrainStep(model, config, Process(rank, 2, torch.device("cpu")))
    images = torch.from_numpy(random_images(4, seed=rank))
    batch = TrainBatch(images, torch.tensor([0, 1, 2, 0]), torch.full((4,), -1))
    step([batch], 0.0)
    if rank == 1:
        with torch.no_grad():
            next(iter(model.parameters())).fill_(NAN)
    step([batch], 0.0)
    try:
        step.read(step=12)
        text = ""
    except DivergedError as error:
        text = str(error)
    (folder / f"{rank}.txt").write_text(text)
    distributed.destroy_process_group()


def test_all_processes_stop_at_what_one_of_them_sees(tmp_path: Path) -> None:
    start_processes(poisoned_step, args=(tmp_path,), nprocs=2, start_method="forkserver")
    texts = {(tmp_path / f"{rank}.txt").read_text() for rank in (0, 1)}
    assert len(texts) == 1
    assert texts.pop().endswith("is nan at step 12")


def test_a_model_that_diverged_is_not_exported(tmp_path: Path) -> None:
    config = small_config("x")
    model = build_model(config, 2)
    with torch.no_grad():
        model.fusion.weight[0, 0] = NAN
    card = RunCard(config, "paper", (), ())
    save_checkpoint(tmp_path / LAST, card, Progress(), model)
    with pytest.raises(CheckpointError, match=r"fusion\.weight\): the training had diverged"):
        load_model(load_checkpoint(tmp_path / LAST))
