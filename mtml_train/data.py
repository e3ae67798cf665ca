"""Training images as batches of bytes and labels; every batch is a pure function of seed and step.

In: image sets of one or more data sets. Out: `TrainBatch` values from a data loader that works
ahead of the model. Nothing depends on the number of workers, so a resumed run repeats exactly.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mtml_deploy.errors import DataError, ImageError
from mtml_deploy.images import load_image
from mtml_deploy.records import UNKNOWN, ImageSet
from mtml_train.augment import erase, flip, jitter_colour, pad_and_crop
from mtml_train.config import TrainConfig

BATCHES_AHEAD: Final = 4
"""Micro-batches that each worker prepares before they are asked for."""


@dataclass(frozen=True)
class TrainBatch:
    """One micro-batch.

    Attributes:
        images: uint8 [B, H, W, 3], RGB, augmented.
        vehicles: int64 [B], class index of the joined identities.
        orientations: int64 [B], 0..7, -1 unknown.
    """

    images: Tensor
    vehicles: Tensor
    orientations: Tensor

    def to(self, device: torch.device) -> TrainBatch:
        """The batch on `device`, copied without waiting."""
        return TrainBatch(
            *(
                tensor.to(device, non_blocking=True)
                for tensor in (self.images, self.vehicles, self.orientations)
            )
        )

    def pin_memory(self) -> TrainBatch:
        """The batch in page-locked memory (called by the data loader)."""
        return TrainBatch(
            self.images.pin_memory(), self.vehicles.pin_memory(), self.orientations.pin_memory()
        )


@dataclass(frozen=True)
class TrainSet:
    """Images of all joined data sets with class labels.

    Attributes:
        paths: [N] image files, as text.
        classes: int64 [N], 0..C-1.
        orientations: int64 [N], 0..7, -1 unknown.
        groups: int64 [N], which data set an image is of.
        identities: [C] (source, vehicle id) of each class; classes of two data sets are disjoint.
        sources: what the user named, one per data set.
    """

    paths: tuple[str, ...]
    classes: NDArray[np.int64]
    orientations: NDArray[np.int64]
    groups: NDArray[np.int64]
    identities: tuple[tuple[str, int], ...]
    sources: tuple[str, ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)


def join_training_sets(sets: Sequence[ImageSet]) -> TrainSet:
    """All images of `sets` under one classifier (paper, section 3.2: I_1 and I_2).

    Args:
        sets: training splits; images of unknown identity are refused.

    Returns:
        The joined set; classes are numbered by data set, then by vehicle id.

    Raises:
        DataError: an image without vehicle id, or fewer than two identities.
    """
    keys: list[tuple[int, int]] = []
    paths: list[str] = []
    orientations: list[int] = []
    for group, images in enumerate(sets):
        for record in images.records:
            if record.vehicle_id == UNKNOWN:
                raise DataError(
                    f"{record.path} of {images.source} has no vehicle id; training needs one for "
                    "every image: leave it out of the list or label it"
                )
            keys.append((group, record.vehicle_id))
            paths.append(str(record.path))
            orientations.append(record.orientation)
    ordered = sorted(set(keys))
    if len(ordered) < 2:
        raise DataError(f"found {len(ordered)} vehicle identities; training needs at least 2")
    index = {key: position for position, key in enumerate(ordered)}
    return TrainSet(
        paths=tuple(paths),
        classes=np.array([index[key] for key in keys], dtype=np.int64),
        orientations=np.array(orientations, dtype=np.int64),
        groups=np.array([group for group, _ in keys], dtype=np.int64),
        identities=tuple((sets[group].source, vehicle) for group, vehicle in ordered),
        sources=tuple(images.source for images in sets),
    )


def plan_epoch(train_set: TrainSet, config: TrainConfig, epoch: int) -> list[list[int]]:
    """Image numbers of every optimiser step of one epoch.

    Args:
        train_set: the images.
        config: uses seed, batch_size, sampler, instances.
        epoch: 0 or more; with the seed it decides everything.

    Returns:
        N // batch_size lists of batch_size image numbers.

    Raises:
        DataError: fewer images than one batch, or a P x K batch that does not divide.
    """
    steps = len(train_set) // config.batch_size
    if steps == 0:
        raise DataError(
            f"{len(train_set)} training images do not fill one batch of {config.batch_size}; "
            "lower --batch-size"
        )
    rng = np.random.default_rng((config.seed, epoch))
    order = (
        _identities_in_turn(train_set, config, rng)
        if config.sampler == "pk"
        else _mixed_shuffle(train_set.groups, rng)
    )
    used = order[: steps * config.batch_size].reshape(steps, config.batch_size)
    return [[int(number) for number in row] for row in used]


def _mixed_shuffle(groups: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.int64]:
    """A random order in which every stretch holds the data sets in proportion."""
    positions = np.empty(len(groups))
    for group in np.unique(groups):
        members = rng.permutation(np.flatnonzero(groups == group))
        # evenly spaced with a random start: batches mix labelled and unlabelled images
        positions[members] = (np.arange(len(members)) + rng.random()) / len(members)
    return np.argsort(positions, kind="stable")


def _identities_in_turn(
    train_set: TrainSet, config: TrainConfig, rng: np.random.Generator
) -> NDArray[np.int64]:
    """P x K order: identities shuffled again and again, `instances` images of each at a time."""
    if config.batch_size % config.instances:
        raise DataError(
            f"batch_size {config.batch_size} is not a multiple of instances {config.instances}"
        )
    by_class = [np.flatnonzero(train_set.classes == c) for c in range(len(train_set.identities))]
    per_batch = config.batch_size // config.instances
    if per_batch > len(by_class):
        raise DataError(
            f"a batch of {config.batch_size} with {config.instances} images each needs {per_batch} "
            f"identities, there are {len(by_class)}; lower --batch-size"
        )
    order: list[NDArray[np.int64]] = []
    while len(order) * config.instances < len(train_set):
        turn = rng.permutation(len(by_class))
        # whole batches only: one identity must not stand twice in a batch
        for number in turn[: len(turn) // per_batch * per_batch]:
            members = by_class[number]
            few = len(members) < config.instances
            order.append(rng.choice(members, size=config.instances, replace=few))
    return np.concatenate(order)


_Sample = tuple[NDArray[np.uint8], int, int]
"""uint8 [H, W, 3], class, orientation."""


class _Images(Dataset[_Sample | ImageError]):
    """Decoded and augmented images, addressed by (epoch, image number).

    An image that cannot be read is returned as its error: raised in a worker process, it would
    arrive with that process's call stack in its text.
    """

    def __init__(self, train_set: TrainSet, config: TrainConfig) -> None:
        self.train_set = train_set
        self.config = config

    def __getitem__(self, key: tuple[int, int]) -> _Sample | ImageError:
        epoch, number = key
        config = self.config
        path = Path(self.train_set.paths[number])
        try:
            image = load_image(path, height=config.image_size, width=config.image_size)
        except ImageError as error:
            return ImageError(str(error))
        orientation = int(self.train_set.orientations[number])
        # one generator per use of an image: the same whichever worker process it falls to
        rng = np.random.default_rng((config.seed, epoch, number))
        if rng.random() < config.flip:
            image, orientation = flip(image, orientation)
        if config.pad > 0:
            image = pad_and_crop(image, config.pad, rng)
        if config.jitter > 0:
            image = jitter_colour(image, config.jitter, rng)
        if rng.random() < config.erase:
            image = erase(image, rng)
        return image, int(self.train_set.classes[number]), orientation


class _Steps(Sampler[list[tuple[int, int]]]):
    """Keys of this process's micro-batches, from the first step to the last, over all epochs."""

    def __init__(
        self, train_set: TrainSet, config: TrainConfig, steps: range, rank: int, world: int
    ) -> None:
        self.train_set = train_set
        self.config = config
        self.steps = steps
        self.rank = rank
        self.world = world

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        per_epoch = len(self.train_set) // self.config.batch_size
        size = self.config.batch_size // (self.config.accumulate * self.world)
        plan: list[list[int]] = []
        planned = -1
        for step in self.steps:
            epoch, within = divmod(step, per_epoch)
            if epoch != planned:
                plan, planned = plan_epoch(self.train_set, self.config, epoch), epoch
            for micro in range(self.config.accumulate):
                # micro-batch by micro-batch over the processes: two processes see what one
                # process sees with twice the accumulation
                start = (micro * self.world + self.rank) * size
                yield [(epoch, number) for number in plan[within][start : start + size]]

    def __len__(self) -> int:
        return len(self.steps) * self.config.accumulate


