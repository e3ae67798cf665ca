"""The part of a trained MTML that is deployed: classifiers stripped.

In: a trained `MTML`. Out: a module from RGB bytes to embeddings, ready to be traced.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mtml_deploy.artifact.manifest import Normalised
from mtml_deploy.embed.unit_length import MIN_LENGTH
from mtml_deploy.errors import DataError
from mtml_train.model import MTML


class FusedExtractor(nn.Module):
    """Images to embeddings; the views of all branches are inside."""

    def __init__(
        self,
        model: MTML,
        *,
        branches: Sequence[str],
        embedding: str,
        with_orientation: bool,
        after_neck: bool = False,
        normalised: Normalised | None = None,
        flip_averaged: bool = False,
    ) -> None:
        """Copy what is needed of `model`, in evaluation mode.

        Args:
            model: trained, on the CPU; not changed.
            branches: branches to keep, in the order of the fused feature.
            embedding: "fused", "consensus" or one of `branches`.
            with_orientation: also give orientation probabilities.
            after_neck: take features after the BatchNorm of their branch, as its classifiers do.
            normalised: what is scaled to length 1, see `Manifest`.
            flip_averaged: take the mean of the pooled features of each image and its mirror image,
                before neck, fusion and lengths; orientations are those of the image alone.

        Raises:
            DataError: the model or the kept branches do not have what is asked for.
        """
        super().__init__()
        trained = model.trunks.branches
        for name in branches:
            if name not in trained:
                raise DataError(f"the model has no branch {name!r}; it has {', '.join(trained)}")
        if not branches or len(set(branches)) != len(branches):
            raise DataError("name one or more branches, each once")
        if embedding not in ("fused", "consensus", *branches):
            raise DataError(
                f"no embedding {embedding!r} with the branches {', '.join(branches)}; choose "
                f"fused, consensus or one of them"
            )
        if embedding == "consensus" and set(branches) != set(trained):
            raise DataError(
                "the consensus embedding is computed from all branches "
                f"({', '.join(trained)}); leave --branches out or use --embedding fused"
            )
        if with_orientation and "orientation" not in branches:
            raise DataError(
                "orientation probabilities need the branch orientation; the export has "
                f"{', '.join(branches)}"
            )
        if after_neck and not model.necks:
            raise DataError(
                "the model has no neck to take features after; leave --neck out, or train with "
                "--set neck=bn"
            )
        if after_neck and embedding == "consensus":
            raise DataError(
                "the consensus embedding is made of features before the neck; leave --neck out or "
                "use --embedding fused"
            )
        if normalised == "branches" and embedding == "consensus":
            raise DataError(
                "the consensus embedding has no parts of branches to normalise; use --normalise "
                "whole or --embedding fused"
            )
        # a single branch's embedding needs no other branch, except for the orientation output
        needed = {embedding} if embedding in branches else set(branches)
        if with_orientation:
            needed.add("orientation")
        self.trunks = copy.deepcopy(model.trunks)
        self.trunks.branches = tuple(name for name in trained if name in needed)
        for name in trained:
            if name not in needed:
                del self.trunks.nets[name]
        self.embedding = embedding
        self.after_neck = after_neck
        self.normalised = normalised
        self.flip_averaged = flip_averaged
        self.necks = nn.ModuleDict(
            {
                name: copy.deepcopy(neck)
                for name, neck in model.necks.items()
                if (after_neck and name in needed) or (with_orientation and name == "orientation")
            }
        )
        self.fusion = copy.deepcopy(model.fusion) if embedding == "consensus" else None
        self.orientation_head = copy.deepcopy(model.orientation_head) if with_orientation else None
        self.eval()

    @property
    def branches(self) -> tuple[str, ...]:
        """Branches that are computed, in the order of the fused feature."""
        return self.trunks.branches

    @property
    def fused_branches(self) -> tuple[str, ...]:
        """Branches whose features make up the embedding."""
        return (self.embedding,) if self.embedding in self.branches else self.branches

    @property
    def gives_fused(self) -> bool:
        """Whether the embedding is the fused feature itself and nothing made of it."""
        return self.fusion is None and self.normalised is None

    def forward(self, images: Tensor) -> Tensor:
        """Embeddings of images.

        Args:
            images: uint8 [B, H, W, 3], RGB.

        Returns:
            float32 [B, D].
        """
        return self.everything(images)[1]

    def everything(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """The fused feature, the embedding made of it, and the orientation.

        Args:
            images: uint8 [B, H, W, 3], RGB.

        Returns:
            float32 [B, R * F] of `fused_branches`; float32 [B, D]; and orientation probabilities
            float32 [B, 8] whose rows sum to 1, or None where they were not asked for.
        """
        seen = with_mirrored(images) if self.flip_averaged else images
        pooled = dict(zip(self.branches, self.trunks(seen), strict=True))  # R x [B, F]
        shown = pooled  # of the images as they are: a mirror image is seen from the other side
        if self.flip_averaged:
            pairs = {name: both.reshape(-1, 2, both.shape[1]) for name, both in pooled.items()}
            shown = {name: pair[:, 0] for name, pair in pairs.items()}
            pooled = {name: pair.mean(dim=1) for name, pair in pairs.items()}
        taken = pooled
        if self.after_neck:
            taken = {name: self.necks[name](pooled[name]) for name in self.fused_branches}
        parts = [taken[name] for name in self.fused_branches]  # R x [B, F]
        fused = torch.cat(parts, dim=1)  # [B, R * F]
        if self.normalised == "branches":
            unit = torch.cat([unit_length(part) for part in parts], dim=1)
            embeddings = unit / math.sqrt(len(parts))
        else:
            embeddings = fused if self.fusion is None else self.fusion(fused)
        if self.normalised == "whole":
            embeddings = unit_length(embeddings)
        if self.orientation_head is None:
            return fused, embeddings, None
        judged = shown["orientation"]
        if "orientation" in self.necks:
            judged = self.necks["orientation"](judged)
        logits = self.orientation_head(judged)
        return fused, embeddings, torch.softmax(logits, dim=1)


def with_mirrored(images: Tensor) -> Tensor:
    """Every image followed by its mirror image.

    Each beside its own, not all behind all: rows of one image then stay together whatever the
    batch, for whoever looks at inner features.

    Args:
        images: uint8 [B, H, W, 3].

    Returns:
        float32 [2 B, H, W, 3]; cast first, because TensorRT takes no uint8 tensor in a slice.
    """
    levels = images.float()
    return torch.stack([levels, levels.flip(2)], dim=1).flatten(0, 1)


def unit_length(features: Tensor) -> Tensor:
    """Rows divided by their length, in float32: the squares of 8192 values overflow half precision.

    Args:
        features: float32 [B, F].

    Returns:
        float32 [B, F], of length 1 but for rows shorter than `MIN_LENGTH`.
    """
    lengths: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)  # [B, 1]
    return features / lengths.clamp_min(MIN_LENGTH)
