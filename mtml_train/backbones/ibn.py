"""ResNets with half of a block's first normalisation made per image (IBN-Net a, Pan et al. 2018).

Looks of an image (colour, contrast, lighting) live in the statistics of its shallow maps. IBN-a
takes them out of half of the channels, in the first normalisation of each block of the first three
stages. Names of tensors are those of the published weights.
"""

from __future__ import annotations

from typing import Final

import torch
import torchvision
from torch import Tensor, nn

_WEIGHTS: Final = {
    "resnet18_ibn_a": "resnet18_ibn_a-2f571257.pth",
    "resnet34_ibn_a": "resnet34_ibn_a-94bc1577.pth",
    "resnet50_ibn_a": "resnet50_ibn_a-d9d0bb7b.pth",
    "resnet101_ibn_a": "resnet101_ibn_a-59ea0ac6.pth",
}
"""Files of the authors, whose names end with their hashes."""

_PLACE: Final = "https://github.com/XingangPan/IBN-Net/releases/download/v1.0/"

IBN_NETWORKS: Final = tuple(_WEIGHTS)


class InstanceBatchNorm(nn.Module):
    """The first half of the channels normalised per image, the others over the batch."""

    def __init__(self, channels: int) -> None:
        """Start from factors 1 and addends 0.

        Args:
            channels: of the maps.
        """
        super().__init__()
        self.split: int = channels // 2
        # names of attributes are names of tensors in the published weights
        self.IN = nn.InstanceNorm2d(self.split, affine=True)
        self.BN: nn.Module = nn.BatchNorm2d(channels - self.split)

    def forward(self, maps: Tensor) -> Tensor:
        """Normalised maps, float [B, F, H, W] as they came."""
        per_image = self.IN(maps[:, : self.split].contiguous())
        over_batch = self.BN(maps[:, self.split :].contiguous())
        return torch.cat((per_image, over_batch), dim=1)


def ibn_resnet(name: str) -> torchvision.models.ResNet:
    """A randomly initialised ResNet with IBN-a.

    Args:
        name: out of `IBN_NETWORKS`.

    Returns:
        The network with its classifier, float32 [B, 3, H, W] -> [B, 1000].
    """
    network: torchvision.models.ResNet = torchvision.models.get_model(
        name.removesuffix("_ibn_a"), weights=None
    )
    for stage in (network.layer1, network.layer2, network.layer3):
        for block in stage:
            block.bn1 = InstanceBatchNorm(block.bn1.num_features)
    return network


def ibn_address(name: str) -> str:
    """Where the authors keep the weights of a network that they trained on ImageNet."""
    return _PLACE + _WEIGHTS[name]
