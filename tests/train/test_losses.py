"""Losses, equation by equation: by hand, against plain loops, and their gradients."""

import math

import pytest
import torch
from helpers_training import SIZE, random_images
from torch import Tensor

from mtml_train.losses import identity_loss, mtml_loss, mutual_loss, orientation_loss
from mtml_train.metric_losses import Triplet, triplet_loss
from mtml_train.model import MTML, MTMLOutput

LN2, LN3 = math.log(2), math.log(3)
OSG = ("identity", "scale", "gray", "orientation")


def close(found: Tensor, expected: float) -> None:
    # float32 of a few additions
    assert found.item() == pytest.approx(expected, rel=1e-6, abs=1e-7)


def seeded(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# eq. 1, 2, 5: softmax and cross entropy of the identity


def test_identity_loss_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [LN3, 0.0]])  # probabilities (1/2, 1/2) and (3/4, 1/4)
    close(identity_loss(logits, torch.tensor([0, 1])), (LN2 + 2 * LN2) / 2)


def test_label_smoothing_by_hand() -> None:
    logits = torch.tensor([[LN3, 0.0]])
    # the target is 0.9 + 0.1 / 2 on the true class and 0.1 / 2 on the other
    expected = 0.95 * math.log(4 / 3) + 0.05 * math.log(4)
    close(identity_loss(logits, torch.tensor([0]), label_smoothing=0.1), expected)


# eq. 3, 4: orientation


def rising(label: int) -> Tensor:
    """Logits whose softmax gives `label` 1/2 and each other class 1/14."""
    return torch.tensor([math.log(7) if i == label else 0.0 for i in range(8)])


def test_orientation_loss_of_a_batch_that_is_labelled() -> None:
    logits = torch.stack([rising(3), torch.zeros(8)])
    close(orientation_loss(logits, torch.tensor([3, 5])), (LN2 + 3 * LN2) / 2)
    close(orientation_loss(logits, torch.tensor([0, 5])), (math.log(14) + 3 * LN2) / 2)


def test_orientation_loss_counts_the_labelled_images_only() -> None:
    logits = torch.stack([rising(3), seeded(8) * 9, torch.zeros(8), seeded(8, seed=1) * 9])
    logits.requires_grad_()
    loss = orientation_loss(logits, torch.tensor([3, -1, 0, -1]))
    close(loss, (LN2 + 3 * LN2) / 2)  # divided by N_S = 2, not by 4
    loss.backward()
    assert logits.grad is not None
    assert not logits.grad[[1, 3]].any()
    assert logits.grad[[0, 2]].any(dim=1).all()


def test_orientation_loss_without_any_label_is_zero_with_zero_gradient() -> None:
    logits = seeded(4, 8).requires_grad_()
    loss = orientation_loss(logits, torch.full((4,), -1))
    assert loss.item() == 0.0
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad, torch.zeros(4, 8))


def test_orientation_loss_falls_as_the_right_class_becomes_likely() -> None:
    # the sign of eq. 4's second term: with the printed plus it would rise
    label = torch.tensor([2])
    losses = [orientation_loss((scale * rising(2))[None], label).item() for scale in (-1, 0, 1, 2)]
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] > 0


def test_orientation_loss_refuses_another_number_of_classes() -> None:
    with pytest.raises(ValueError, match="expected 8 orientation logits, got 7"):
        orientation_loss(torch.zeros(2, 7), torch.zeros(2, dtype=torch.int64))


# eq. 6, 7: mutual loss


def test_mutual_loss_by_hand() -> None:
    consensus = torch.tensor([[LN3, 0.0]])  # (3/4, 1/4)
    close(mutual_loss(torch.tensor([[0.0, 0.0]]), consensus), LN2 / 2)  # divided by N_id = 2
    expected = (0.75 * math.log(4 / 3) + 0.25 * math.log(4)) / 2
    close(mutual_loss(torch.tensor([[LN3, 0.0]]), consensus), expected)


def test_mutual_loss_against_a_plain_loop() -> None:
    logits, consensus = seeded(5, 7), seeded(5, 7, seed=1)
    total = 0.0
    for image in range(5):
        p = [math.exp(value) for value in logits[image].tolist()]
        soft = [math.exp(value) for value in consensus[image].tolist()]
        entropy = 0.0
        for j in range(7):
            entropy -= soft[j] / sum(soft) * math.log(p[j] / sum(p))
        total += entropy / 7
    close(mutual_loss(logits, consensus), total / 5)


def test_temperature_by_hand() -> None:
    # halved logits give (3/4, 1/4) and (1/2, 1/2); the result is multiplied by 2 squared
    consensus = torch.tensor([[2 * LN3, 0.0]])
    close(mutual_loss(torch.zeros(1, 2), consensus, temperature=2.0), 4 * LN2 / 2)


def test_gradient_of_the_mutual_loss() -> None:
    # d/dz of -sum p^C log softmax(z) is p - p^C; times 1 / (N_B N_id)
    logits, consensus = seeded(4, 3).requires_grad_(), seeded(4, 3, seed=1)
    mutual_loss(logits, consensus).backward()
    expected = (torch.softmax(logits, 1) - torch.softmax(consensus, 1)) / (4 * 3)
    torch.testing.assert_close(logits.grad, expected.detach())


