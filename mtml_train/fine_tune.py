"""A new run that starts from an own model: what it takes of it, and what starts anew.

In: a checkpoint of other data, branches or size. Out: a model with all of it that has the same
meaning here, and sentences that say what was taken. A branch is taken whole. A row of a classifier
is taken where it stands for the same vehicle: ids name vehicles within one data set, so rows count
only where a data set of the run is one that the model was trained on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.errors import CheckpointError, DataError
from mtml_train.backbones.pooling import power_names
from mtml_train.backbones.weights import load_backbones
from mtml_train.checkpoint import Checkpoint, load_model
from mtml_train.config import TrainConfig
from mtml_train.heads import CosineClassifier
from mtml_train.known_vehicles import SharedSets, shared_sets
from mtml_train.model import MTML
from mtml_train.resume import FIXED, OF_MODEL
from mtml_train.run_card import Origin, RunCard
from mtml_train.weights_file import load_tensors


def model_settings(config: TrainConfig) -> dict[str, object]:
    """The settings that shape a model: those of a run that starts from it, unless it asks others.

    Args:
        config: of the run that trained the model.

    Returns:
        Field name -> value.
    """
    return {name: getattr(config, name) for name, why in FIXED.items() if why == OF_MODEL}


def origin_of(checkpoint: Checkpoint) -> Origin:
    """What the record of a run says of the model it started from."""
    card = checkpoint.card
    before = () if card.origin is None else card.origin.sources
    return Origin(
        checkpoint=str(checkpoint.path.absolute()),
        sha256=file_sha256(checkpoint.path),
        step=checkpoint.progress.step,
        sources=(*before, *card.sources),
    )


def start_from(
    model: MTML, config: TrainConfig, card: RunCard, checkpoint: Checkpoint
) -> list[str]:
    """Put what an own model has for this one into it; branches that it has not get `weights`.

    Args:
        model: of the new run; changed in place.
        config: of the new run.
        card: of the new run.
        checkpoint: of the own model.

    Returns:
        What was taken and what was not, a sentence each.

    Raises:
        CheckpointError: its weights are damaged, or those of a branch do not fit.
        DataError: it is of another backbone.
    """
    was = checkpoint.card.config
    if was.backbone != config.backbone:
        raise DataError(
            f"{checkpoint.path} has the backbone {was.backbone}, this run {config.backbone}; start "
            f"from a model of the same one, or leave out --init, or --backbone {config.backbone}"
        )
    old = load_model(checkpoint)
    shared = [name for name in model.trunks.branches if name in old.trunks.branches]
    fresh = [name for name in model.trunks.branches if name not in shared]
    for name in shared:
        _take_backbone(model.trunks.nets[name], old.trunks.nets[name], name, checkpoint.path)
        if name in model.necks and name in old.necks:
            model.necks[name].load_state_dict(old.necks[name].state_dict())
    told = ""
    if fresh:
        nets = [model.trunks.nets[name] for name in fresh]
        told = load_backbones(nets, config.backbone, config.weights)
    taken, new = [f"backbones of {', '.join(shared)}"], []
    if fresh:
        told = told or f"weights {config.weights}"
        new.append(f"branches {', '.join(fresh)} (backbones: {told})")
    if dropped := [name for name in old.trunks.branches if name not in shared]:
        new.append(f"nothing of the model's branches {', '.join(dropped)}")
    same_neck = was.neck == config.neck
    if config.neck == "bn":
        (taken if same_neck else new).append("their necks")
    if model.orientation_head is not None and "orientation" in shared:
        if same_neck and old.orientation_head is not None:
            model.orientation_head.load_state_dict(old.orientation_head.state_dict())
        (taken if same_neck else new).append("the orientation classifier")
    same_fusion = was.consensus_dim == config.consensus_dim
    if same_fusion:
        _take_fusion(model, old, shared)
        if same_neck:
            model.consensus_neck.load_state_dict(old.consensus_neck.state_dict())
        partly = "" if not fresh and not dropped else " (columns of these branches)"
        taken.append(f"the fusion layer{partly}")
    else:
        new.append(f"the fusion layer ({config.consensus_dim} wide, the model's was "
                   f"{was.consensus_dim})")  # fmt: skip
    found = shared_sets(card.sets, checkpoint.card.sets)
    rows = found.rows(card.identities, checkpoint.card.identities)
    kept, why = 0, "its classifiers have another form"
    if same_neck and _form(model) == _form(old):
        kept = len(rows)
        why = _why(found)
        _take_rows([model.id_heads[name] for name in shared],
                   [old.id_heads[name] for name in shared], rows)  # fmt: skip
        if same_fusion:
            _take_rows([model.consensus_head], [old.consensus_head], rows)
    if kept:
        taken.append(f"rows of {kept} of {len(card.identities)} vehicles in the classifiers")
    else:
        new.append(f"the classifiers of all {len(card.identities)} vehicles")
    return [
        f"starts from {checkpoint.path}, step {checkpoint.progress.step}: takes {'; '.join(taken)}",
        f"new: {'; '.join([*new, 'optimiser, learning rate and epochs'])}",
        f"vehicles: {why}",
    ]


def _take_backbone(network: nn.Module, old: nn.Module, name: str, path: Path) -> None:
    """Put a branch's backbone into another; the power of a pooling only where both have one."""
    own, state = network.state_dict(), old.state_dict()
    power = power_names(network) | power_names(old)
    tensors = {key: value for key, value in state.items() if key in own or key not in power}
    tensors |= {key: own[key] for key in power if key in own and key not in state}
    try:
        load_tensors(network, tensors)
    except ValueError as error:
        raise CheckpointError(
            f"branch {name} of {path} does not fit this run: {error}; train with the settings that "
            "it was trained with (they are taken where you give none)"
        ) from error


def _take_fusion(model: MTML, old: MTML, shared: Sequence[str]) -> None:
    """Copy the columns of the fusion layer that read the branches both have."""
    width = model.trunks.width
    with torch.no_grad():
        model.fusion.bias.copy_(old.fusion.bias)
        for name in shared:
            here, there = (
                slice(width * (place := each.trunks.branches.index(name)), width * (place + 1))
                for each in (model, old)
            )
            model.fusion.weight[:, here] = old.fusion.weight[:, there]


def _take_rows(
    heads: Sequence[nn.Module], old: Sequence[nn.Module], rows: Sequence[tuple[int, int]]
) -> None:
    """Copy rows (class now, class then) of classifiers of one form."""
    now = torch.tensor([row for row, _ in rows], dtype=torch.int64)
    then = torch.tensor([row for _, row in rows], dtype=torch.int64)
    with torch.no_grad():
        for head, source in zip(heads, old, strict=True):
            tensors: Mapping[str, Tensor] = dict(source.named_parameters())
            for name, tensor in head.named_parameters():
                tensor[now] = tensors[name][then]


def _form(model: MTML) -> type[nn.Module]:
    """Whether identities are told by inner products or by cosines."""
    return CosineClassifier if isinstance(model.consensus_head, CosineClassifier) else nn.Linear


def _why(found: SharedSets) -> str:
    """Why rows of classifiers were taken, or not."""
    if not found.groups:
        return (
            "no data set of this run is one that the model was trained on, and an id of another "
            "data set names another vehicle, so all are new"
        )
    if found.changed:
        return (
            "a data set has changed since the model was trained on it; it lies in the same place, "
            "so an id is taken to name the same vehicle"
        )
    return "an id of a data set that the model was trained on names the same vehicle"
