"""The losses of MTML, one function per equation of the paper, and their sum.

Softmaxes are taken in float32 or better, so half-precision logits do not overflow. Natural log
units.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN
from mtml_train.metric_losses import Margin, Triplet, margin_logits, triplet_loss, wide
from mtml_train.model import MTMLOutput


@dataclass(frozen=True)
class LossTerms:
    """The total and its parts; float [] each, on the model's device.

    Attributes:
        total: what is minimised.
        parts: name -> weighted part, for example "identity/id", "gray/mutual",
            "orientation/orientation", "consensus/id", "gray/triplet", "triplet"; they add up to the
            total.
    """

    total: Tensor
    parts: dict[str, Tensor]


def identity_loss(
    logits: Tensor,
    vehicles: Tensor,
    *,
    label_smoothing: float = 0.0,
    margin: Margin | None = None,
) -> Tensor:
    """Mean cross entropy of the true identity (eq. 1 and 2; on branch E: eq. 5).

    Args:
        logits: float [B, C], before softmax.
        vehicles: int64 [B], class index 0..C-1.
        label_smoothing: share of the target spread over all classes; 0 in the paper.
        margin: makes the true identity harder, see `margin_logits`; None in the paper.

    Returns:
        float [].
    """
    if margin is not None:
        logits = margin_logits(logits, vehicles, margin)
    return functional.cross_entropy(wide(logits), vehicles, label_smoothing=label_smoothing)


def orientation_loss(
    logits: Tensor, orientations: Tensor, *, labelled: Tensor | None = None
) -> Tensor:
    """Mean cross entropy over the N_S images whose orientation is known (eq. 3; eq. 4, 2nd term).

    The paper prints a plus before this sum; a cross entropy needs the minus used here.

    Args:
        logits: float [B, 8] of branch D, before softmax.
        orientations: int64 [B], 0..7; -1 where the data set has no label.
        labelled: float [], above 0, what the sum is divided by; None for N_S of this batch. Where
            a step is cut into micro-batches, N_S of the step over their number: their losses then
            average to the loss of the step, however unevenly the labels fall.

    Returns:
        float []; 0 (with zero gradients) when no image of the batch is labelled.

    Raises:
        ValueError: `logits` has another number of classes.
    """
    if logits.shape[1] != len(ORIENTATIONS):
        raise ValueError(f"expected {len(ORIENTATIONS)} orientation logits, got {logits.shape[1]}")
    # a sum over the labelled ones divided by their number, without asking the GPU for the number
    total = functional.cross_entropy(
        wide(logits), orientations, ignore_index=UNKNOWN, reduction="sum"
    )
    if labelled is None:
        labelled = (orientations != UNKNOWN).sum().clamp(min=1)
    return total / labelled.to(total.dtype)


def mutual_loss(
    logits: Tensor, consensus_logits: Tensor, *, temperature: float = 1.0, detach: bool = False
) -> Tensor:
    """L_C: cross entropy from the consensus distribution to a branch's (eq. 6 and 7).

    H_i = -1/N_id sum_j p^C_ij log p_ij, averaged over the batch. The consensus distribution is a
    soft target that is learnt too: gradients flow back through the feature fusion layer. Both
    distributions are softened by `temperature` and the result is multiplied by its square, which
    keeps the size of the gradients (Hinton et al. 2015); at 1 this is the printed equation.

    Args:
        logits: float [B, C] of the branch, before softmax.
        consensus_logits: float [B, C] of branch E, before softmax.
        temperature: above 0.
        detach: stop the gradient at the soft target (ablation).

    Returns:
        float [].
    """
    if detach:
        consensus_logits = consensus_logits.detach()
    target = torch.softmax(wide(consensus_logits) / temperature, dim=1)  # [B, C]
    log_p = torch.log_softmax(wide(logits) / temperature, dim=1)  # [B, C]
    identities = logits.shape[1]
    return -(target * log_p).sum(dim=1).mean() * temperature**2 / identities


def mtml_loss(
    output: MTMLOutput,
    vehicles: Tensor,
    orientations: Tensor,
    *,
    branches: Sequence[str],
    labelled: Tensor | None = None,
    consensus_weight: float = 1.0,
    temperature: float = 1.0,
    detach_consensus: bool = False,
    label_smoothing: float = 0.0,
    margin: Margin | None = None,
    triplet: Triplet | None = None,
    images: Tensor | None = None,
) -> LossTerms:
    """Sum of all branch losses and the consensus loss (paper, section 3.1).

    Args:
        output: what the model gave for B images.
        vehicles: int64 [B], class index.
        orientations: int64 [B], 0..7 or -1.
        branches: names, in the order of `output.id_logits`.
        labelled: see `orientation_loss`.
        consensus_weight: factor of L_C in every branch.
        temperature: see `mutual_loss`.
        detach_consensus: see `mutual_loss`.
        label_smoothing: see `identity_loss`.
        margin: see `identity_loss`; the mutual loss has none.
        triplet: adds triplet losses; None in the paper.
        images: see `triplet_loss`.

    Returns:
        The total and its parts.
    """
    parts: dict[str, Tensor] = {}
    for name, logits in zip(branches, output.id_logits, strict=True):
        parts[f"{name}/id"] = identity_loss(
            logits, vehicles, label_smoothing=label_smoothing, margin=margin
        )
        parts[f"{name}/mutual"] = consensus_weight * mutual_loss(
            logits, output.consensus_logits, temperature=temperature, detach=detach_consensus
        )
    if output.orientation_logits is not None:
        parts["orientation/orientation"] = orientation_loss(
            output.orientation_logits, orientations, labelled=labelled
        )
    parts["consensus/id"] = identity_loss(
        output.consensus_logits, vehicles, label_smoothing=label_smoothing, margin=margin
    )
    if triplet is not None:
        compared: dict[str, Tensor] = {}
        if triplet.on != "fused":
            each = output.fused.chunk(len(branches), dim=1)  # R x [B, F]
            compared |= {f"{name}/triplet": x for name, x in zip(branches, each, strict=True)}
        if triplet.on != "branches":
            compared["triplet"] = output.fused
        for part, features in compared.items():
            parts[part] = triplet.weight * triplet_loss(
                features,
                vehicles,
                margin=triplet.margin,
                distance=triplet.distance,
                images=images,
            )
    return LossTerms(total=torch.stack(list(parts.values())).sum(), parts=parts)
