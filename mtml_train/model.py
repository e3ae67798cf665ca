"""MTML: branches A-D, each a backbone of its own on its own view, and the consensus branch E.

In: RGB bytes [B, H, W, 3]. Out: `MTMLOutput`. Shape letters: B batch, R branches, F features of
one branch (2048 for ResNet-50), C identities. Paper section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from mtml_deploy.data.records import ORIENTATIONS
from mtml_train.backbones.build import build_backbone
from mtml_train.backbones.weights import load_backbones
from mtml_train.config import Neck, Pooling
from mtml_train.heads import CosineClassifier, neck_of
from mtml_train.views import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    LUMA,
    gray_view,
    normalise,
    per_channel,
    resize_matrix,
    scale_view,
    to_planes,
)


@dataclass(frozen=True)
class MTMLOutput:
    """Everything one forward pass gives; logits are before softmax.

    Attributes:
        id_logits: [R, B, C], one identity classifier per branch (eq. 1).
        orientation_logits: [B, 8] of branch D (eq. 3), None without that branch.
        consensus_logits: [B, C] of branch E (eq. 5).
        fused: [B, R * F], the branches' pooled features side by side, before any neck.
        consensus: [B, E], the feature fusion layer (E = 1024).
    """

    id_logits: Tensor
    orientation_logits: Tensor | None
    consensus_logits: Tensor
    fused: Tensor
    consensus: Tensor


class Backbones(nn.Module):
    """The part of MTML that deployment keeps: views and backbones, images -> pooled features."""

    mean: Tensor
    std: Tensor
    luma: Tensor
    scale_rows: Tensor
    scale_columns: Tensor

    def __init__(
        self,
        *,
        backbone: str,
        branches: Sequence[str],
        image_size: tuple[int, int],
        scale_size: tuple[int, int],
        last_stride: int = 2,
        pooling: Pooling = "average",
    ) -> None:
        """Build one randomly initialised backbone per branch.

        Args:
            backbone: name of the network, see `build_backbone`.
            branches: names out of identity, scale, gray, orientation, in output order.
            image_size: height and width of the images, pixels.
            scale_size: height and width of the scale branch's view, pixels.
            last_stride: see `build_backbone`.
            pooling: see `build_backbone`.

        Raises:
            DataError: no such backbone.
        """
        super().__init__()
        self.backbone = backbone
        self.branches = tuple(branches)
        self.nets = nn.ModuleDict()
        for name in self.branches:
            self.nets[name], self.width = build_backbone(
                backbone,
                last_stride=last_stride,
                pooling=pooling,
                image_size=scale_size if name == "scale" else image_size,
            )
        # constants, so not part of a checkpoint
        self.register_buffer("mean", per_channel(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", per_channel(IMAGENET_STD), persistent=False)
        self.register_buffer("luma", per_channel(LUMA), persistent=False)
        for axis, *lengths in zip(("rows", "columns"), image_size, scale_size, strict=True):
            self.register_buffer(f"scale_{axis}", resize_matrix(*lengths), persistent=False)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Pooled features of every branch.

        Args:
            images: uint8 [B, H, W, 3], RGB.

        Returns:
            R tensors float [B, F], in the order of `branches`.
        """
        # 8-bit levels need more than half precision's 11 bits once they are filtered
        mixed = torch.is_autocast_enabled(images.device.type)
        with torch.autocast(images.device.type, enabled=False) if mixed else nullcontext():
            planes = to_planes(images)  # [B, 3, H, W]
            if torch.compiler.is_exporting():
                # the exporter writes channels-last strides down as gathers over the batch
                planes = planes.contiguous()
            views = [self.view(planes, name) for name in self.branches]
        return [self.nets[name](view) for name, view in zip(self.branches, views, strict=True)]

    def load_pretrained(self, weights: str) -> str:
        """Put the same pretrained weights into every branch's backbone.

        Args:
            weights: their name or a local file, see `load_backbones`.

        Returns:
            What was taken of a file, for people; else empty.

        Raises:
            CheckpointError: the download failed, or the file does not hold this backbone.
        """
        return load_backbones(list(self.nets.values()), self.backbone, weights)

    def view(self, planes: Tensor, name: str) -> Tensor:
        """What branch `name` sees.

        Args:
            planes: float32 [B, 3, H, W], 0..255, from `to_planes`.
            name: the branch.

        Returns:
            float32 [B, 3, H, W], or of the scale branch's view, normalised.
        """
        if name == "gray":
            planes = gray_view(planes, self.luma)
        elif name == "scale":
            planes = scale_view(planes, self.scale_rows, self.scale_columns)
        return normalise(planes, self.mean, self.std)


