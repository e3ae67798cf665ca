"""Weights of other programs, read without running code, and put into a network whole or not at all.

In: a file of tensors. Out: name -> tensor, or a network that has them.
"""

from __future__ import annotations

import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import safetensors.torch
import torch
from torch import Tensor, nn

from mtml_deploy.errors import CheckpointError
from mtml_deploy.regular_file import open_regular
from mtml_deploy.text import foreign, printable

_OBJECT: Final = re.compile(r"GLOBAL ([\w.]+)")
"""Where torch tells which class or function a pickle would call."""

_ENTRIES: Final = ("state_dict", "model", "net", "network")
"""What programs call the weights among the other things they save; the first one counts."""


def read_weights_file(path: Path) -> Mapping[str, Tensor]:
    """Tensors of a weights file; code inside a pickle is never run.

    Args:
        path: .safetensors, or a torch file (.pth, .pt, .ckpt) with a state dict, bare or as an
            entry of a record.

    Returns:
        Parameter name -> tensor, names as in the file.

    Raises:
        CheckpointError: missing, unreadable or of another content.
    """
    name = printable(path)
    try:
        with open_regular(path) as file:
            state: object = (
                safetensors.torch.load_file(path)
                if path.suffix == ".safetensors"
                else torch.load(file, map_location="cpu", weights_only=True)
            )
    except pickle.UnpicklingError as error:
        # torch's own text is eight lines long and tells how to run the code in the file
        if (found := _OBJECT.search(str(error))) is None:
            raise CheckpointError(
                f"{name} is damaged or no file of weights; expected .safetensors or a torch file "
                "with a state dict: copy it again or name another"
            ) from error
        raise CheckpointError(
            f"{name} holds more than tensors and was not loaded: a whole model or other objects "
            f"({found[1]}), whose code would run; expected tensors only: where it was made, write "
            "torch.save(model.state_dict(), FILE)"
        ) from error
    except Exception as error:  # reading a damaged pickle can end in any error
        why = foreign(error) or "it ends too early"
        raise CheckpointError(f"cannot read weights from {name}: {why}") from error
    if not _is_state_dict(state) and isinstance(state, Mapping):
        entries = [key for key in _ENTRIES if _is_state_dict(state.get(key))]
        state = state[entries[0]] if entries else None
    if not isinstance(state, Mapping) or not _is_state_dict(state):
        raise CheckpointError(
            f"{name} holds no state dict of tensors, bare or as {', '.join(_ENTRIES)}; save "
            "model.state_dict()"
        )
    return {str(key): value for key, value in state.items()}


def _is_state_dict(value: object) -> bool:
    """Whether a value is tensors by name."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(tensor, Tensor) for tensor in value.values())
    )


def load_tensors(network: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Put tensors into a network, all or none.

    Args:
        network: changed in place.
        state: name -> tensor.

    Raises:
        ValueError: not exactly the network's tensors; the text counts what differs.
    """
    own = network.state_dict()
    # a counter that nothing computes with; files of before torch 0.4.1 have none
    missing = [key for key in own if key not in state and not key.endswith("num_batches_tracked")]
    unknown = [key for key in state if key not in own]
    other = [
        f"{key} {list(value.shape)} instead of {list(own[key].shape)}"
        for key, value in state.items()
        if key in own and value.shape != own[key].shape
    ]
    differences = [
        f"{len(names)} tensors {what} (first: {names[0]})"
        for names, what in ((missing, "missing"), (unknown, "unknown"), (other, "of other shapes"))
        if names
    ]
    if differences:
        raise ValueError(", ".join(differences))
    network.load_state_dict(state, strict=False)
