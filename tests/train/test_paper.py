"""The recipe `paper`: what it computes equals the printed equations, written out plainly here."""

from __future__ import annotations

import math

import pytest
import torch
from helpers_training import SIZE, WIDTH, random_images, small_config, tiny_network
from torch import Tensor, nn

from mtml_train.checkpoint import build_model
from mtml_train.config import TrainConfig
from mtml_train.data.loader import TrainBatch
from mtml_train.distributed import Process
from mtml_train.losses import mtml_loss
from mtml_train.model import MTMLOutput
from mtml_train.settings import RECIPES, build_config
from mtml_train.step import TrainStep, learning_rate

TOLERANCE = 1e-12
"""Absolute, in float64, of losses, gradients and weights below 100: sums of up to some thousand
terms are made in another order, which moves the last of 16 digits of each."""

BRANCHES = ("identity", "gray", "orientation")
IDENTITIES = 5
IMAGES = 4
VEHICLES = [[0, 1, 4, 2], [3, 3, 0, 1], [2, 4, 1, 0]]
ORIENTATIONS = [[3, -1, 0, 7], [-1, -1, -1, -1], [5, 6, 1, -1]]
MEAN = torch.tensor([123.675, 116.28, 103.53], dtype=torch.float32).double().view(3, 1, 1)
STD = torch.tensor([58.395, 57.12, 57.375], dtype=torch.float32).double().view(3, 1, 1)

LUMA = torch.tensor([0.299, 0.587, 0.114], dtype=torch.float32).double().view(3, 1, 1)


def plain_losses(
    id_logits: list[Tensor],
    orientation_logits: Tensor | None,
    consensus_logits: Tensor,
    vehicles: list[int],
    orientations: list[int],
) -> dict[str, Tensor]:
    """Equations 1 to 7, image by image and class by class."""

    def softmax(logits: Tensor) -> Tensor:
        exponents = torch.exp(logits)
        return exponents / exponents.sum()

    zero = torch.zeros((), dtype=torch.float64)
    images, identities = consensus_logits.shape
    found = {"identity": zero, "mutual": zero, "orientation": zero, "consensus": zero}
    for i in range(images):
        soft = softmax(consensus_logits[i])
        found["consensus"] = found["consensus"] - torch.log(soft[vehicles[i]]) / images  # eq. 5
        for logits in id_logits:
            p = softmax(logits[i])  # eq. 1
            found["identity"] = found["identity"] - torch.log(p[vehicles[i]]) / images  # eq. 2
            for j in range(identities):  # eq. 6 and 7
                entropy = -soft[j] * torch.log(p[j]) / identities
                found["mutual"] = found["mutual"] + entropy / images
    known = [i for i in range(images) if orientations[i] >= 0]
    if orientation_logits is not None:
        for i in known:  # eq. 3 and 4, with the minus of a cross entropy
            p = softmax(orientation_logits[i])[orientations[i]]
            found["orientation"] = found["orientation"] - torch.log(p) / len(known)
    return found


