"""One file that holds a training run: weights, settings, identities, and what resuming needs.

safetensors only, so reading one runs no code. Tensors are named "model.*", "optimizer.*", "rng.*"
and, where "model.*" is an average, "trained.*"; everything else is JSON in the file's header, which
a run folder also shows as files.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import safetensors
import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from mtml_deploy.errors import CheckpointError, DataError
from mtml_deploy.files import atomic_file, scratch_folder
from mtml_deploy.path_kind import what_it_is
from mtml_deploy.record_file import SchemaError
from mtml_deploy.text import foreign
from mtml_train.config import TrainConfig
from mtml_train.divergence import first_not_finite
from mtml_train.model import MTML
from mtml_train.run_card import Progress, RunCard, header_text, read_header
from mtml_train.weights_file import load_tensors

LAST: Final = "last.safetensors"
BEST: Final = "best.safetensors"

_OF_MODEL: Final = "crc32.model"
_OF_ALL: Final = "crc32.all"
_ADAM: Final = frozenset({"step", "exp_avg", "exp_avg_sq"})
_SGD: Final = frozenset({"momentum_buffer"})
"""What an optimiser keeps of a parameter."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as read from its file.

    Attributes:
        path: the file.
        card: the run.
        progress: how far the run was.
        tensors: tensors by their full names; without `resume` only the model's.
        scaler: loss scaling of fp16 training, None where it was not used.
    """

    path: Path
    card: RunCard
    progress: Progress
    tensors: Mapping[str, Tensor]
    scaler: Mapping[str, float] | None

    def weights(self) -> dict[str, Tensor]:
        """The model's state dict."""
        return _under("model.", self.tensors)

    def trained(self) -> dict[str, Tensor]:
        """The state dict that training goes on with; of a run with an average not the model's."""
        return _under("trained." if self.card.config.ema > 0 else "model.", self.tensors)


def build_model(config: TrainConfig, identities: int) -> MTML:
    """A randomly initialised model of the run's shape."""
    return MTML(
        backbone=config.backbone,
        branches=config.branches,
        identities=identities,
        image_size=config.image_sides,
        scale_size=config.scale_sides,
        consensus_dim=config.consensus_dim,
        consensus_gradient=config.consensus_gradient,
        last_stride=config.last_stride,
        pooling=config.pooling,
        neck=config.neck,
        cosine_scale=None if config.identity_loss == "softmax" else config.identity_scale,
    )


