"""Which images make up each optimiser step: a pure function of seed and epoch.

In: a `TrainSet` and settings. Out: lists of image numbers, the same for every process and worker.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import DataError
from mtml_train.config import TrainConfig
from mtml_train.data.train_set import TrainSet


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
        if config.sampler != "shuffle"
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
    """P x K order: identities shuffled again and again, `instances` images of each at a time.

    With sampler "pk" a vehicle's images are drawn anew at each turn, with "pk-once" by `_Turns`.
    """
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
    turns: dict[int, _Turns] = {}
    order: list[NDArray[np.int64]] = []
    while len(order) * config.instances < len(train_set):
        turn = rng.permutation(len(by_class))
        # whole batches only: one identity must not stand twice in a batch
        for number in turn[: len(turn) // per_batch * per_batch]:
            members = by_class[number]
            if config.sampler == "pk-once":
                if number not in turns:
                    turns[number] = _Turns(members, train_set.cameras[members], rng)
                order.append(turns[number].draw(config.instances))
                continue
            few = len(members) < config.instances
            order.append(rng.choice(members, size=config.instances, replace=few))
    return np.concatenate(order)


class _Turns:
    """Images of one vehicle in an epoch: none twice before all were there, cameras in turn."""

    def __init__(
        self, members: NDArray[np.int64], cameras: NDArray[np.int64], rng: np.random.Generator
    ) -> None:
        """None was drawn yet; among equals a random order decides."""
        order = rng.permutation(len(members))
        self._members = members[order]
        _, self._cameras = np.unique(cameras[order], return_inverse=True)
        self._uses = np.zeros(len(members), dtype=np.int64)

    def draw(self, count: int) -> NDArray[np.int64]:
        """The next `count` image numbers; one is there twice only where all of them are."""
        here = np.zeros(len(self._members), dtype=np.int64)
        seen = np.zeros(int(self._cameras.max()) + 1, dtype=np.int64)
        drawn = []
        for _ in range(count):
            # images left of each camera: of equal cameras the fullest, lest one is left alone
            left = np.bincount(
                self._cameras, weights=self._uses == self._uses.min(), minlength=len(seen)
            )
            keys = (-left[self._cameras], seen[self._cameras], self._uses, here)
            best = int(np.lexsort(keys)[0])  # the last key counts first; stable
            here[best] += 1
            seen[self._cameras[best]] += 1
            self._uses[best] += 1
            drawn.append(self._members[best])
        return np.array(drawn)


def sampler_notes(train_set: TrainSet, config: TrainConfig) -> list[str]:
    """What a user should know of groups that cannot be filled; empty where all can.

    Args:
        train_set: the images.
        config: uses sampler, instances.

    Returns:
        One sentence, or none.
    """
    if config.sampler == "shuffle":
        return []
    sizes = np.bincount(train_set.classes, minlength=len(train_set.identities))
    few, alone = int((sizes < config.instances).sum()), int((sizes == 1).sum())
    if not few:
        return []
    note = (
        f"{few} of {len(sizes)} vehicles have fewer than {config.instances} images (instances), so "
        "some of theirs are in a batch more than once"
    )
    if alone:
        note += f"; the triplet loss has no pair for {alone} of them, which have a single one"
    return [note]