class Plain(nn.Module):
    """The model of section 3.1 without the scale branch."""

    def __init__(self) -> None:
        super().__init__()
        for name in BRANCHES:
            self.add_module(name, tiny_network())
            self.add_module(f"{name}_ids", nn.Linear(WIDTH, IDENTITIES))
        self.orientations = nn.Linear(WIDTH, 8)
        self.fusion = nn.Linear(3 * WIDTH, 16)
        self.consensus = nn.Linear(16, IDENTITIES)

    def forward(self, images: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        planes = images.permute(0, 3, 1, 2).double()
        colour = (planes - MEAN) / STD
        gray = ((planes * LUMA).sum(dim=1, keepdim=True).expand_as(planes) - MEAN) / STD
        seen = {"identity": colour, "gray": gray, "orientation": colour}
        pooled = {name: self.get_submodule(name)(seen[name]) for name in BRANCHES}
        logits = [self.get_submodule(f"{name}_ids")(pooled[name]) for name in BRANCHES]
        fused = torch.cat([pooled[name] for name in BRANCHES], dim=1)
        return logits, self.orientations(pooled["orientation"]), self.consensus(self.fusion(fused))


def name_here(name: str) -> str:
    """The name that a tensor of MTML has in `Plain`."""
    for branch in BRANCHES:
        name = name.replace(f"trunks.nets.{branch}.", f"{branch}.")
        name = name.replace(f"id_heads.{branch}.", f"{branch}_ids.")
    return name.replace("orientation_head.", "orientations.").replace("consensus_head", "consensus")


def close(found: Tensor | None, expected: Tensor, name: str) -> None:
    assert found is not None
    assert found.shape == expected.shape
    assert (found - expected).abs().max().item() <= TOLERANCE, name


def test_steps_of_the_paper_are_adam_on_the_printed_equations(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("mtml_train.model.build_backbone", lambda *_, **__: (tiny_network(), WIDTH))
    config = small_config("unused", variant="MTML-OG", batch_size=IMAGES)
    torch.manual_seed(0)
    model = build_model(config, IDENTITIES).double().train()
    plain = Plain().double().train()
    plain.load_state_dict({name_here(k): v.clone() for k, v in model.state_dict().items()})
    step = TrainStep(model, config, Process(rank=0, world=1, device=torch.device("cpu")))
    first = {name: torch.zeros_like(value) for name, value in plain.named_parameters()}
    second = {name: torch.zeros_like(value) for name, value in plain.named_parameters()}
    for number, (vehicles, orientations) in enumerate(zip(VEHICLES, ORIENTATIONS, strict=True)):
        images = torch.from_numpy(random_images(IMAGES, seed=number, size=SIZE))
        rate = learning_rate(config, number, 10)
        assert rate == 1e-4
        step(
            [TrainBatch(images, torch.tensor(vehicles), torch.tensor(orientations))],
            rate,
        )
        plain.zero_grad()
        expected = plain_losses(*plain(images), vehicles, orientations)
        torch.stack(list(expected.values())).sum().backward()
        losses = step.read()[1]
        for part, names in (
            ("identity", [f"{name}/id" for name in BRANCHES]),
            ("mutual", [f"{name}/mutual" for name in BRANCHES]),
            ("orientation", ["orientation/orientation"]),
            ("consensus", ["consensus/id"]),
        ):
            found = sum(losses[name] for name in names)
            assert found == pytest.approx(expected[part].item(), rel=0, abs=TOLERANCE), part
        found_values = {name_here(name): value for name, value in model.named_parameters()}
        assert found_values.keys() == first.keys()
        with torch.no_grad():
            for name, value in plain.named_parameters():
                # a step without any orientation has no gradient of its classifier here
                gradient = torch.zeros_like(value) if value.grad is None else value.grad
                close(found_values[name].grad, gradient, f"gradient of {name}")
                # Adam (Kingma and Ba 2015, algorithm 1), betas 0.9 and 0.999
                first[name].mul_(0.9).add_(gradient, alpha=0.1)
                second[name].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
                size = (second[name] / (1 - 0.999 ** (number + 1))).sqrt_().add_(1e-8)
                value.addcdiv_(first[name], size, value=-1e-4 / (1 - 0.9 ** (number + 1)))
                close(found_values[name], value, name)


def test_the_loss_of_four_branches_and_its_gradients_are_the_printed_equations() -> None:
    generator = torch.Generator().manual_seed(3)

    def logits(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64, requires_grad=True)

    branches = ("identity", "scale", "gray", "orientation")
    identity, orientation, consensus = logits(4, 6, 7), logits(6, 8), logits(6, 7)
    output = MTMLOutput(identity, orientation, consensus, logits(6, 32), logits(6, 12))
    vehicles, orientations = [0, 6, 3, 3, 1, 2], [7, -1, 0, 2, -1, 5]
    config = TrainConfig()
    losses = mtml_loss(
        output,
        torch.tensor(vehicles),
        torch.tensor(orientations),
        branches=branches,
        consensus_weight=config.consensus_weight,
        temperature=config.temperature,
        detach_consensus=config.detach_consensus,
        label_smoothing=config.label_smoothing,
    )
    expected = torch.stack(
        list(plain_losses(list(identity), orientation, consensus, vehicles, orientations).values())
    ).sum()
    close(losses.total, expected, "total")
    inputs = (identity, orientation, consensus)
    for found, value in zip(
        torch.autograd.grad(losses.total, inputs),
        torch.autograd.grad(expected, inputs),
        strict=True,
    ):
        close(found, value, "gradient")


def test_the_paper_is_what_no_setting_changes() -> None:
    assert RECIPES["paper"] == {}
    config = build_config("paper", None, {})
    assert config == TrainConfig()
    assert math.isclose(learning_rate(config, 10**6, 7), 1e-4, rel_tol=0, abs_tol=0)
