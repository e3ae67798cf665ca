"""Triplets against plain loops, margins by hand, and where the sum of all losses puts them."""

import math
from typing import Literal

import pytest
import torch
from helpers_training import random_images, small_config
from torch import Tensor

from mtml_train.checkpoint import build_model
from mtml_train.config import TrainConfig
from mtml_train.data.loader import TrainBatch
from mtml_train.distributed import Process
from mtml_train.heads import CosineClassifier
from mtml_train.losses import identity_loss, mtml_loss, mutual_loss
from mtml_train.metric_losses import Margin, Triplet, margin_logits, triplet_loss
from mtml_train.model import MTMLOutput
from mtml_train.step import TrainStep

LN3 = math.log(3)


def close(found: Tensor, expected: float) -> None:
    # float32 of a few additions
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def plain_distance(left: Tensor, right: Tensor, kind: str) -> float:
    if kind == "l2":
        return math.dist(left.tolist(), right.tolist())
    product = sum(x * y for x, y in zip(left.tolist(), right.tolist(), strict=True))
    return 1 - product / (math.hypot(*left.tolist()) * math.hypot(*right.tolist()))


def plain_triplet(
    features: Tensor,
    vehicles: list[int],
    margin: float | str,
    kind: str = "l2",
    images: list[int] | None = None,
) -> float:
    shown = images or list(range(len(vehicles)))
    losses = []
    for a, anchor in enumerate(features):
        positives, negatives = [], []
        for i, other in enumerate(features):
            distance = plain_distance(anchor, other, kind)
            if vehicles[i] != vehicles[a]:
                negatives.append(distance)
            elif shown[i] != shown[a]:
                positives.append(distance)
        if positives and negatives:
            gap = max(positives) - min(negatives)
            soft = math.log(1 + math.exp(gap))
            losses.append(soft if margin == "soft" else max(0.0, gap + float(margin)))
    return sum(losses) / len(losses) if losses else 0.0


def test_triplet_loss_by_hand() -> None:
    features = torch.tensor([[0.0], [1.0], [3.0]])
    vehicles = torch.tensor([0, 0, 1])
    # anchors 0 and 1: 1 - 3 + margin and 1 - 2 + margin; anchor 2 has no positive
    close(triplet_loss(features, vehicles, margin=0.5), 0.0)
    close(triplet_loss(features, vehicles, margin=2.0), (0 + 1) / 2)
    close(triplet_loss(features, vehicles, margin=4.0), (2 + 3) / 2)


@pytest.mark.parametrize("seed", range(4))
def test_triplet_loss_against_a_plain_loop(seed: int) -> None:
    features = seeded(9, 4, seed=seed)
    vehicles = [0, 0, 0, 1, 1, 2, 3, 3, 3]  # vehicle 2 has no positive
    found = triplet_loss(features, torch.tensor(vehicles), margin=0.7)
    assert found.item() == pytest.approx(plain_triplet(features, vehicles, 0.7), rel=1e-5)


def test_triplet_loss_of_identical_images_is_the_margin_with_a_finite_gradient() -> None:
    features = torch.ones(4, 6, requires_grad=True)
    loss = triplet_loss(features, torch.tensor([0, 0, 1, 1]), margin=0.3)
    close(loss, 0.3)
    loss.backward()
    assert features.grad is not None
    assert features.grad.isfinite().all()


@pytest.mark.parametrize("vehicles", [[0, 0, 0], [0, 1, 2]])
def test_triplet_loss_without_any_triplet_is_zero(vehicles: list[int]) -> None:
    features = seeded(3, 4).requires_grad_()
    loss = triplet_loss(features, torch.tensor(vehicles), margin=0.3)
    assert loss.item() == 0.0
    loss.backward()
    assert features.grad is not None
    assert torch.equal(features.grad, torch.zeros(3, 4))


