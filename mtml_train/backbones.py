"""The networks a branch can be made of: one function builds one, one loads its pretrained weights.

In: the name of a network. Out: the network without its classifier, and the width of its features.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from mtml_deploy.errors import CheckpointError, DataError


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
    try:
        result = network.load_state_dict(state, strict=False)
    except RuntimeError as error:  # equal names, other shapes: a deeper or wider ResNet
        raise CheckpointError(
            f"{weights} does not hold the weights of a {name}: tensors have other shapes; "
            "give the file that belongs to --backbone"
        ) from error
    foreign = [key for key in result.unexpected_keys if not key.startswith("fc.")]
    if result.missing_keys or foreign:
        raise CheckpointError(
            f"{weights} does not hold the weights of a {name}: "
            f"{len(result.missing_keys)} tensors missing (first: {result.missing_keys[:1]}), "
            f"{len(foreign)} foreign (first: {foreign[:1]}); give the file that belongs to "
            "--backbone"
        )


def _imagenet_weights(name: str) -> Mapping[str, Tensor]:
    """Torchvision's IMAGENET1K_V1 weights of `name`."""
    try:
        enum = torchvision.models.get_model_weights(name)
        return dict(enum["IMAGENET1K_V1"].get_state_dict(progress=False, check_hash=True))
    except (URLError, OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"the ImageNet weights of {name} could not be downloaded ({error}); give a local "
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