class MTML(nn.Module):
    """Backbones, classifiers and the consensus branch."""

    def __init__(
        self,
        *,
        backbone: str,
        branches: Sequence[str],
        identities: int,
        image_size: tuple[int, int],
        scale_size: tuple[int, int],
        consensus_dim: int,
        consensus_gradient: float = 1.0,
        last_stride: int = 2,
        pooling: Pooling = "average",
        neck: Neck = "none",
        cosine_scale: float | None = None,
    ) -> None:
        """Build the model with random weights; see `Backbones.load_pretrained` for ImageNet's.

        Args:
            backbone: name of the network, see `build_backbone`.
            branches: names of the branches beside E.
            identities: C, classes of every identity classifier.
            image_size: height and width of the images, pixels.
            scale_size: height and width of the scale branch's view, pixels.
            consensus_dim: E, width of the feature fusion layer.
            consensus_gradient: share of the gradient of branch E that its input passes on, 0..1; at
                0 branch E learns from the others, and they nothing from its own loss.
            last_stride: see `build_backbone`.
            pooling: see `build_backbone`.
            neck: "bn" for a BatchNorm between each feature, a branch's or E's, and its classifiers;
                identity classifiers then have no bias. The fusion layer takes features before it.
            cosine_scale: makes every identity classifier a `CosineClassifier` of that scale.

        Raises:
            DataError: no such backbone.
        """
        super().__init__()
        # names of attributes are names of tensors in every checkpoint and exported model
        self.trunks = Backbones(
            backbone=backbone,
            branches=branches,
            image_size=image_size,
            scale_size=scale_size,
            last_stride=last_stride,
            pooling=pooling,
        )
        width = self.trunks.width
        self.necks = nn.ModuleDict({name: neck_of(width) for name in branches if neck == "bn"})

        def classifier(features: int, *, bias: bool) -> nn.Module:
            if cosine_scale is not None:
                return CosineClassifier(features, identities, scale=cosine_scale)
            return nn.Linear(features, identities, bias=bias)

        self.id_heads = nn.ModuleDict(
            {name: classifier(width, bias=neck == "none") for name in branches}
        )
        self.orientation_head = (
            nn.Linear(width, len(ORIENTATIONS)) if "orientation" in branches else None
        )
        self.consensus_gradient = consensus_gradient
        self.fusion = nn.Linear(width * len(branches), consensus_dim)
        self.consensus_neck = neck_of(consensus_dim) if neck == "bn" else nn.Identity()
        self.consensus_head = classifier(consensus_dim, bias=neck == "none")

    def forward(self, images: Tensor) -> MTMLOutput:
        """All logits and features.

        Args:
            images: uint8 [B, H, W, 3], RGB.

        Returns:
            The output of every branch and of the consensus.
        """
        branches = self.trunks.branches
        pooled = self.trunks(images)  # R x [B, F]
        fused = torch.cat(pooled, dim=1)  # [B, R * F]
        consensus = self.fusion(_passing(fused, self.consensus_gradient))  # [B, E]
        by_name = dict(zip(branches, pooled, strict=True))
        for name, neck in self.necks.items():
            by_name[name] = neck(by_name[name])
        return MTMLOutput(
            id_logits=torch.stack([self.id_heads[name](by_name[name]) for name in branches]),
            orientation_logits=(
                None
                if self.orientation_head is None
                else self.orientation_head(by_name["orientation"])
            ),
            consensus_logits=self.consensus_head(self.consensus_neck(consensus)),
            fused=fused,
            consensus=consensus,
        )


def _passing(features: Tensor, share: float) -> Tensor:
    """`features`, which pass on `share` of the gradient that they are given."""
    if share == 1:
        return features
    fixed = features.detach()
    return fixed if share == 0 else fixed + share * (features - fixed)
