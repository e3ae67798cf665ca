"""The schedule of a recipe in fewer steps: the same shape, shortened."""

from __future__ import annotations

import math
from collections.abc import Mapping

from mtml_train.config import TrainConfig


def fitted(config: TrainConfig, *, steps: int, steps_per_epoch: int) -> Mapping[str, object]:
    """Settings that end the schedule with the run, warm-up and freezing in proportion.

    Args:
        config: the recipe, whose epochs are those that its schedule was made for.
        steps: of the run.
        steps_per_epoch: of the run.

    Returns:
        epochs, warmup_epochs, warmup_steps and freeze_steps.
    """
    whole = config.epochs * steps_per_epoch
    warmup = config.warmup_steps or config.warmup_epochs * steps_per_epoch
    return {
        "epochs": math.ceil(steps / steps_per_epoch),
        "warmup_epochs": 0.0,
        "warmup_steps": round(steps * warmup / whole),
        "freeze_steps": round(steps * config.freeze_steps / whole),
    }
