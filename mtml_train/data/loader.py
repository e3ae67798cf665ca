"""Training images as batches of bytes and labels; every batch is a pure function of seed and step.

In: a `TrainSet` and a range of steps. Out: `TrainBatch` values from a data loader that works
ahead of the model. Nothing depends on the number of workers, so a resumed run repeats exactly.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from mtml_deploy.data.batches import decode_image
from mtml_deploy.errors import BackendError, DataError, ImageError
from mtml_deploy.text import foreign
from mtml_train.config import TrainConfig
from mtml_train.data.augment import apply_policy, erase, flip, jitter_colour, pad_and_crop
from mtml_train.data.sampler import plan_epoch
from mtml_train.data.train_set import TrainSet

BATCHES_AHEAD: Final = 4
"""Micro-batches that each worker prepares before they are asked for."""

_GRACE_S: Final = 120
"""Seconds after which a worker follows a SIGTERM."""


@dataclass(frozen=True)
class TrainBatch:
    """One micro-batch.

    Attributes:
        images: uint8 [B, H, W, 3], RGB, augmented.
        vehicles: int64 [B], class index of the joined identities.
        orientations: int64 [B], 0..7, -1 unknown.
        numbers: int64 [B], which image of the training set each is; None where no image is in the
            batch twice.
    """

    images: Tensor
    vehicles: Tensor
    orientations: Tensor
    numbers: Tensor | None = None

    def to(self, device: torch.device) -> TrainBatch:
        """The batch on `device`, copied without waiting."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> TrainBatch:
        """The batch in page-locked memory (called by the data loader)."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> TrainBatch:
        numbers = None if self.numbers is None else change(self.numbers)
        return TrainBatch(
            change(self.images), change(self.vehicles), change(self.orientations), numbers
        )


_Sample = tuple[NDArray[np.uint8], int, int, int]
"""uint8 [H, W, 3], class, orientation, number of the image."""


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
        height, width = config.image_sides
        try:
            image = decode_image(path, height=height, width=width)
        except ImageError as error:
            return ImageError(str(error))
        orientation = int(self.train_set.orientations[number])
        # one generator per use of an image: the same whichever worker process it falls to
        rng = np.random.default_rng((config.seed, epoch, number))
        if rng.random() < config.flip:
            image, orientation = flip(image, orientation)
        if config.pad > 0:
            image = pad_and_crop(image, config.pad, rng)
        if config.auto_augment != "none" and rng.random() < config.auto_augment_share:
            image = apply_policy(np.ascontiguousarray(image), config.auto_augment, rng)
        if config.jitter > 0:
            image = jitter_colour(image, config.jitter, rng)
        if rng.random() < config.erase:
            image = erase(image, rng, fill=config.erase_fill)
        return image, int(self.train_set.classes[number]), orientation, number


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
    images, vehicles, orientations, numbers = zip(*good, strict=True)
    return TrainBatch(
        images=torch.from_numpy(np.stack(images)),
        vehicles=torch.tensor(vehicles),
        orientations=torch.tensor(orientations),
        numbers=torch.tensor(numbers),
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
    if config.sampler != "shuffle" and (config.batch_size // share) % config.instances:
        raise DataError(
            f"a micro-batch of {config.batch_size // share} images does not hold whole groups of "
            f"{config.instances} instances; choose a larger --batch-size"
        )
    if config.triplet_weight > 0 and config.batch_size // share == config.instances:
        raise DataError(
            f"a micro-batch of {config.instances} images holds one vehicle, and the triplet loss "
            "needs another to compare with; raise --batch-size, or lower --accumulate or the "
            "number of processes"
        )
    plan_epoch(train_set, config, 0)  # fails here rather than in a worker
    loader: Iterable[TrainBatch | ImageError] = DataLoader(
        _Images(train_set, config),
        batch_sampler=_Steps(train_set, config, steps, rank, world),
        num_workers=config.workers,
        collate_fn=_collate,
        pin_memory=pin_memory,
        prefetch_factor=BATCHES_AHEAD if config.workers else None,
        worker_init_fn=_leave_signals_to_the_parent,
        # its own: else every start of the loader would move the random state of the run
        generator=torch.Generator(),
    )
    return _raising(loader)


def _leave_signals_to_the_parent(worker: int) -> None:
    """Let a worker outlive signals that its whole group is sent: the parent wants to save first."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    # not ignored: the parent ends a worker that does not answer in the same way
    signal.signal(signal.SIGTERM, lambda *_: signal.alarm(_GRACE_S))
    sys.excepthook = _without_lost_connections


def _without_lost_connections(
    kind: type[BaseException], error: BaseException, trace: TracebackType | None
) -> None:
    """Show an error of a worker, but not that its parent left while it handed over a batch.

    A thread of multiprocessing prints that one; errors of the worker's own reach the parent.
    """
    if not issubclass(kind, EOFError | ConnectionError):
        sys.__excepthook__(kind, error, trace)


@contextmanager
def lost_workers_named() -> Iterator[None]:
    """Say in our words that a loading process has ended; torch raises it wherever the run stands.

    Raises:
        BackendError: one has.
    """
    try:
        yield
    except RuntimeError as error:
        if not str(error).startswith("DataLoader worker (pid"):
            raise
        raise _lost_worker(error) from error


def _lost_worker(error: Exception) -> BackendError:
    """What a user can do about a loading process that has ended."""
    if threading.current_thread() is threading.main_thread():
        # torch's handler raises again whenever another process ends, in the middle of anything
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    why = foreign(error) or "it left a batch half sent"
    return BackendError(
        f"a process that loads images has ended ({why}), for example for want of memory, or of "
        "shared memory in /dev/shm; lower --workers (0 loads in the training process itself), and "
        "go on from the last checkpoint with --resume"
    )


def _raising(loader: Iterable[TrainBatch | ImageError]) -> Iterator[TrainBatch]:
    """The batches of `loader`; an error among them is raised."""
    batches = iter(loader)
    while True:
        try:
            batch = next(batches, None)
        except (EOFError, ConnectionError) as error:  # a tensor was on its way to here
            raise _lost_worker(error) from error
        if batch is None:
            return
        if isinstance(batch, ImageError):
            raise batch
        yield batch
