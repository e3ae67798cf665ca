"""What one training process is asked to do, and what a trainer must offer to be asked.

In: images with labels, steps, a seed. Out: a `Task` in a file, which a process of its own reads.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import nn

from mtml_deploy import record_file


class Shot(record_file.Record, frozen=True):
    """One training image.

    Attributes:
        path: absolute.
        vehicle: class, 0 and up without gaps.
        camera: number of the camera, -1 unknown.
    """

    path: str
    vehicle: int
    camera: int


class Task(record_file.Record, frozen=True, kw_only=True):
    """One training and the images to embed after it.

    Attributes:
        module: of the trainer; it has `prepare(task, folder) -> Trainer`.
        options: of the trainer: settings of a recipe, or of a peer.
        seed: decides weights, order and augmentation.
        steps: optimiser steps.
        batch_size: images per step.
        image_size: height and width, pixels.
        threads: of torch.
        source: of the training images, as the user wrote it.
        shots: the training images.
        embed: name of a set -> absolute paths of its images.
    """

    module: str
    options: Mapping[str, str | int | float | bool]
    seed: int
    steps: record_file.Positive
    batch_size: record_file.Positive
    image_size: record_file.Positive
    threads: record_file.Positive
    source: str
    shots: tuple[Shot, ...]
    embed: Mapping[str, tuple[str, ...]]

    @property
    def vehicles(self) -> int:
        """Number of classes."""
        return max(shot.vehicle for shot in self.shots) + 1

    @property
    def digest(self) -> str:
        """Hash of all that decides the result; a finished run of another one is not used."""
        return hashlib.sha256(record_file.record_json(self, sort_keys=True).encode()).hexdigest()


class Outcome(record_file.Record, frozen=True, kw_only=True):
    """What a finished training says of itself, beside its features.

    Attributes:
        digest: of its task.
        train_s: seconds of the training steps, data included.
        cpu_s: seconds that processors spent on them, in all its processes.
        parameters: trained numbers.
        load: mean number of runnable processes of the machine in the minute before the end.
    """

    digest: str
    train_s: float
    cpu_s: float
    parameters: int
    load: float


class Trainer(Protocol):
    """What a process trains with.

    Attributes:
        model: its weights must change.
    """

    model: nn.Module

    def train(self) -> None:
        """All steps of the task."""
        ...

    def embed(self, paths: Sequence[Path]) -> Mapping[str, NDArray[np.float32]]:
        """Features of images, float32 [N, D] by name; the first is what the trainer stands for."""
        ...
