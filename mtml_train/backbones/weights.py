"""Pretrained weights of a backbone: which there are by name, and what a file of others holds of it.

In: networks and the name of weights. Out: the networks with these weights, and a sentence that says
what was taken and what was left out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final
from urllib.error import URLError

import torch
import torchvision
from torch import Tensor, nn

from mtml_deploy.errors import CheckpointError
from mtml_deploy.text import foreign
from mtml_train.backbones.ibn import IBN_NETWORKS, ibn_address
from mtml_train.backbones.pooling import power_names
from mtml_train.backbones.timm_networks import TIMM, classifier_of, timm_weights
from mtml_train.weights_file import load_tensors, read_weights_file
from mtml_train.weights_layout import NamedIn, named_in

_FIRST: Final = "IMAGENET1K_V1"
_DOWNLOADED: Final = ("imagenet", "timm")
"""Names of weights that are no file, beside those of torchvision."""


def load_backbones(networks: Sequence[nn.Module], name: str, weights: str) -> str:
    """Put the same pretrained weights into networks, into all of them or none.

    Args:
        networks: what `build_backbone` gave for `name`, one or more; changed in place.
        name: of the network.
        weights: "none"; "imagenet" (IMAGENET1K_V1 of torchvision, the authors' file of a network
            with IBN, the default of timm), "timm", or a name such as IMAGENET1K_V2 of torchvision,
            each downloaded once; or a local file (.safetensors, .pth, .ckpt), in which the network
            is found by the names and shapes of its tensors.

    Returns:
        What was taken of a file and what was left out; empty for weights that have a name.

    Raises:
        CheckpointError: there are no such weights, the download failed, or the file does not hold
            this network.
    """
    if weights == "none":
        return ""
    state = _by_name(name, weights)
    text = ""
    own = networks[0].state_dict()
    powers = power_names(networks[0])
    try:
        if state is None:
            state = read_weights_file(Path(weights))
            text = f"weights of {name} from {weights}: "
        found = named_in(state, own, heads=classifier_of(networks[0]))
        # the power of a pooling is no part of such files
        kept = {key: own[key] for key in powers if key not in found.tensors}
        for network in networks:
            load_tensors(network, {**found.tensors, **kept})
    except ValueError as error:
        raise CheckpointError(
            f"{weights} does not hold the weights of a {name}: {error}; give the file that belongs "
            "to --backbone"
        ) from error
    return text and text + _told(found, missing=sorted(kept))


def _told(found: NamedIn, *, missing: Sequence[str]) -> str:
    """What was taken of a file, what was left out, and what it did not have."""
    where = f' under "{found.prefix}"' if found.prefix else ""
    text = f"{len(found.tensors)} tensors{where} taken"
    if found.left_out:
        wrappers = found.prefix.split(".")
        groups = dict.fromkeys(
            next(part for number, part in enumerate(key.split("."))
                 if part not in wrappers[number : number + 1])
            for key in found.left_out
        )  # fmt: skip
        text += f", {len(found.left_out)} left out ({', '.join(groups)})"
    return text + (f", not in it: {', '.join(missing)}" if missing else "")


def _by_name(name: str, weights: str) -> Mapping[str, Tensor] | None:
    """Weights that have a name; None where `weights` is a file."""
    try:
        if name.startswith(TIMM):
            if weights in _DOWNLOADED:
                return timm_weights(name.removeprefix(TIMM))
            known: Sequence[str] = _DOWNLOADED
        elif name in IBN_NETWORKS:
            if weights == "imagenet":
                return _download(ibn_address(name))
            known = ("imagenet",)
        else:
            enum = torchvision.models.get_model_weights(name)
            named = {each.name: each for each in enum}
            if chosen := named.get(_FIRST if weights == "imagenet" else weights):
                return dict(chosen.get_state_dict(progress=False, check_hash=True))
            known = ("imagenet", *named)
    except (URLError, OSError, RuntimeError, KeyError) as error:
        raise CheckpointError(
            f"the ImageNet weights of {name} could not be downloaded ({foreign(error)}); give "
            "a local file with --weights FILE, or train from random weights with --weights none"
        ) from error
    if weights in _DOWNLOADED or weights.startswith("IMAGENET1K_"):
        raise CheckpointError(
            f"there are no weights {weights} of {name}, but: none, {', '.join(known)}, or a file; "
            "choose one with --weights"
        )
    return None


def _download(address: str) -> Mapping[str, Tensor]:
    """A file of tensors, whose name ends with its hash."""
    state: Mapping[str, Tensor] = torch.hub.load_state_dict_from_url(
        address, map_location="cpu", progress=False, check_hash=True, weights_only=True
    )
    return state
