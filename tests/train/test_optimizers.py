"""What moves the weights: each optimiser by its formula, frozen backbones, averages, resuming."""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pytest
import torch
from helpers_training import (
    assert_equal_tensors,
    board,
    flags,
    random_images,
    run_two,
    small_config,
)
from torch import Tensor

from mtml_deploy.errors import CheckpointError
from mtml_train.checkpoint import BEST, LAST, build_model, load_checkpoint, load_optimizer
from mtml_train.config import TrainConfig
from mtml_train.data.loader import TrainBatch
from mtml_train.distributed import Process
from mtml_train.model import MTML
from mtml_train.optimizers import build_optimizer
from mtml_train.step import TrainStep, learning_rate
from mtml_train.train import train

ALONE = Process(rank=0, world=1, device=torch.device("cpu"))

ROUNDING = 1e-6
"""Absolute: float32 of weights about 1, after three updates."""

PROCESSES = 1e-3
"""Relative, of a loss after a few steps: gradients are added in another order."""


on_tiny = pytest.mark.usefixtures("tiny")


def started(**changes: object) -> tuple[MTML, TrainStep]:
    config = small_config("unused", **changes)
    torch.manual_seed(0)
    model = build_model(config, 3).train()
    return model, TrainStep(model, config, ALONE)


def batch(seed: int) -> TrainBatch:
    images = torch.from_numpy(random_images(4, seed=seed))
    return TrainBatch(images, torch.arange(4) % 3, torch.full((4,), -1))


def copied(model: torch.nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.state_dict().items()}


# one step


def updated(kind: str, value: Tensor, gradients: list[Tensor], rate: float, decay: float) -> Tensor:
    """Weights after steps with `gradients`, by the formulas; betas 0.9 and 0.999, momentum 0.9."""
    first, second = torch.zeros_like(value), torch.zeros_like(value)
    for n, plain in enumerate(gradients, 1):
        gradient = plain if kind == "adamw" else plain + decay * value
        if kind == "sgd":
            first = gradient if n == 1 else 0.9 * first + gradient
            value = value - rate * first
            continue
        if kind == "adamw":
            value = value - rate * decay * value
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = torch.sqrt(second / (1 - 0.999**n)) + 1e-8
        value = value - rate * first / (1 - 0.9**n) / root
    return value


@on_tiny
@pytest.mark.parametrize("kind", ["adamw", "adam", "sgd"])
def test_each_optimiser_by_its_formula_with_its_own_rate_for_heads(kind: str) -> None:
    model, step = started(optimizer=kind, weight_decay=0.1, head_lr=5.0)
    watched = {"consensus_head.weight": 5e-3, "trunks.nets.gray.1.weight": 1e-3}
    values = {name: value for name, value in model.named_parameters() if name in watched}
    before = {name: value.detach().double() for name, value in values.items()}
    gradients: dict[str, list[Tensor]] = {name: [] for name in watched}
    for seed in range(3):
        step([batch(seed)], 1e-3)
        for name, value in values.items():
            assert value.grad is not None
            gradients[name].append(value.grad.double())
    for name, rate in watched.items():
        expected = updated(kind, before[name], gradients[name], rate, 0.1)
        torch.testing.assert_close(values[name].double(), expected, rtol=0, atol=ROUNDING)
        assert (values[name].double() - before[name]).abs().max() > 100 * ROUNDING


@on_tiny
def test_parameters_keep_their_order() -> None:
    # a checkpoint names an optimiser's tensors by it
    model, _ = started()
    groups = build_optimizer(model, TrainConfig()).param_groups
    found = [value for group in groups for value in group["params"]]
    assert [id(value) for value in found] == [id(value) for value in model.parameters()]


@on_tiny
def test_gradients_are_shortened_and_keep_their_direction() -> None:
    found = []
    for limit in (0.0, 0.5, 1e6):
        model, step = started(max_grad_norm=limit)
        step([batch(0)], 0.0)
        found.append(torch.cat([value.grad.flatten() for value in model.parameters()]))  # type: ignore[union-attr]
    whole, short, unchanged = found
    assert whole.norm() > 0.5
    assert short.norm().item() == pytest.approx(0.5, rel=1e-4)
    torch.testing.assert_close(short, whole * (0.5 / whole.norm()), rtol=1e-4, atol=1e-7)
    assert torch.equal(whole, unchanged)


@on_tiny
def test_frozen_backbones_stay_as_they_are_and_then_learn() -> None:
    model, step = started(freeze_steps=2)
    trunks, heads = copied(model.trunks), copied(model.id_heads)
    for seed in range(2):
        step([batch(seed)], 1e-3)
        assert_equal_tensors(copied(model.trunks), trunks)  # statistics of BatchNorm too
        assert not torch.equal(model.id_heads["gray"].weight, heads["gray.weight"])
        heads = copied(model.id_heads)
        model.train()  # as after a validation
    step([batch(2)], 1e-3)
    for name, value in model.trunks.state_dict().items():
        assert not torch.equal(value, trunks[name]), name


