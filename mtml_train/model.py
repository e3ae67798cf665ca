"""MTML: branches A-D, each a ResNet of its own on its own view, and the consensus branch E.

In: RGB bytes [B, H, W, 3]. Out: `MTMLOutput`. Shape letters: B batch, R branches, F features of
one branch (2048 for ResNet-50), C identities. Paper section 3.1.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from mtml_deploy.data.records import ORIENTATIONS
from mtml_deploy.errors import CheckpointError, DataError
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
        fused: [B, R * F], the branches' pooled features side by side.
        consensus: [B, E], the feature fusion layer (E = 1024).
    """

    id_logits: Tensor
    orientation_logits: Tensor | None
    consensus_logits: Tensor
    fused: Tensor
    consensus: Tensor


class Trunks(nn.Module):
    """The part of MTML that deployment keeps: views and ResNets, images -> pooled features."""

    mean: Tensor
    std: Tensor
    luma: Tensor
    scale_matrix: Tensor

    def __init__(
        self, *, backbone: str, branches: Sequence[str], image_size: int, scale_size: int
    ) -> None:
        """Build one randomly initialised ResNet per branch.

        Args:
            backbone: name of a torchvision ResNet.
            branches: names out of identity, scale, gray, orientation, in output order.
            image_size: height and width of the images, pixels.
            scale_size: height and width of the scale branch's view, pixels.

        Raises:
            DataError: torchvision has no such ResNet.
        """
        super().__init__()
        known = torchvision.models.list_models(
            module=torchvision.models, include=["resne*", "wide_resnet*"]
        )
        if backbone not in known:
            raise DataError(f"no backbone {backbone!r}; torchvision has: {', '.join(known)}")
        self.branches = tuple(branches)
        self.nets = nn.ModuleDict()
        for name in self.branches:
            net = torchvision.models.get_model(backbone, weights=None)
            self.features = net.fc.in_features
            net.fc = nn.Identity()  # global average pooling is the branch's feature
            self.nets[name] = net
        # constants, so not part of a checkpoint
        self.register_buffer("mean", per_channel(IMAGENET_MEAN), persistent=False)
        self.register_buffer("std", per_channel(IMAGENET_STD), persistent=False)
        self.register_buffer("luma", per_channel(LUMA), persistent=False)
        matrix = resize_matrix(image_size, scale_size)
        self.register_buffer("scale_matrix", matrix, persistent=False)

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

    def view(self, planes: Tensor, name: str) -> Tensor:
        """What branch `name` sees.

        Args:
            planes: float32 [B, 3, H, W], 0..255, from `to_planes`.
            name: the branch.

        Returns:
            float32 [B, 3, S, S], normalised.
        """
        if name == "gray":
            planes = gray_view(planes, self.luma)
        elif name == "scale":
            planes = scale_view(planes, self.scale_matrix)
        return normalise(planes, self.mean, self.std)


class MTML(nn.Module):
    """Trunks, classifiers and the consensus branch."""

    def __init__(
        self,
        *,
        backbone: str,
        branches: Sequence[str],
        identities: int,
        image_size: int,
        scale_size: int,
        consensus_dim: int,
    ) -> None:
        """Build the model with random weights; see `load_backbone_weights` for ImageNet's.

        Args:
            backbone: name of a torchvision ResNet.
            branches: names of the branches beside E.
            identities: C, classes of every identity classifier.
            image_size: height and width of the images, pixels.
            scale_size: height and width of the scale branch's view, pixels.
            consensus_dim: E, width of the feature fusion layer.

        Raises:
            DataError: torchvision has no such ResNet.
        """
        super().__init__()
        self.trunks = Trunks(
            backbone=backbone, branches=branches, image_size=image_size, scale_size=scale_size
        )
        width = self.trunks.features
        self.id_heads = nn.ModuleDict({name: nn.Linear(width, identities) for name in branches})
        self.orientation_head = (
            nn.Linear(width, len(ORIENTATIONS)) if "orientation" in branches else None
        )
        self.fusion = nn.Linear(width * len(branches), consensus_dim)
        self.consensus_head = nn.Linear(consensus_dim, identities)

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
        consensus = self.fusion(fused)  # [B, E]
        by_name = dict(zip(branches, pooled, strict=True))
        return MTMLOutput(
            id_logits=torch.stack([self.id_heads[name](by_name[name]) for name in branches]),
            orientation_logits=(
                None
                if self.orientation_head is None
                else self.orientation_head(by_name["orientation"])
            ),
            consensus_logits=self.consensus_head(consensus),
            fused=fused,
            consensus=consensus,
        )


def load_backbone_weights(model: MTML, *, backbone: str, weights: str) -> None:
    """Put the same pretrained weights into every branch's ResNet.

    Args:
        model: changed in place.
        backbone: name of the torchvision ResNet.
        weights: "none", "imagenet" (torchvision's IMAGENET1K_V1, downloaded once) or a local file
            of that ResNet's weights (.safetensors, .pth).

    Raises:
        CheckpointError: the download failed, or the file does not hold this ResNet.
    """
    if weights == "none":
        return
    state = (
        _imagenet_weights(backbone) if weights == "imagenet" else read_weights_file(Path(weights))
    )
    for net in model.trunks.nets.values():
        try:
            result = net.load_state_dict(state, strict=False)
        except RuntimeError as error:  # equal names, other shapes: a deeper or wider ResNet
            raise CheckpointError(
                f"{weights} does not hold the weights of a {backbone}: tensors have other shapes; "
                "give the file that belongs to --backbone"
            ) from error
        foreign = [key for key in result.unexpected_keys if not key.startswith("fc.")]
        if result.missing_keys or foreign:
            raise CheckpointError(
                f"{weights} does not hold the weights of a {backbone}: "
                f"{len(result.missing_keys)} tensors missing (first: {result.missing_keys[:1]}), "
                f"{len(foreign)} foreign (first: {foreign[:1]}); give the file that belongs to "
                "--backbone"
            )


def _imagenet_weights(backbone: str) -> Mapping[str, Tensor]:
    """Torchvision's IMAGENET1K_V1 weights of `backbone`."""
    try:
        enum = torchvision.models.get_model_weights(backbone)
        return dict(enum["IMAGENET1K_V1"].get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"the ImageNet weights of {backbone} could not be downloaded ({error}); give a local "
            "file with --weights FILE, or train from random weights with --weights none"
        ) from error


def read_weights_file(path: Path) -> Mapping[str, Tensor]:
    """Tensors of a weights file; code inside a pickle is never run.

    Args:
        path: .safetensors, or a torch file (.pth, .pt) with a state dict, bare or under
            "state_dict"; a "module." prefix is dropped.

    Returns:
        Parameter name -> tensor.

    Raises:
        CheckpointError: missing, unreadable or of another content.
    """
    import safetensors.torch
    from safetensors import SafetensorError

    try:
        if path.suffix == ".safetensors":
            state: object = safetensors.torch.load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, SafetensorError, RuntimeError, ValueError, EOFError, KeyError) as error:
        raise CheckpointError(f"cannot read weights from {path}: {error}") from error
    except Exception as error:  # torch raises pickle.UnpicklingError for a file that needs code
        if type(error).__name__ != "UnpicklingError":
            raise
        raise CheckpointError(
            f"{path} holds more than tensors and was not loaded ({error}); save its state_dict"
        ) from error
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
        raise CheckpointError(f"{path} holds no state dict of tensors; save model.state_dict()")
    return {str(key).removeprefix("module."): value for key, value in state.items()}
