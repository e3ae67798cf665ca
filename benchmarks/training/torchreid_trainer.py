"""Trains torchreid's softmax and triplet baseline: its model, losses, sampler, transforms, rates.

Its defaults, but a cosine down to the last step where its own schedule has one step down at a third
of its epochs, and random initial weights as all the others have.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Mapping, Sequence
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from benchmarks.training.task import Task

_BATCH: Final = 32
_SOURCE: Final = "images"


class TorchreidTrainer:
    """Its image engine with both losses.

    Attributes:
        model: a ResNet of torchreid.
    """

    model: nn.Module

    def __init__(self, task: Task) -> None:
        """Build everything as its scripts do.

        Args:
            task: its options hold "backbone".
        """
        library: Any = importlib.import_module("torchreid")
        random.seed(task.seed)
        np.random.seed(task.seed)  # noqa: NPY002  # what its sampler draws from
        torch.manual_seed(task.seed)
        self._steps = task.steps
        items = [(shot.path, shot.vehicle, shot.camera) for shot in task.shots]

        class Images(library.data.ImageDataset):  # type: ignore[misc]  # untyped
            def __init__(self, **kwargs: object) -> None:
                # it wants a query and a gallery too, and counts them only
                super().__init__(items, items[:1], items[:1], **kwargs)

        library.data.register_image_dataset(_SOURCE, Images)
        data = library.data.ImageDataManager(
            sources=_SOURCE,
            height=task.image_size,
            width=task.image_size,
            use_gpu=False,
            batch_size_train=task.batch_size,
            workers=0,
            train_sampler="RandomIdentitySampler",
        )
        self.model = library.models.build_model(
            str(task.options["backbone"]), task.vehicles, loss="triplet", pretrained=False,
            use_gpu=False,
        )  # fmt: skip
        optimizer = library.optim.build_optimizer(self.model)
        self._scheduler = library.optim.build_lr_scheduler(
            optimizer, lr_scheduler="cosine", max_epoch=task.steps
        )
        self._engine = library.engine.ImageTripletEngine(
            data, self.model, optimizer, scheduler=self._scheduler, use_gpu=False
        )
        self._data = data

    def train(self) -> None:
        """Steps of its engine, epoch after epoch."""
        self.model.train()
        epochs = chain.from_iterable(map(iter, repeat(self._data.train_loader)))
        for batch in islice(epochs, self._steps):
            self._engine.forward_backward(batch)
            self._scheduler.step()
        self.model.eval()

    @torch.inference_mode()
    def embed(self, paths: Sequence[Path]) -> Mapping[str, NDArray[np.float32]]:
        """Its pooled feature, of images as it prepares them for a test."""
        found = []
        for start in range(0, len(paths), _BATCH):
            images = [Image.open(path).convert("RGB") for path in paths[start : start + _BATCH]]
            batch = torch.stack([self._data.transform_te(image) for image in images])
            found.append(self.model(batch))
        return {"pooled": torch.cat(found).float().numpy()}


def prepare(task: Task, _: Path) -> TorchreidTrainer:
    """What the training process trains with."""
    return TorchreidTrainer(task)
