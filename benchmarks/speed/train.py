"""Training: images per second of the whole loop against the bare model step, and the loader alone.

The loop is the one that users run, with loader, logging and checkpoint; start-up and checkpoint are
left out of its speed by its own clock.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import torch

from benchmarks.measure.limits import torch_threads
from benchmarks.measure.machine import describe_environment
from benchmarks.measure.rounds import SETTLE_S, Contender, alternate, ratio
from benchmarks.report.record import Record
from benchmarks.speed.train_speeds import bare_step, loader_speed, loop_config, loop_speed
from mtml_deploy.data.source import load_source
from mtml_train.checkpoint import build_model
from mtml_train.config import TrainConfig
from mtml_train.data.train_set import join_training_sets
from mtml_train.distributed import join_processes

_SHOWN: Final = (
    "data", "variant", "backbone", "image_size", "batch_size", "accumulate", "sampler", "workers",
    "amp", "seed",
)  # fmt: skip
"""Settings that a step's price depends on."""


@dataclass(frozen=True)
class TrainBench:
    """How training is measured.

    Attributes:
        steps: optimiser steps of one measurement; as many run before it, uncounted.
        rounds: measurements of each contender.
        threads: of the model; 0 for torch's own choice.
        settle_s: pause before each measurement, seconds.
    """

    steps: int = 20
    rounds: int = 3
    threads: int = 0
    settle_s: float = SETTLE_S

    def __post_init__(self) -> None:
        """Refuse a measurement of nothing.

        Raises:
            ValueError: no step.
        """
        if self.steps < 1:
            raise ValueError(f"steps is 1 or more, found {self.steps}")


def measure_train(
    config: TrainConfig,
    scratch: Path,
    *,
    recipe: str,
    bench: TrainBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Speeds of training with `config`.

    Args:
        config: as `train` takes it; how long it runs, logs, saves and validates is set here.
        scratch: existing folder on the disk that checkpoints are written to.
        recipe: name of the recipe that `config` started from, for the record.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record.

    Raises:
        MtmlError: data or device do not allow the run.
    """
    environment = describe_environment()
    config = loop_config(config, bench.steps)
    sets = [load_source(source, split="train") for source in config.data]
    train_set = join_training_sets(sets)
    with torch_threads(bench.threads) as threads, join_processes(config.device) as process:
        if process.device.type == "cpu" or config.deterministic:
            # as the loop does; deterministic kernels are part of the step's price
            torch.use_deterministic_algorithms(True)
        say(f"warming up on {len(train_set)} images")
        model = build_model(config, len(train_set.identities))
        contenders = (
            Contender(
                "loop",
                "training loop",
                "The whole loop with its loader and logging, by its own clock, which leaves out "
                f"start-up and checkpoint; {bench.steps} steps after as many uncounted ones.",
                "images/s",
                lambda: loop_speed(config, scratch, recipe=recipe, steps=bench.steps),
            ),
            Contender(
                "step",
                "bare model step",
                "The same optimiser step, again and again on one batch that is in memory.",
                "images/s",
                bare_step(model, train_set, config, process, steps=bench.steps),
            ),
            Contender(
                "loader",
                "loader alone",
                "Batches as the loop gets them, taken as fast as they come, no model.",
                "images/s",
                lambda: loader_speed(train_set, config, steps=bench.steps),
            ),
        )
        series = alternate(contenders, rounds=bench.rounds, say=say, settle_s=bench.settle_s)
    return Record(
        kind="train",
        title="Training speed",
        environment=environment,
        model={
            "variant": config.variant,
            "backbone": config.backbone,
            "identities": len(train_set.identities),
            "parameters": sum(parameter.numel() for parameter in model.parameters()),
        },
        settings={
            "recipe": recipe,
            **{name: getattr(config, name) for name in _SHOWN},
            "images": len(train_set),
            "device": str(process.device),
            "steps": bench.steps,
            "rounds": bench.rounds,
            "threads": threads,
        },
        series=tuple(series.values()),
        ratios=(ratio(series["loop"], series["step"]),),
        notes=(
            "Loader and model share the processor where the device is the CPU: there the loop "
            "tends to stay below the bare step.",
        ),
    )
