"""Losses beyond the paper that shape distances and angles: triplets, and margins of classifiers.

Taken in float32 or better. Nothing here is part of the recipe `paper`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from mtml_train.config import MarginKind, TripletDistance, TripletOn


@dataclass(frozen=True)
class Triplet:
    """The triplet loss of a run.

    Attributes:
        weight: factor of each triplet loss.
        on: "fused" feature, each of the "branches", or "both".
        margin: of the distances; "soft" for softplus in place of a hinge.
        distance: "l2" or "cosine".
    """

    weight: float
    on: TripletOn = "fused"
    margin: float | Literal["soft"] = 0.3
    distance: TripletDistance = "l2"


@dataclass(frozen=True)
class Margin:
    """An identity loss on the cosines of a classifier without lengths.

    Attributes:
        kind: "cosface", "arcface" or "circle", see `margin_logits`.
        scale: s, what the logits are the cosines times.
        margin: m; of an angle in radians for "arcface".
    """

    kind: MarginKind
    scale: float
    margin: float


def wide(values: Tensor) -> Tensor:
    """`values` in float32; float64 stays."""
    return values if values.dtype == torch.float64 else values.float()


def triplet_loss(
    features: Tensor,
    vehicles: Tensor,
    *,
    margin: float | Literal["soft"],
    distance: TripletDistance = "l2",
    images: Tensor | None = None,
) -> Tensor:
    """Batch-hard triplet loss (Hermans et al. 2017, eq. 5), not part of the paper.

    Each anchor a has a furthest image p of its vehicle and a nearest image n of another. With
    g = d(a, p) - d(a, n) its loss is max(0, g + margin), or log(1 + e^g) for a "soft" margin. d is
    the Euclidean distance |x - y|, or for "cosine" 1 - x.y / (|x| |y|).

    Args:
        features: float [B, D].
        vehicles: int64 [B].
        margin: 0 or more, or "soft".
        distance: "l2" or "cosine".
        images: int64 [B], which image each row shows: a copy is no positive of its own original.
            None where no image is there twice.

    Returns:
        float [], mean over the anchors that have a positive and a negative; 0 if none has.
    """
    distances = _distances(wide(features), distance)  # [B, B]
    same = vehicles[:, None] == vehicles[None, :]
    itself = (
        torch.eye(len(vehicles), dtype=torch.bool, device=same.device)
        if images is None
        else images[:, None] == images[None, :]
    )
    positive = same & ~itself
    furthest = distances.masked_fill(~positive, -torch.inf).amax(dim=1)
    nearest = distances.masked_fill(same, torch.inf).amin(dim=1)
    valid = positive.any(dim=1) & ~same.all(dim=1)
    # masked before the subtraction: inf - inf would make the gradient NaN
    gap = torch.where(valid, furthest, 0.0) - torch.where(valid, nearest, 0.0)
    each = functional.softplus(gap) if margin == "soft" else functional.relu(gap + margin)
    loss = torch.where(valid, each, 0.0)
    return loss.sum() / valid.sum().clamp(min=1)


def _distances(features: Tensor, distance: TripletDistance) -> Tensor:
    """All distances [B, B] of features [B, D]."""
    if distance == "cosine":
        directions = functional.normalize(features, dim=1)
        return 1 - directions @ directions.T
    # from differences: the expanded form has no accurate gradient near 0
    return torch.cdist(features, features, compute_mode="donot_use_mm_for_euclid_dist")


def margin_logits(logits: Tensor, vehicles: Tensor, margin: Margin) -> Tensor:
    """The logits of training, in which the true identity y has a harder time than the others.

    With c_j the cosine of feature and class j, s the scale and m the margin:
    "cosface" (Wang et al. 2018): z_y = s (c_y - m), z_j = s c_j.
    "arcface" (Deng et al. 2019): z_y = s cos(acos(c_y) + m), and s (c_y - m sin m) where that angle
    is beyond pi, which keeps it falling; z_j = s c_j.
    "circle" (Sun et al. 2020): z_y = s a (c_y - (1 - m)) with a = max(0, 1 + m - c_y), and
    z_j = s b (c_j - m) with b = max(0, c_j + m); no gradient flows through a and b.

    Args:
        logits: float [B, C], s c_j.
        vehicles: int64 [B].
        margin: kind, s and m.

    Returns:
        float [B, C], before softmax.
    """
    cosines = wide(logits) / margin.scale
    true = functional.one_hot(vehicles, logits.shape[1]).bool()
    m = margin.margin
    if margin.kind == "cosface":
        return margin.scale * torch.where(true, cosines - m, cosines)
    if margin.kind == "arcface":
        # sine 0 has no gradient
        sines = (1 - cosines**2).clamp(min=1e-12).sqrt()
        turned = cosines * math.cos(m) - sines * math.sin(m)
        beyond = cosines < math.cos(math.pi - m)
        turned = torch.where(beyond, cosines - m * math.sin(m), turned)
        return margin.scale * torch.where(true, turned, cosines)
    fixed = cosines.detach()
    hard_true = (1 + m - fixed).clamp(min=0) * (cosines - (1 - m))
    hard_other = (fixed + m).clamp(min=0) * (cosines - m)
    return margin.scale * torch.where(true, hard_true, hard_other)
