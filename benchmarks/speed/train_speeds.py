"""The three speeds of training: the whole loop, the bare model step, the loader."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from benchmarks.measure.rounds import rate_of
from mtml_train.config import TrainConfig
from mtml_train.data.loader import BATCHES_AHEAD, TrainBatch, training_batches
from mtml_train.data.train_set import TrainSet
from mtml_train.distributed import Process
from mtml_train.model import MTML
from mtml_train.step import TrainStep
from mtml_train.train import StepReport, train


def loop_config(config: TrainConfig, steps: int) -> TrainConfig:
    """`config` for a run of which `steps` steps are measured.

    Args:
        config: the user's settings.
        steps: steps before, and of, the measurement.

    Returns:
        A run that reads its speed every `steps` steps, goes on until the workers would run out of
        work, and saves nothing before its end.
    """
    # without a tail the loader would be idle, and lend the model its cores, in the last steps
    total = 2 * steps + BATCHES_AHEAD * config.workers
    return replace(
        config,
        weights="none",
        val="",
        max_steps=total,
        epochs=total,  # an epoch has at least one step
        log_every=steps,
        save_every=total + 1,
    )


def loop_speed(config: TrainConfig, scratch: Path, *, recipe: str, steps: int) -> float:
    """Images per second of the second `steps` steps of a whole training run.

    Args:
        config: of `loop_config`.
        scratch: existing folder; the run in it is removed.
        recipe: for the run's own record.
        steps: as in `loop_config`.

    Returns:
        As the loop itself reports it.
    """
    speeds: dict[int, float] = {}

    def collect(event: object) -> None:
        if isinstance(event, StepReport) and event.losses:
            speeds[event.step] = event.images_per_second

    with TemporaryDirectory(prefix=".train.", dir=scratch) as folder:
        train(config, Path(folder), recipe=recipe, report=collect)
    return speeds[2 * steps]


def bare_step(
    model: MTML, train_set: TrainSet, config: TrainConfig, process: Process, *, steps: int
) -> Callable[[], float]:
    """The optimiser step on one ready batch.

    Args:
        model: freshly built; trained in place.
        train_set: where the batch is from.
        config: the settings of the loop.
        process: alone, on the device of the loop.
        steps: per measurement.

    Returns:
        For `Contender.measure`; warmed up.
    """
    model.to(process.device).to(memory_format=torch.channels_last)
    step = TrainStep(model.train(), config, process)
    loader = training_batches(train_set, replace(config, workers=0), steps=range(1))
    batches: list[TrainBatch] = list(loader)  # `accumulate` micro-batches

    def measure() -> float:
        step.restart_clock()
        for _ in range(steps):
            # rate 0: a batch learnt by heart gives gradients too small for fast arithmetic
            step(batches, 0.0)
        return step.read()[0]

    for _ in range(2):
        step(batches, 0.0)
    step.read()  # waits for the device
    return measure


def loader_speed(train_set: TrainSet, config: TrainConfig, *, steps: int) -> float:
    """Images per second of the loader when nothing else computes.

    Args:
        train_set: the images.
        config: of `loop_config`.
        steps: as in `loop_config`.

    Returns:
        Over the second `steps` steps, when all workers have started.
    """
    batches: Iterator[TrainBatch] = iter(
        training_batches(train_set, config, steps=range(config.max_steps))
    )
    count = steps * config.accumulate

    def take() -> None:
        for _ in islice(batches, count):
            pass

    take()
    return rate_of(steps * config.batch_size, take)()
