"""The learning rate of a step, and what one step does to the weights of every variant."""

import math

import pytest
import torch
from helpers_training import SIZE, assert_equal_tensors, random_images, small_config

from mtml_deploy.errors import BackendError
from mtml_train.checkpoint import build_model
from mtml_train.config import VARIANTS, TrainConfig
from mtml_train.data.loader import TrainBatch
from mtml_train.distributed import Process
from mtml_train.losses import mtml_loss
from mtml_train.step import TrainStep, learning_rate

ALONE = Process(rank=0, world=1, device=torch.device("cpu"))


def batch(count: int = 4, seed: int = 0) -> TrainBatch:
    labels = torch.tensor([3, -1, 0, 7] * count)[:count]
    return TrainBatch(
        torch.from_numpy(random_images(count, seed=seed)), torch.arange(count) % 3, labels
    )


def test_the_paper_keeps_one_rate() -> None:
    config = TrainConfig()
    assert {learning_rate(config, step, 100) for step in (0, 1, 999, 14_999)} == {1e-4}


def test_warm_up_and_cosine_by_hand() -> None:
    config = TrainConfig(lr=0.5, schedule="cosine", warmup_epochs=2.0, epochs=10)

    def rate(step: int) -> float:
        return learning_rate(config, step, 5)  # warm-up: steps 0..10; the cosine ends at 50

    assert rate(0) == pytest.approx(0.005)  # 1 %
    assert rate(5) == pytest.approx(0.5 * 0.505)  # half way from 1 % to 100 %
    assert rate(10) == pytest.approx(0.5)
    assert rate(30) == pytest.approx(0.5 * 0.505)  # half way down: cos(pi / 2) = 0
    quarter = 0.01 + 0.99 * 0.5 * (1 + math.sqrt(0.5))
    assert rate(20) == pytest.approx(0.5 * quarter)
    assert rate(50) == pytest.approx(0.005)
    rates = [rate(step) for step in range(51)]
    assert rates[:11] == sorted(rates[:11])
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_warm_up_then_constant() -> None:
    config = TrainConfig(lr=1.0, warmup_epochs=0.5)
    assert learning_rate(config, 1, 4) == pytest.approx(0.01 + 0.99 / 2)
    assert [learning_rate(config, step, 4) for step in (2, 3, 400)] == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("variant", list(VARIANTS))
def test_one_step_teaches_every_part_of_every_variant(variant: str) -> None:
    config = small_config("unused", variant=variant, lr=1e-3)
    torch.manual_seed(0)
    model = build_model(config, 3).train()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    step = TrainStep(model, config, ALONE)
    step([batch()], 1e-3)
    speed, losses = step.read()
    assert speed > 0
    expected = {f"{name}/{part}" for name in config.branches for part in ("id", "mutual")}
    if "orientation" in config.branches:
        expected.add("orientation/orientation")
    assert losses.keys() == expected | {"total", "consensus/id"}
    assert all(math.isfinite(value) for value in losses.values())
    for name, value in model.named_parameters():
        change = (value - before[name]).abs().max().item()
        # Adam's first step is lr x sign(gradient); float32 rounds weights of about 1 by 6e-8
        assert 0 < change <= 1e-3 + 1e-6, name


def test_accumulated_gradients_are_the_mean_over_micro_batches() -> None:
    config = small_config("unused", accumulate=2, batch_size=8)
    torch.manual_seed(0)
    model = build_model(config, 3).train()
    halves = [batch(seed=1), batch(seed=2)]
    expected: dict[str, torch.Tensor] = {}
    totals = []
    for half in halves:
        model.zero_grad()
        losses = mtml_loss(
            model(half.images), half.vehicles, half.orientations, branches=config.branches
        )
        losses.total.backward()
        totals.append(losses.total.item())
        for name, value in model.named_parameters():
            assert value.grad is not None
            expected[name] = expected.get(name, 0) + value.grad.clone() / 2
    step = TrainStep(model, config, ALONE)
    step(halves, 0.0)
    for name, value in model.named_parameters():
        # the halves are scaled before they are added instead of after
        torch.testing.assert_close(value.grad, expected[name], rtol=1e-4, atol=1e-6)
    assert step.read()[1]["total"] == pytest.approx(sum(totals) / 2, rel=1e-5)


def test_losses_are_means_since_the_last_reading() -> None:
    config = small_config("unused")
    torch.manual_seed(0)
    model = build_model(config, 3).train()
    step = TrainStep(model, config, ALONE)
    assert step.read() == (0.0, {})
    single = []
    for seed in (1, 2):
        step([batch(seed=seed)], 0.0)  # a rate of 0 leaves the weights alone
        single.append(step.read()[1]["total"])
    step([batch(seed=1)], 0.0)
    step([batch(seed=2)], 0.0)
    assert step.read()[1]["total"] == pytest.approx(sum(single) / 2, rel=1e-6)
    assert step.read() == (0.0, {})


def test_weight_decay_is_decoupled() -> None:
    config = small_config("unused", weight_decay=0.1)
    step = TrainStep(build_model(config, 3), config, ALONE)
    assert isinstance(step.optimizer, torch.optim.AdamW)
    assert step.optimizer.param_groups[0]["weight_decay"] == 0.1


def test_bfloat16_trains_on_a_cpu() -> None:
    config = small_config("unused", amp="bf16")
    torch.manual_seed(0)
    model = build_model(config, 3).train()
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    step = TrainStep(model, config, ALONE)
    step([batch(2)], 1e-3)
    assert all(math.isfinite(value) for value in step.read()[1].values())
    for name, value in model.named_parameters():
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert not torch.equal(value, before[name]), name


def test_two_equal_steps_are_bit_equal() -> None:
    states = []
    for _ in range(2):
        config = small_config("unused", image_size=SIZE)
        torch.manual_seed(5)
        model = build_model(config, 3).train()
        step = TrainStep(model, config, ALONE)
        step([batch(seed=1)], 1e-3)
        step([batch(seed=2)], 1e-3)
        states.append(dict(model.state_dict()))
    assert_equal_tensors(*states)


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"amp": "fp16"}, "--amp fp16 needs a CUDA GPU"), ({"sync_bn": True}, "needs CUDA GPUs")],
)
def test_what_a_cpu_does_not_have_is_refused(changes: dict[str, object], message: str) -> None:
    config = small_config("unused", **changes)
    with pytest.raises(BackendError, match=message):
        TrainStep(build_model(config, 3), config, ALONE)
