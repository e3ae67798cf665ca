"""The networks a branch can be made of: one function builds one, one loads its pretrained weights.

In: the name of a network. Out: the network without its classifier, and the width of its features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.error import URLError

import torchvision
from torch import Tensor, nn

from mtml_deploy.errors import CheckpointError, DataError
from mtml_deploy.text import foreign
from mtml_train.weights_file import load_tensors, read_weights_file

_HEADS: Final = ("fc.", "classifier.")
"""Classifiers that pretrained files bring along (torchvision's and torchreid's name); not kept."""


def build_backbone(name: str) -> tuple[nn.Module, int]:
    """A randomly initialised network that gives pooled features.

    Args:
        name: of a torchvision ResNet, for example "resnet50".

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
    network.fc = nn.Identity()  # global average pooling is the branch's feature
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
    kept = {key: value for key, value in state.items() if not key.startswith(_HEADS)}
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