def save_checkpoint(
    path: Path,
    card: RunCard,
    progress: Progress,
    model: nn.Module,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    scaler: torch.amp.GradScaler | None = None,
    trained: nn.Module | None = None,
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: target, replaced.
        card: the run.
        progress: how far it is.
        model: an `MTML`.
        optimizer: with it the run can be resumed from this file.
        scaler: loss scaling of fp16 training.
        trained: the model that is trained, where `model` is the average of its weights.
    """
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    if trained is not None:
        tensors |= {f"trained.{name}": tensor for name, tensor in trained.state_dict().items()}
    if optimizer is not None:
        for number, slots in optimizer.state_dict()["state"].items():
            for slot, tensor in slots.items():
                tensors[f"optimizer.{number}.{slot}"] = tensor
        tensors["rng.cpu"] = torch.get_rng_state()
    scaling = None if scaler is None else scaler.state_dict()
    header = header_text(card, progress, scaler=scaling)
    # one device, contiguous and without shared memory, as the format requires
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"mtml": header, **_checksums(header, tensors)}
    # safetensors writes beside the name it is given, and a kill would leave that there
    with scratch_folder(path) as scratch, atomic_file(path) as temporary:
        safetensors.torch.save_file(tensors, scratch / path.name, metadata=metadata)
        (scratch / path.name).replace(temporary)


Which = Literal["best", "last"]
"""Which checkpoint of a run."""


def find_checkpoint(path: Path, *, which: Which | None = None) -> Path:
    """The checkpoint file that a user means by `path`.

    Args:
        path: a checkpoint file, or a run folder.
        which: of a folder's checkpoints; None takes the best where there is one, else the last.

    Returns:
        An existing file.

    Raises:
        CheckpointError: there is none.
    """
    if which is not None and not path.is_dir():
        raise CheckpointError(
            f"{path} is no run folder, expected one for --checkpoint {which}; name the folder, or "
            "leave --checkpoint out"
        )
    names = {"best": (BEST,), "last": (LAST,), None: (BEST, LAST)}[which]
    candidates = [path / name for name in names] if path.is_dir() else [path]
    if which == "best" and not (path / BEST).is_file() and (path / LAST).is_file():
        raise CheckpointError(
            f"{path} has no {BEST}: it was not validated; take --checkpoint last, or go on with "
            "--resume --val SOURCE"
        )
    for candidate in candidates:
        if candidate.is_file():
            return candidate
    raise CheckpointError(
        f"no checkpoint at {path}{what_it_is(path)}: expected a .safetensors file of mtml-train or "
        f"a run folder with {' or '.join(names)}"
    )


def load_checkpoint(path: Path, *, resume: bool = False, which: Which | None = None) -> Checkpoint:
    """A checkpoint read from its file.

    Args:
        path: file or run folder, see `find_checkpoint`.
        resume: also read the optimiser's tensors.
        which: see `find_checkpoint`.

    Returns:
        Settings, identities, progress and tensors.

    Raises:
        CheckpointError: missing, corrupted, not of mtml-train, or of another schema.
    """
    file = find_checkpoint(path, which=which)
    fix = "use another checkpoint or train again"
    try:
        with safetensors.safe_open(file, framework="pt") as opened:
            metadata = opened.metadata() or {}
            text = metadata.get("mtml")
            if text is None:
                raise CheckpointError(
                    f"{file} is not a checkpoint of mtml-train: its header has no record of a run"
                )
            tensors = {
                name: opened.get_tensor(name)
                for name in opened.keys()  # noqa: SIM118  # not a mapping
                if resume or name.startswith("model.")
            }
        card, progress, scaler = read_header(text, where=str(file))
        for name, checksum in _checksums(text, tensors).items():
            if checksum != metadata.get(name) and (resume or name == _OF_MODEL):
                raise ValueError(f"its checksum {name} is {checksum}, not {metadata.get(name)}")
        return Checkpoint(file, card, progress, tensors, scaler)
    except SchemaError as error:
        raise CheckpointError(f"{file}: {error}; {fix}") from error
    except DataError as error:
        raise CheckpointError(f"{error}; {fix}") from error
    except (OSError, ValueError, TypeError, SafetensorError) as error:
        if file.suffix != Path(LAST).suffix and (what := what_it_is(file)):
            raise CheckpointError(f"{file} is no checkpoint{what}") from error
        raise CheckpointError(f"{file} is corrupted ({foreign(error)}); {fix}") from error


def load_model(checkpoint: Checkpoint) -> MTML:
    """The model of a checkpoint, on the CPU, in evaluation mode.

    Args:
        checkpoint: as read.

    Returns:
        The model with its weights.

    Raises:
        CheckpointError: the weights do not fit the settings, or are not finite.
    """
    if name := first_not_finite(checkpoint.weights()):
        raise CheckpointError(
            f"{checkpoint.path} holds numbers that are not finite ({name}): the training had "
            "diverged; use an earlier checkpoint, or train again with a lower --lr"
        )
    model = build_model(checkpoint.card.config, len(checkpoint.card.identities))
    load_weights(model, checkpoint, checkpoint.weights())
    return model.eval()


def load_weights(model: MTML, checkpoint: Checkpoint, weights: Mapping[str, Tensor]) -> None:
    """Put weights of the checkpoint into `model`, or raise a CheckpointError."""
    try:
        load_tensors(model, weights)
    except ValueError as error:
        raise CheckpointError(
            f"the weights in {checkpoint.path} do not fit its own settings: {error}"
        ) from error


def load_optimizer(checkpoint: Checkpoint, optimizer: torch.optim.Optimizer) -> None:
    """Put the checkpoint's optimiser and random state back, so that the run goes on exactly.

    Args:
        checkpoint: read with `resume=True`.
        optimizer: of a model that has the checkpoint's weights.

    Raises:
        CheckpointError: the file holds no optimiser state, or another one.
    """
    state: dict[int, dict[str, Tensor]] = {}
    try:
        for name, tensor in _under("optimizer.", checkpoint.tensors).items():
            number, slot = name.split(".", 1)
            state.setdefault(int(number), {})[slot] = tensor
        # before the first step an optimiser has no state at all
        if checkpoint.progress.step and not state:
            raise CheckpointError(
                f"{checkpoint.path} cannot be resumed: it holds weights only; resume from {LAST}"
            )
        kept = _SGD if isinstance(optimizer, torch.optim.SGD) else _ADAM
        parameters = [value for group in optimizer.param_groups for value in group["params"]]
        for index, slots in state.items():
            if slots.keys() != kept:
                raise ValueError(f"parameter {index} has {', '.join(sorted(slots))}")
            done = checkpoint.progress.step  # loss scaling may have left out some
            count = slots.get("step", torch.zeros(()))
            if count.numel() != 1 or not 0 <= count.item() <= done:
                raise ValueError(f"parameter {index} is at a step beyond {done}")
            for slot, tensor in slots.items():
                if tensor.dtype != parameters[index].dtype:
                    raise ValueError(f"{slot} of parameter {index} is {tensor.dtype}")
                if not tensor.isfinite().all() or (slot == "exp_avg_sq" and (tensor < 0).any()):
                    raise ValueError(f"{slot} of parameter {index} holds impossible numbers")
                if slot == "step":
                    continue
                # torch does not compare shapes, and would fail at the next step
                if tensor.shape != parameters[index].shape:
                    raise ValueError(f"parameter {index} is {list(parameters[index].shape)}")
                # a fused optimiser walks through memory: strides must be the parameter's
                slots[slot] = torch.empty_like(parameters[index]).copy_(tensor)
        if state and state.keys() != set(range(len(parameters))):
            # backbones have none before their first step
            frozen = checkpoint.card.config.freeze_steps > 0
            moved = [
                each.get("backbone") for each in optimizer.param_groups for _ in each["params"]
            ]
            heads = {number for number, backbone in enumerate(moved) if not backbone}
            if not (frozen and state.keys() == heads):
                raise ValueError(f"{len(state)} parameters instead of {len(parameters)}")
        plain = optimizer.state_dict()["param_groups"]
        optimizer.load_state_dict({"state": state, "param_groups": plain})
        if "rng.cpu" in checkpoint.tensors:
            torch.set_rng_state(checkpoint.tensors["rng.cpu"])
    except (ValueError, LookupError, TypeError, RuntimeError, OverflowError) as error:
        raise CheckpointError(
            f"{checkpoint.path} holds the optimiser of another model ({error}); resume from the "
            f"{LAST} that this run wrote"
        ) from error


def _checksums(header: str, tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """CRC-32 of the header and the model's tensors, and of these and what resuming needs."""
    checksum = zlib.crc32(header.encode())
    found = {}
    for key, of_model in ((_OF_MODEL, True), (_OF_ALL, False)):
        for name in sorted(name for name in tensors if name.startswith("model.") is of_model):
            tensor = tensors[name]
            checksum = zlib.crc32(f"{name} {tensor.dtype} {list(tensor.shape)}".encode(), checksum)
            content = tensor.reshape(-1).view(torch.uint8).numpy()
            checksum = zlib.crc32(content.data, checksum)
        found[key] = f"{checksum:08x}"
    return found


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors whose name starts with `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