def _collate(samples: list[_Sample | ImageError]) -> TrainBatch | ImageError:
    """Samples stacked into one batch, or the first error among them."""
    good: list[_Sample] = []
    for sample in samples:
        if isinstance(sample, ImageError):
            return sample
        good.append(sample)
    images, vehicles, orientations = zip(*good, strict=True)
    return TrainBatch(
        images=torch.from_numpy(np.stack(images)),
        vehicles=torch.tensor(vehicles),
        orientations=torch.tensor(orientations),
    )


def training_batches(
    train_set: TrainSet,
    config: TrainConfig,
    *,
    steps: range,
    rank: int = 0,
    world: int = 1,
    pin_memory: bool = False,
) -> Iterator[TrainBatch]:
    """This process's micro-batches, `accumulate` per step, decoded ahead of their use.

    One loader serves all epochs, so workers neither stop nor wait between them.

    Args:
        train_set: the images.
        config: uses seed, batch_size, accumulate, sampler, instances, augmentation, workers.
        steps: optimiser steps to serve, counted from the start of the run.
        rank: this process, 0..world-1.
        world: number of processes.
        pin_memory: page-locked batches, for copies to a GPU that do not wait.

    Returns:
        Iterator of batches; it raises an ImageError at the first image that cannot be read.

    Raises:
        DataError: batch_size does not divide into processes, micro-batches and instances.
    """
    share = config.accumulate * world
    if config.batch_size % share:
        raise DataError(
            f"batch_size {config.batch_size} does not divide into {world} processes x "
            f"{config.accumulate} micro-batches; choose a multiple of {share}"
        )
    if config.sampler == "pk" and (config.batch_size // share) % config.instances:
        raise DataError(
            f"a micro-batch of {config.batch_size // share} images does not hold whole groups of "
            f"{config.instances} instances; choose a larger --batch-size"
        )
    plan_epoch(train_set, config, 0)  # fails here rather than in a worker
    loader: Iterable[TrainBatch | ImageError] = DataLoader(
        _Images(train_set, config),
        batch_sampler=_Steps(train_set, config, steps, rank, world),
        num_workers=config.workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        prefetch_factor=BATCHES_AHEAD if config.workers else None,
        # its own: else every start of the loader would move the random state of the run
        generator=torch.Generator(),
    )
    return _raising(loader)


def _raising(loader: Iterable[TrainBatch | ImageError]) -> Iterator[TrainBatch]:
    """The batches of `loader`; an error among them is raised."""
    for batch in loader:
        if isinstance(batch, ImageError):
            raise batch
        yield batch
