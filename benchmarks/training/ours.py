"""Trains a recipe of this toolkit with the loop that users run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.training.schedule import fitted
from benchmarks.training.task import Task
from mtml_deploy.data.batches import decode_image
from mtml_train.checkpoint import LAST, build_model, load_checkpoint, load_weights
from mtml_train.config import TrainConfig
from mtml_train.settings import build_config
from mtml_train.train import train

_BATCH = 32


class RecipeTrainer:
    """A recipe, its schedule fitted to the steps of the task.

    Attributes:
        model: before the training as the loop will start it, after it as the loop left it.
    """

    def __init__(self, task: Task, folder: Path) -> None:
        """Read the settings and make the model that the loop makes.

        Args:
            task: its options hold "recipe" and settings of `TrainConfig` that win over it.
            folder: where the run goes.
        """
        self.config = config_of(task)
        self._recipe = str(task.options["recipe"])
        self._folder = folder / "run"
        self._size = task.image_size
        torch.manual_seed(self.config.seed)
        self.model = build_model(self.config, task.vehicles)

    def train(self) -> None:
        """The loop of `mtml-train`."""
        train(self.config, self._folder, recipe=self._recipe)
        checkpoint = load_checkpoint(self._folder / LAST)
        load_weights(self.model, checkpoint, checkpoint.weights())
        self.model.eval()

    @torch.inference_mode()
    def embed(self, paths: Sequence[Path]) -> Mapping[str, NDArray[np.float32]]:
        """The fused feature, and that of each branch where there are several."""
        size = self._size
        found = []
        for start in range(0, len(paths), _BATCH):
            batch = [
                decode_image(path, height=size, width=size)
                for path in paths[start : start + _BATCH]
            ]
            pooled = self.model.trunks(torch.from_numpy(np.stack(batch)))
            found.append(torch.stack([each.float() for each in pooled]))  # [R, B, F]
        rows = torch.cat(found, dim=1).numpy()
        branches = self.config.branches
        features = {"fused": np.concatenate(list(rows), axis=1)}
        if len(branches) > 1:
            features |= dict(zip(branches, rows, strict=True))
        return features


def config_of(task: Task) -> TrainConfig:
    """The settings of a task: those of its recipe, its own over them, its schedule fitted."""
    known = {field.name for field in fields(TrainConfig)}
    given = {name: value for name, value in task.options.items() if name in known}
    recipe = build_config(str(task.options["recipe"]), None, given)
    per_epoch = len(task.shots) // task.batch_size
    return build_config(
        str(task.options["recipe"]),
        None,
        {
            **given,
            **fitted(recipe, steps=task.steps, steps_per_epoch=per_epoch),
            "data": (task.source,),
            "weights": "none",
            "image_size": task.image_size,
            "batch_size": task.batch_size,
            "seed": task.seed,
            "max_steps": task.steps,
            "val": "",
            "device": "cpu",
        },
    )


def prepare(task: Task, folder: Path) -> RecipeTrainer:
    """What the training process trains with."""
    return RecipeTrainer(task, folder)
