"""What the size of a micro-batch means for the method: said, or refused, before the first step.

In: settings and processes. Out: notes for the user. Losses are of the whole step, see `step.py`;
statistics of BatchNorm and the choice of triplets are of what is in memory together.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import torch
from torch import Tensor, nn

from mtml_deploy.errors import BackendError, DataError
from mtml_train.config import TrainConfig
from mtml_train.distributed import Process
from mtml_train.image_size import size_text
from mtml_train.model import MTML

FEW_IMAGES: Final = 8
"""Fewer than the paper's minibatch; statistics of fewer are noisy."""


def synchronises(config: TrainConfig, process: Process) -> bool:
    """Whether BatchNorm takes its statistics over all processes.

    Raises:
        BackendError: asked for on a device that cannot.
    """
    cuda = process.device.type == "cuda"
    if config.sync_bn == "on" and not cuda:
        raise BackendError("sync_bn needs CUDA GPUs; leave it at auto, or set it off, on a CPU")
    return process.world > 1 and cuda and config.sync_bn != "off"


def decided(config: TrainConfig, process: Process) -> TrainConfig:
    """The settings with `sync_bn` on or off: a run that goes on elsewhere must do the same."""
    if config.sync_bn != "auto":
        return config
    return replace(config, sync_bn="on" if synchronises(config, process) else "off")


def normalised_images(config: TrainConfig, process: Process) -> int:
    """Images that one BatchNorm takes its statistics over."""
    images = config.batch_size // (config.accumulate * process.world)
    return images * process.world if synchronises(config, process) else images


def micro_batch_notes(config: TrainConfig, process: Process) -> list[str]:
    """What a user should know of training in such pieces; empty where nothing is lost.

    Args:
        config: uses batch_size, accumulate, sync_bn, triplet_weight.
        process: how many there are, and on what.

    Returns:
        One sentence each.
    """
    notes = []
    images = normalised_images(config, process)
    if images < FEW_IMAGES:
        why = ""
        if process.world > 1 and not synchronises(config, process):
            cuda = process.device.type == "cuda"
            why = ", because sync_bn is off" if cuda else ", because sync_bn needs CUDA"
        notes.append(
            f"BatchNorm takes its statistics over {images} of the {config.batch_size} images of a "
            f"step{why}; fewer than {FEW_IMAGES} are few: expect a worse model; raise "
            "--batch-size, lower --accumulate or start fewer processes"
        )
    pieces = config.accumulate * process.world
    if config.triplet_weight > 0 and pieces > 1:
        notes.append(
            f"the triplet loss compares the {config.batch_size // pieces} images of a micro-batch, "
            f"not all {config.batch_size} of a step"
        )
    return notes


def require_statistics(model: MTML, config: TrainConfig, process: Process) -> None:
    """Refuse a BatchNorm that would get a single value per channel.

    Args:
        model: on the process's device; not changed.
        config: uses batch_size, accumulate, sync_bn, image_size.
        process: how many there are, and on what.

    Raises:
        DataError: one image, and a map of one pixel somewhere in the network.
    """
    if normalised_images(config, process) > 1:
        return
    if model.necks:
        raise DataError(
            "a micro-batch of one image gives the BatchNorm of each neck a single value; expected "
            "two or more: raise --batch-size, lower --accumulate or the number of processes, or "
            "set neck=none"
        )
    found = next((name for name, pixels in _map_pixels(model, config) if pixels == 1), None)
    if found is not None:
        raise DataError(
            f"a micro-batch of one image gives BatchNorm a single value at {found}, whose map is "
            f"one pixel at --image-size {size_text(config.image_size)}; expected two or more: "
            "raise --batch-size, lower --accumulate or the number of processes, or raise "
            "--image-size"
        )


def _map_pixels(model: MTML, config: TrainConfig) -> list[tuple[str, int]]:
    """Name and pixels of the map of every BatchNorm, from a run with one black image."""
    sizes: list[tuple[str, int]] = []

    def watch(name: str, module: nn.Module) -> torch.utils.hooks.RemovableHandle:
        def note(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            sizes.append((name, inputs[0][0, 0].numel()))

        return module.register_forward_pre_hook(note)

    handles = [
        watch(name, module)
        for name, module in model.named_modules()
        if isinstance(module, nn.BatchNorm2d)
    ]
    training = model.training
    device = next(model.parameters()).device
    image = torch.zeros(1, *config.image_sides, 3, dtype=torch.uint8, device=device)
    with torch.no_grad():
        model.eval()(image)
    model.train(training)
    for handle in handles:
        handle.remove()
    return sizes