@pytest.fixture(scope="module")
def model() -> MTML:
    torch.manual_seed(0)
    return MTML(
        backbone="resnet18",
        branches=OSG,
        identities=5,
        image_size=(SIZE, SIZE),
        scale_size=(23, 23),
        consensus_dim=12,
    )


@pytest.mark.parametrize("detach", [False, True])
def test_where_the_mutual_loss_of_one_branch_sends_gradients(model: MTML, detach: bool) -> None:
    model.zero_grad(set_to_none=True)
    output = model(torch.from_numpy(random_images(3)))
    branch = OSG.index("gray")
    mutual_loss(output.id_logits[branch], output.consensus_logits, detach=detach).backward()

    def reached(parameter: Tensor) -> bool:
        return parameter.grad is not None and bool(parameter.grad.any())

    # the branch itself always learns; the layers of the consensus, and through them the other
    # branches, only where the soft target is learnt too
    assert reached(model.trunks.nets["gray"].conv1.weight)
    assert reached(model.id_heads["gray"].weight)
    assert reached(model.fusion.weight) is not detach
    assert reached(model.consensus_head.weight) is not detach
    for other in ("identity", "scale", "orientation"):
        assert reached(model.trunks.nets[other].conv1.weight) is not detach
        assert not reached(model.id_heads[other].weight)


# the sum


def an_output(scale: float = 1.0, dtype: torch.dtype = torch.float32) -> MTMLOutput:
    """Random outputs of an MTML-OSG for four images and six identities."""
    return MTMLOutput(
        id_logits=(scale * seeded(4, 4, 6)).to(dtype),
        orientation_logits=(scale * seeded(4, 8, seed=1)).to(dtype),
        consensus_logits=(scale * seeded(4, 6, seed=2)).to(dtype),
        fused=seeded(4, 32, seed=3).to(dtype),
        consensus=seeded(4, 12, seed=4).to(dtype),
    )


def test_the_total_is_the_sum_of_its_weighted_parts() -> None:
    output, vehicles = an_output(), torch.tensor([0, 0, 3, 3])
    orientations = torch.tensor([7, -1, 0, -1])
    losses = mtml_loss(
        output,
        vehicles,
        orientations,
        branches=OSG,
        consensus_weight=0.5,
        temperature=2.0,
        label_smoothing=0.1,
        triplet=Triplet(3.0, "fused", 0.2),
    )
    expected = {
        "orientation/orientation": orientation_loss(output.orientation_logits, orientations),
        "consensus/id": identity_loss(output.consensus_logits, vehicles, label_smoothing=0.1),
        "triplet": 3.0 * triplet_loss(output.fused, vehicles, margin=0.2),
    }
    for name, logits in zip(OSG, output.id_logits, strict=True):
        expected[f"{name}/id"] = identity_loss(logits, vehicles, label_smoothing=0.1)
        expected[f"{name}/mutual"] = 0.5 * mutual_loss(
            logits, output.consensus_logits, temperature=2.0
        )
    assert losses.parts.keys() == expected.keys()
    for name, value in expected.items():
        close(losses.parts[name], value.item())
    close(losses.total, sum(value.item() for value in expected.values()))


def test_the_paper_has_no_triplet_and_a_model_without_branch_d_no_orientation_loss() -> None:
    full = an_output()
    output = MTMLOutput(full.id_logits[:2], None, full.consensus_logits, full.fused, full.consensus)
    losses = mtml_loss(
        output, torch.tensor([0, 1, 2, 3]), torch.tensor([0, 1, 2, 3]), branches=OSG[:2]
    )
    assert list(losses.parts) == [
        "identity/id", "identity/mutual", "scale/id", "scale/mutual", "consensus/id",
    ]  # fmt: skip


def test_logits_at_the_end_of_half_precision_give_finite_losses_and_gradients() -> None:
    extreme = torch.tensor([60000.0, -60000.0, 0.0, 60000.0, -60000.0, 1.0])
    wide = torch.tensor([60000.0, -60000.0] * 4)
    logits = extreme.repeat(4, 4, 1).half().requires_grad_()
    consensus = extreme.flip(0).repeat(4, 1).half().requires_grad_()
    orientation = wide.repeat(4, 1).half().requires_grad_()
    fused = (seeded(4, 32) * 60000).clamp(-60000, 60000).half().requires_grad_()
    output = MTMLOutput(logits, orientation, consensus, fused, fused)
    losses = mtml_loss(
        output,
        torch.tensor([0, 0, 1, 1]),
        torch.tensor([0, 1, -1, 2]),
        branches=OSG,
        triplet=Triplet(1.0, "both"),
    )
    assert losses.total.dtype == torch.float32
    assert all(value.isfinite() for value in (losses.total, *losses.parts.values()))
    losses.total.backward()
    for tensor in (logits, consensus, orientation, fused):
        assert tensor.grad is not None
        assert tensor.grad.isfinite().all()
