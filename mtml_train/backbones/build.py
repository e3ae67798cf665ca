"""A branch's network by its name.

In: the name of a network. Out: the network without its classifier, and the width of its features.
"""

from __future__ import annotations

import torchvision
from torch import nn

from mtml_deploy.errors import DataError
from mtml_train.backbones.ibn import IBN_NETWORKS, ibn_resnet
from mtml_train.backbones.pooling import PowerMean
from mtml_train.backbones.timm_networks import TIMM, timm_network


def build_backbone(
    name: str,
    *,
    last_stride: int = 2,
    pooling: str = "average",
    image_size: tuple[int, int] = (224, 224),
) -> tuple[nn.Module, int]:
    """A randomly initialised network that gives pooled features.

    Args:
        name: of a torchvision ResNet, ResNeXt or wide ResNet, for example "resnet50"; of one of
            `IBN_NETWORKS`; or "timm:" and a name of timm.
        last_stride: 2, or 1 for a last map of twice the side.
        pooling: "average" (of timm: the network's own), or "gem" for `PowerMean`.
        image_size: height and width of what it will see, pixels; some networks are made for one.

    Returns:
        The network, float32 [B, 3, H, W] -> float [B, F], and F.

    Raises:
        DataError: there is no such network, or it has no place for `last_stride` or `pooling`.
        MissingExtraError: timm is asked for and not installed.
    """
    if name.startswith(TIMM):
        return timm_network(
            name.removeprefix(TIMM),
            last_stride=last_stride,
            pooling=pooling,
            image_size=image_size,
        )
    known = torchvision.models.list_models(
        module=torchvision.models, include=["resne*", "wide_resnet*"]
    )
    if name in IBN_NETWORKS:
        network = ibn_resnet(name)
    elif name in known:
        network = torchvision.models.get_model(name, weights=None)
    else:
        raise DataError(
            f"no backbone {name!r}; there are: {', '.join((*known, *IBN_NETWORKS))}, and timm:NAME "
            "for networks of timm"
        )
    width: int = network.fc.in_features
    network.fc = nn.Identity()  # the pooled map is the branch's feature
    if last_stride == 1:
        for module in network.layer4[0].modules():
            if isinstance(module, nn.Conv2d):  # of the main path and the shortcut
                module.stride = (1, 1)
    if pooling == "gem":
        network.avgpool = PowerMean()
    return network, width
