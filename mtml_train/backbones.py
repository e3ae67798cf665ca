"""The networks a branch can be made of: one function builds one, one loads its pretrained weights.

In: the name of a network. Out: the network without its classifier, and the width of its features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from mtml_deploy.errors import CheckpointError, DataError
from mtml_deploy.text import foreign
from mtml_train.weights_file import load_tensors, read_weights_file

_HEADS: Final = ("fc.", "classifier.")
"""Classifiers that pretrained files bring along (torchvision's and torchreid's name); not kept."""


_SMALLEST: Final = 1e-4
"""Below a feature's size, and above what half precision holds with all its digits (6.1e-5)."""


class PowerMean(nn.Module):
    """Generalised-mean pooling (Radenovic et al. 2019): (mean over the map of x^p)^(1/p).

    The power p is learnt. At 1 it is the average, towards infinity the maximum. Values below 1e-4
    count as 1e-4. Powers are taken of the map over its largest value, so that none of them leaves
    half precision.
    """

    def __init__(self, *, power: float = 3.0) -> None:
        """Start from one power for all channels."""
        super().__init__()
        self.power = nn.Parameter(torch.full((1,), power))

    def forward(self, maps: Tensor) -> Tensor:
        """Pooled maps.

        Args:
            maps: float [B, F, H, W].

        Returns:
            float [B, F, 1, 1].
        """
        wide = maps if maps.dtype == torch.float64 else maps.float()
        with torch.autocast(maps.device.type, enabled=False):
            raised = wide.clamp(min=_SMALLEST)
            largest = raised.amax(dim=(2, 3), keepdim=True)  # [B, F, 1, 1]
            mean = ((raised / largest) ** self.power).mean(dim=(2, 3), keepdim=True)
            pooled = largest * mean ** (1 / self.power)
        return pooled.to(maps.dtype)


def build_backbone(
    name: str, *, last_stride: int = 2, pooling: str = "average"
) -> tuple[nn.Module, int]:
    """A randomly initialised network that gives pooled features.

    Args:
        name: of a torchvision ResNet, for example "resnet50".
        last_stride: 2, or 1 for a last map of twice the side.
        pooling: "average", or "gem" for `PowerMean`.

    Returns:
        The network, float32 [B, 3, S, S] -> float [B, F], and F.

    Raises:
        DataError: torchvision has no such ResNet.
    """
    known = torchvision.models.list_models(
        module=torchvision.models, include=["resne*", "wide_resnet*"]
    )
    if name not in known:
        raise DataError(f"no backbone {name!r}; torchvision has: {', '.join(known)}")
    network = torchvision.models.get_model(name, weights=None)
    width: int = network.fc.in_features
    network.fc = nn.Identity()  # the pooled map is the branch's feature
    if last_stride == 1:
        for module in network.layer4[0].modules():
            if isinstance(module, nn.Conv2d):  # of the main path and the shortcut
                module.stride = (1, 1)
    if pooling == "gem":
        network.avgpool = PowerMean()
    return network, width


def load_backbone(network: nn.Module, name: str, weights: str) -> None:
    """Put pretrained weights into a network.

    Args:
        network: what `build_backbone` gave for `name`; changed in place.
        name: of the network.
        weights: "none", "imagenet" (torchvision's IMAGENET1K_V1, downloaded once) or a local file
            of that ResNet's weights (.safetensors, .pth).

    Raises:
        CheckpointError: the download failed, or the file does not hold this network.
    """
    if weights == "none":
        return
    state = _imagenet_weights(name) if weights == "imagenet" else read_weights_file(Path(weights))
    # the power of a pooling is no part of such files
    kept = {key: value for key, value in network.state_dict().items() if key == "avgpool.power"}
    kept |= {key: value for key, value in state.items() if not key.startswith(_HEADS)}
    try:
        load_tensors(network, kept)
    except ValueError as error:
        raise CheckpointError(
            f"{weights} does not hold the weights of a {name}: {error}; give the file that belongs "
            "to --backbone"
        ) from error


def _imagenet_weights(name: str) -> Mapping[str, Tensor]:
    """Torchvision's IMAGENET1K_V1 weights of `name`."""
    try:
        enum = torchvision.models.get_model_weights(name)
        return dict(enum["IMAGENET1K_V1"].get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"the ImageNet weights of {name} could not be downloaded ({foreign(error)}); give "
            "a local file with --weights FILE, or train from random weights with --weights none"
        ) from error