@pytest.mark.parametrize("distance", ["l2", "cosine"])
@pytest.mark.parametrize("margin", [0.7, "soft"])
@pytest.mark.parametrize("images", [None, [0, 1, 2, 3, 3, 5, 6, 7, 6]])
def test_every_triplet_loss_against_a_plain_loop(
    distance: Literal["l2", "cosine"], margin: float | Literal["soft"], images: list[int] | None
) -> None:
    features = seeded(9, 4, seed=5)
    vehicles = [0, 0, 0, 1, 1, 2, 3, 3, 3]
    found = triplet_loss(
        features,
        torch.tensor(vehicles),
        margin=margin,
        distance=distance,
        images=None if images is None else torch.tensor(images),
    )
    expected = plain_triplet(features, vehicles, margin, distance, images)
    assert expected > 0
    assert found.item() == pytest.approx(expected, rel=1e-5)


def test_a_cosine_triplet_by_hand() -> None:
    # directions 0, 90 and 180 degrees, of lengths that do not count
    features = torch.tensor([[5.0, 0.0], [0.0, 0.1], [-3.0, 0.0]])
    vehicles = torch.tensor([0, 0, 1])
    # anchor 0: 1 - 2 + margin; anchor 1: 1 - 1 + margin
    close(triplet_loss(features, vehicles, margin=0.5, distance="cosine"), (0 + 0.5) / 2)
    soft = (math.log(1 + math.exp(-1)) + math.log(2)) / 2
    close(triplet_loss(features, vehicles, margin="soft", distance="cosine"), soft)


def test_a_copy_is_no_positive_of_its_original() -> None:
    features = torch.tensor([[0.0], [0.0], [1.0], [4.0]])
    vehicles = torch.tensor([0, 0, 1, 1])
    images = torch.tensor([7, 7, 8, 9])
    # vehicle 0 has one image only: its rows are no anchors; 1 and 4: 3 - 1 + 1 and 3 - 4 + 1
    close(triplet_loss(features, vehicles, margin=1.0, images=images), (3 + 0) / 2)
    # counted as another image it would be a positive at distance 0: 0 - 1 + 1, twice
    close(triplet_loss(features, vehicles, margin=1.0), (0 + 0 + 3 + 0) / 4)


# margins


def test_cosines_do_not_depend_on_lengths() -> None:
    head = CosineClassifier(2, 3, scale=10.0)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[3.0, 0.0], [0.0, 0.5], [-1.0, -1.0]]))
    found = head(torch.tensor([[2.0, 0.0], [0.0, -8.0]]))
    half = 10 * math.sqrt(0.5)
    expected = torch.tensor([[10.0, 0.0, -half], [0.0, -10.0, half]])
    torch.testing.assert_close(found, expected)


COSINES = torch.tensor([[0.5, -0.25, 0.8]])


@pytest.mark.parametrize(
    ("margin", "vehicle", "expected"),
    [
        (Margin("cosface", 2.0, 0.3), 0, [2 * 0.2, -0.5, 1.6]),
        # cos(60 degrees + 30 degrees) = 0
        (Margin("arcface", 2.0, math.pi / 6), 0, [0.0, -0.5, 1.6]),
        # 1 + m - c = 0.75 times c - 0.75 = -0.25 on the true one, c + m times c - m on the others
        (Margin("circle", 2.0, 0.25), 0, [2 * 0.75 * -0.25, 0.0, 2 * 1.05 * 0.55]),
        (Margin("circle", 2.0, 0.25), 1, [2 * 0.75 * 0.25, 2 * 1.5 * -1.0, 2 * 1.05 * 0.55]),
    ],
)
def test_margins_by_hand(margin: Margin, vehicle: int, expected: list[float]) -> None:
    found = margin_logits(COSINES * margin.scale, torch.tensor([vehicle]), margin)
    assert found[0].tolist() == pytest.approx(expected, abs=1e-6)


def test_an_angle_beyond_pi_keeps_falling() -> None:
    margin = Margin("arcface", 1.0, 0.5)
    cosines = torch.cos(torch.linspace(0.01, math.pi - 0.01, 200, dtype=torch.float64))[:, None]
    found = margin_logits(cosines, torch.zeros(200, dtype=torch.int64), margin)[:, 0]
    assert (found.diff() < 0).all()
    # cos(3.0) - 0.5 sin(0.5) where 3.0 + 0.5 is beyond pi
    last = margin_logits(torch.tensor([[math.cos(3.0)]]), torch.tensor([0]), margin)
    close(last[0, 0], math.cos(3.0) - 0.5 * math.sin(0.5))


