"""Networks of the library timm, loaded only when one is asked for.

In: a name as timm lists it. Out: the network without its classifier, and the width of its features.
"""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from types import ModuleType
from typing import Final

import torch
from torch import Tensor, nn

from mtml_deploy.errors import CheckpointError, DataError, MissingExtraError
from mtml_deploy.text import foreign
from mtml_train.backbones.pooling import PowerMean

TIMM: Final = "timm:"
"""How the name of a backbone of timm begins."""

_STRIDED: Final = (nn.Conv2d, nn.AvgPool2d)


def timm_network(
    name: str, *, last_stride: int, pooling: str, image_size: tuple[int, int]
) -> tuple[nn.Module, int]:
    """A randomly initialised network of timm that gives pooled features.

    Args:
        name: as timm lists it, for example "resnet18d".
        last_stride: 1 makes the maps of a ResNet's last stage of twice the side.
        pooling: "gem" for a `PowerMean` in place of the network's own pooling.
        image_size: height and width of the images, pixels.

    Returns:
        The network, float32 [B, 3, H, W] -> float [B, F], and F.

    Raises:
        MissingExtraError: timm is not installed.
        DataError: timm has no such network, it takes no images of that size, or has no place for
            `last_stride` or `pooling`.
    """
    timm = _library()
    if not timm.is_model(name):
        near = get_close_matches(name, timm.list_models(), n=6)
        raise DataError(
            f"timm {timm.__version__} has no network {name!r}"
            + (f"; nearest: {', '.join(near)}" if near else "")
        )
    settings = timm.get_pretrained_cfg(name)
    fixed = settings is not None and settings.fixed_input_size
    size = {"img_size": image_size} if fixed else {}
    try:
        network: nn.Module = timm.create_model(name, pretrained=False, num_classes=0, **size)
        if last_stride == 1:
            _unstride(network, name)
        if pooling == "gem":
            _pool_by_powers(network, name)
        width = _width(network, image_size)
    except DataError:
        raise
    except Exception as error:  # each of its networks refuses in its own way
        raise DataError(
            f"{TIMM}{name} takes no images of {image_size[0]}x{image_size[1]} pixels "
            f"({foreign(error)}); choose another --image-size or another --backbone"
        ) from error
    return network, width


def timm_weights(name: str) -> Mapping[str, Tensor]:
    """The weights that timm gives a network by default, downloaded once.

    Args:
        name: as timm lists it.

    Returns:
        Parameter name -> tensor, classifier included.

    Raises:
        MissingExtraError: timm is not installed.
        CheckpointError: there are none, or they could not be downloaded.
    """
    timm = _library()
    try:
        network: nn.Module = timm.create_model(name, pretrained=True)
    except Exception as error:  # of the hub it loads from, of many kinds
        raise CheckpointError(
            f"timm's weights of {name} could not be downloaded ({foreign(error)}); give a local "
            "file with --weights FILE, or train from random weights with --weights none"
        ) from error
    return network.state_dict()


def classifier_of(network: nn.Module) -> tuple[str, ...]:
    """What the classifier's tensors are called in files of a network of timm."""
    settings = getattr(network, "pretrained_cfg", None)
    found = settings.get("classifier", ()) if isinstance(settings, Mapping) else ()
    names = (found,) if isinstance(found, str) else tuple(found or ())
    return tuple(f"{name}." for name in names)


def _library() -> ModuleType:
    """The module timm."""
    try:
        import timm
    except ImportError as error:
        raise MissingExtraError('backbones "timm:NAME" need the library timm', "timm") from error
    return timm


@torch.no_grad()
def _width(network: nn.Module, image_size: tuple[int, int]) -> int:
    """Length of a feature, found by computing one."""
    features = network.eval()(torch.zeros(1, 3, *image_size))
    network.train()
    if features.ndim != 2:
        raise DataError(
            f"the backbone gives maps of {features.ndim} axes where one row of features is "
            "expected; choose a network with a pooling"
        )
    return int(features.shape[1])


def _unstride(network: nn.Module, name: str) -> None:
    """Let the last stage of a ResNet keep the size of its maps."""
    stage = getattr(network, "layer4", None)
    found = [] if stage is None else list(stage[0].named_modules())
    strided = [
        (place, module)
        for place, module in found
        if not list(module.children()) and getattr(module, "stride", 1) not in (1, (1, 1))
    ]
    if not strided or not all(type(module) in _STRIDED for _, module in strided):
        raise DataError(
            f"{TIMM}{name} is no ResNet whose last stage could have stride 1; set last_stride=2, "
            "or choose another --backbone"
        )
    for place, module in strided:
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
        else:  # averages pairs on the way of the shortcut
            stage[0].set_submodule(place, nn.Identity())  # type: ignore[index]


def _pool_by_powers(network: nn.Module, name: str) -> None:
    """Replace the one pooling of a network's last map."""
    from timm.layers.adaptive_avgmax_pool import SelectAdaptivePool2d

    found = [
        (place, module)
        for place, module in network.named_modules()
        if isinstance(module, SelectAdaptivePool2d)
    ]
    # maps with channels last, as those of windowed transformers, are pooled by a function
    if len(found) != 1 or not isinstance(found[0][1].pool, nn.Module):
        raise DataError(
            f"{TIMM}{name} has no map that one module pools; set pooling=average, or choose "
            "another --backbone"
        )
    place, module = found[0]
    network.set_submodule(place, nn.Sequential(PowerMean(), module.flatten))
