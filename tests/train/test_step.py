"""The learning rate of a step, and what one step does to the weights of every variant."""

import math
from pathlib import Path

import pytest
import torch
from helpers_training import SIZE, assert_equal_tensors, random_images, small_config
from torch import distributed
from torch.multiprocessing import start_processes

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


UNEVEN = [3, -1, -1, -1, 0, 7, -1, 5]
"""Labels of a step of 2 processes x 2 micro-batches x 2 images: 1, 0, 2 and 1 of 2 are known."""

SUMS_TOLERANCE = 1e-12
"""Absolute, in float64, of losses and gradients of about 1 that are added in another order."""


def step_in_double(process: Process, folder: Path, **changes: object) -> None:
    """One step of a process on its part of `UNEVEN`; leaves its losses and gradients in a file."""
    config = small_config("unused", variant="MTML-O", batch_size=8, temperature=2.0, **changes)
    torch.manual_seed(0)
    model = build_model(config, 3).double().eval()  # BatchNorm by its running statistics
    if process.world > 1:
        distributed.init_process_group(
            "gloo", init_method=f"file://{folder}/meet", rank=process.rank, world_size=process.world
        )
    images = torch.from_numpy(random_images(8))
    size = 8 // (config.accumulate * process.world)
    parts = [(n * process.world + process.rank) * size for n in range(config.accumulate)]
    batches = [
        TrainBatch(
            images[at : at + size],
            (torch.arange(8) % 3)[at : at + size],
            torch.tensor(UNEVEN)[at : at + size],
        )
        for at in parts
    ]
    step = TrainStep(model, config, process)
    step(batches, 0.0)
    gradients = {name: value.grad for name, value in small_parameters(model).items()}
    torch.save((step.read()[1], gradients), folder / f"{process.rank}.pt")
    if process.world > 1:
        distributed.destroy_process_group()


def step_of_two(rank: int, folder: Path) -> None:
    step_in_double(Process(rank, 2, torch.device("cpu")), folder, accumulate=2)


def small_parameters(model: torch.nn.Module) -> dict[str, torch.nn.Parameter]:
    """The first and last layers, and every scale and bias."""
    return {name: v for name, v in model.named_parameters() if v.numel() < 10_000}


def plain_step() -> tuple[dict[str, float], dict[str, torch.Tensor]]:
    """Losses and gradients of the whole batch in one piece, image by image."""
    config = small_config("unused", variant="MTML-O", batch_size=8)
    torch.manual_seed(0)
    model = build_model(config, 3).double().eval()
    output = model(torch.from_numpy(random_images(8)))
    assert output.orientation_logits is not None
    total = torch.zeros((), dtype=torch.float64)
    orientation = torch.zeros((), dtype=torch.float64)
    for image in range(8):
        soft = torch.softmax(output.consensus_logits[image] / 2, dim=0)
        for logits in output.id_logits[:, image]:
            total = total - torch.log_softmax(logits, dim=0)[image % 3] / 8
            total = total - (soft * torch.log_softmax(logits / 2, dim=0)).sum() * 4 / 3 / 8
        total = total - torch.log_softmax(output.consensus_logits[image], dim=0)[image % 3] / 8
        if UNEVEN[image] >= 0:
            p = torch.softmax(output.orientation_logits[image], dim=0)[UNEVEN[image]]
            orientation = orientation - torch.log(p) / 4  # N_S of the whole step
    total = total + orientation
    total.backward()
    losses = {"total": total.item(), "orientation/orientation": orientation.item()}
    return losses, {name: v.grad for name, v in small_parameters(model).items()}


def assert_same_step(folder: Path, rank: int) -> None:
    losses, gradients = torch.load(folder / f"{rank}.pt")
    expected_losses, expected = plain_step()
    for name, value in expected_losses.items():
        assert losses[name] == pytest.approx(value, abs=SUMS_TOLERANCE), name
    assert gradients.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(gradients[name], value, rtol=0, atol=SUMS_TOLERANCE, msg=name)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_micro_batches_are_the_whole_batch_however_labels_fall(
    tmp_path: Path, accumulate: int
) -> None:
    step_in_double(ALONE, tmp_path, accumulate=accumulate)
    assert_same_step(tmp_path, 0)


def test_processes_and_micro_batches_are_the_whole_batch_in_one(tmp_path: Path) -> None:
    start_processes(step_of_two, args=(tmp_path,), nprocs=2, start_method="forkserver")
    for rank in (0, 1):
        assert_same_step(tmp_path, rank)


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
    [({"amp": "fp16"}, "--amp fp16 needs a CUDA GPU"), ({"sync_bn": "on"}, "needs CUDA GPUs")],
)
def test_what_a_cpu_does_not_have_is_refused(changes: dict[str, object], message: str) -> None:
    config = small_config("unused", **changes)
    with pytest.raises(BackendError, match=message):
        TrainStep(build_model(config, 3), config, ALONE)