def test_no_gradient_flows_through_the_weights_of_the_circle() -> None:
    logits = COSINES.clone().requires_grad_()
    margin_logits(logits, torch.tensor([0]), Margin("circle", 1.0, 0.25)).sum().backward()
    assert logits.grad is not None
    assert logits.grad[0].tolist() == pytest.approx([0.75, 0.0, 1.05])


@pytest.mark.parametrize("kind", ["cosface", "arcface", "circle"])
def test_cosines_of_one_and_minus_one_have_finite_gradients(
    kind: Literal["cosface", "arcface", "circle"],
) -> None:
    logits = torch.tensor([[64.0, -64.0], [-64.0, 64.0]], requires_grad=True)
    identity_loss(logits, torch.tensor([0, 0]), margin=Margin(kind, 64.0, 0.35)).backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


def test_an_identity_loss_with_a_margin_by_hand() -> None:
    # s = 2 ln 3: true 0.5 - 0.5 gives e^0 = 1, the other e^(2 ln 3 x 0.5) = 3
    scale = 2 * LN3
    logits = scale * torch.tensor([[0.5, 0.5]])
    close(
        identity_loss(logits, torch.tensor([0]), margin=Margin("cosface", scale, 0.5)),
        2 * math.log(2),
    )


# the sum


def test_the_sum_compares_what_it_is_told_to() -> None:
    output = MTMLOutput(
        id_logits=seeded(2, 4, 6),
        orientation_logits=None,
        consensus_logits=seeded(4, 6, seed=2),
        fused=seeded(4, 10, seed=3),
        consensus=seeded(4, 12, seed=4),
    )
    vehicles, labels = torch.tensor([0, 0, 3, 3]), torch.full((4,), -1)
    names = ("identity", "gray")
    halves = {"identity/triplet": output.fused[:, :5], "gray/triplet": output.fused[:, 5:]}
    whole = {"triplet": output.fused}
    for on, compared in (("fused", whole), ("branches", halves), ("both", halves | whole)):
        triplet = Triplet(2.0, on, "soft", "cosine")  # type: ignore[arg-type]
        margin = Margin("cosface", 5.0, 0.1)
        found = mtml_loss(
            output, vehicles, labels, branches=names, triplet=triplet, margin=margin
        ).parts
        assert {name for name in found if "triplet" in name} == set(compared)
        for name, features in compared.items():
            one = triplet_loss(features, vehicles, margin="soft", distance="cosine")
            close(found[name], 2.0 * one.item())
        close(found["gray/id"], identity_loss(output.id_logits[1], vehicles, margin=margin).item())
        # the mutual loss compares what the classifiers say, without a margin
        mutual = mutual_loss(output.id_logits[1], output.consensus_logits)
        close(found["gray/mutual"], mutual.item())


@pytest.mark.parametrize("kind", ["cosface", "arcface", "circle"])
def test_a_step_learns_with_margins_and_triplets_of_branches(kind: str) -> None:
    config: TrainConfig = small_config(
        "unused", identity_loss=kind, neck="bn", sampler="pk", instances=2, triplet_weight=1.0,
        triplet_on="both", triplet_margin="soft", triplet_distance="cosine", amp="bf16",
    )  # fmt: skip
    torch.manual_seed(0)
    model = build_model(config, 3).train()
    step = TrainStep(model, config, Process(0, 1, torch.device("cpu")))
    pictures = torch.from_numpy(random_images(4))
    labels = torch.tensor([0, 0, 1, 1])
    batch = TrainBatch(pictures, labels, torch.full((4,), -1), torch.arange(4))
    before = {name: value.detach().clone() for name, value in model.named_parameters()}
    step([batch], 1e-3)
    losses = step.read()[1]
    assert {"identity/triplet", "gray/triplet", "triplet"} <= losses.keys()
    assert all(math.isfinite(value) for value in losses.values())
    # a classifier without lengths has no bias, and every direction moves
    assert [name for name, _ in model.id_heads.named_parameters()] == [
        "identity.weight",
        "gray.weight",
    ]
    for name, value in model.named_parameters():
        assert not torch.equal(value, before[name]), name