def test_a_warm_up_in_steps() -> None:
    config = TrainConfig(lr=1.0, warmup_steps=10)
    rates = [learning_rate(config, step, 3) for step in (0, 5, 10, 11)]
    assert rates == pytest.approx([0.01, 0.01 + 0.99 / 2, 1.0, 1.0])


@on_tiny
def test_the_average_by_hand() -> None:
    model, step = started(ema=0.3)
    name = "fusion.weight"
    expected = copied(model)
    mean = "trunks.nets.gray.1.running_mean"
    for done, decay in enumerate((1 / 10, 2 / 11, 3 / 12, 0.3)):  # (1 + n) / (10 + n), then 0.3
        step([batch(done)], 1e-2)
        now = copied(model)
        for each in (name, mean):
            expected[each] = decay * expected[each] + (1 - decay) * now[each]
    assert step.average is not None
    found = copied(step.average.model)
    for each in (name, mean):
        torch.testing.assert_close(found[each], expected[each], rtol=0, atol=ROUNDING)
        assert (found[each] - now[each]).abs().max() > 100 * ROUNDING
    assert found["trunks.nets.gray.1.num_batches_tracked"].item() == 4
    assert not step.average.model.training


# runs


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return tmp_path / "run"


def test_a_run_goes_on_exactly(tiny_set: Path, run: Path) -> None:
    changes = {
        "optimizer": "sgd", "weight_decay": 0.01, "head_lr": 3.0, "freeze_steps": 2, "ema": 0.9,
        "max_grad_norm": 1.0, "warmup_steps": 3, "save_every": 100,
    }  # fmt: skip
    train(small_config(tiny_set, max_steps=2, **changes), run)
    frozen = load_checkpoint(run / LAST, resume=True)
    train(small_config(tiny_set, max_steps=4, **changes), run, resume=frozen)
    found = load_checkpoint(run / LAST, resume=True)
    shutil.rmtree(run)
    train(small_config(tiny_set, max_steps=4, **changes), run)
    expected = load_checkpoint(run / LAST, resume=True)
    assert_equal_tensors(dict(found.tensors), dict(expected.tensors))
    shutil.rmtree(run)
    average, trained = expected.weights(), expected.trained()
    assert average.keys() == trained.keys()
    assert not torch.equal(average["fusion.weight"], trained["fusion.weight"])


def test_the_average_is_validated_and_kept(tiny_set: Path, run: Path) -> None:
    # at a rate of nearly 1 the average stays near the start, and the weights do not
    config = small_config(
        tiny_set, max_steps=2, ema=0.9, lr=1e-2, val=f"veri:{tiny_set}", save_every=100
    )
    seen: list[dict[str, Tensor]] = []
    with pytest.MonkeyPatch.context() as patch:
        from mtml_train import train as module

        whole = module.validate

        def watched(model: MTML, *sets: object, **words: object) -> object:
            seen.append(copied(model))
            return whole(model, *sets, **words)  # type: ignore[arg-type]

        patch.setattr(module, "validate", watched)
        train(config, run)
    last, best = load_checkpoint(run / LAST, resume=True), load_checkpoint(run / BEST, resume=True)
    assert_equal_tensors(seen[-1], last.weights())
    assert_equal_tensors(best.weights(), last.weights())
    assert not torch.equal(last.weights()["fusion.weight"], last.trained()["fusion.weight"])
    # the best one holds no more than the model
    assert {name.split(".")[0] for name in best.tensors} == {"model"}
    with pytest.raises(CheckpointError, match="do not fit its own settings"):
        train(config, run, resume=best)
    shutil.rmtree(run)


def test_another_optimisers_state_is_refused(tiny_set: Path, run: Path) -> None:
    train(small_config(tiny_set, max_steps=1, optimizer="sgd"), run)
    checkpoint = load_checkpoint(run / LAST, resume=True)
    shutil.rmtree(run)
    model, step = started()
    with pytest.raises(CheckpointError, match="parameter 0 has momentum_buffer"):
        load_optimizer(checkpoint, step.optimizer)
    del model


def test_two_processes_freeze_and_shorten_as_one_does(tiny_set: Path, run: Path) -> None:
    changes = {"freeze_steps": 1, "ema": 0.9, "max_grad_norm": 1.0, "max_steps": 3}
    statuses, said = run_two(*flags(small_config(tiny_set, **changes)), "--out", run)
    assert statuses == [0, 0], said
    two, average = board(run, "loss/total"), load_checkpoint(run / LAST).weights()
    shutil.rmtree(run)
    train(small_config(tiny_set, accumulate=2, **changes), run)
    assert two == pytest.approx(board(run, "loss/total"), rel=PROCESSES)
    alone = load_checkpoint(run / LAST).weights()["id_heads.gray.weight"]
    shutil.rmtree(run)
    assert (average["id_heads.gray.weight"] - alone).abs().max() < 1e-4
    assert all(math.isfinite(loss) for loss in two.values())
