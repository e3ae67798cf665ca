"""Trains fast-reid's bag of tricks: its model, losses, sampler, transforms, optimiser, rates.

Its configs/Base-bagtricks.yml, but in float32 on a CPU, from random weights, its padding and
warm-up shortened with the images and the run, and a cosine in place of its two steps down.
"""

from __future__ import annotations

import importlib
import random
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.training.task import Task

_BATCH: Final = 32
_WIDTHS: Final = {"resnet18": 512, "resnet34": 512, "resnet50": 2048}
_WARMUP_SHARE: Final = 0.08
"""2,000 of the 24,000 steps that its 120 epochs of Market-1501 take."""
_PADDING_SHARE: Final = 10 / 181
"""10 pixels of a 256 x 128 image, whose area is that of a square of side 181."""


class FastReidTrainer:
    """Its simple trainer, step by step.

    Attributes:
        model: its baseline.
    """

    model: nn.Module

    def __init__(self, task: Task) -> None:
        """Build everything as its trainer does.

        Args:
            task: its options hold "backbone" and "checkout".
        """
        random.seed(task.seed)
        np.random.seed(task.seed)  # noqa: NPY002  # what its sampler and transforms draw from
        torch.manual_seed(task.seed)
        self._steps = task.steps
        self._config = _configuration(task)
        data = _part("fastreid.data.build")
        transforms = _part("fastreid.data.transforms.build").build_transforms
        common = _part("fastreid.data.common")
        items = [(shot.path, f"v{shot.vehicle}", f"c{shot.camera}") for shot in task.shots]
        sampler = _part("fastreid.data.samplers").NaiveIdentitySampler(
            items, task.batch_size, self._config.DATALOADER.NUM_INSTANCE, seed=task.seed
        )
        # not its DataLoaderX, which copies to a GPU
        loader = torch.utils.data.DataLoader(
            common.CommDataset(items, transforms(self._config, is_train=True), relabel=True),
            batch_sampler=torch.utils.data.BatchSampler(sampler, task.batch_size, drop_last=True),
            collate_fn=data.fast_batch_collator,
        )
        self._read = _part("fastreid.data.data_utils").read_image
        self._prepared = transforms(self._config, is_train=False)
        self.model = _part("fastreid.modeling.meta_arch").build_model(self._config)
        solver = _part("fastreid.solver.build")
        self._optimizer, wrapped = solver.build_optimizer(self._config, self.model)
        self._rates = solver.build_lr_scheduler(self._config, self._optimizer, 1)
        loop = _part("fastreid.engine.train_loop")
        self._trainer = loop.SimpleTrainer(self.model, loader, self._optimizer, wrapped)

    def train(self) -> None:
        """Steps of its trainer; a step is an epoch to its rates."""
        self.model.train()
        warmup = self._config.SOLVER.WARMUP_ITERS
        with _part("fastreid.utils.events").EventStorage(0) as storage:
            for step in range(self._steps):
                self._trainer.iter = step
                self._trainer.storage = storage
                self._trainer.run_step()
                self._rates["warmup_sched" if step < warmup else "lr_sched"].step()
                storage.step()
        self.model.eval()

    @torch.inference_mode()
    def embed(self, paths: Sequence[Path]) -> Mapping[str, NDArray[np.float32]]:
        """What it gives in a test, after its BatchNorm, and the pooled feature before that."""
        before: list[Tensor] = []
        heads: Any = self.model.heads
        hook = heads.pool_layer.register_forward_hook(
            lambda _, __, pooled: before.append(pooled[..., 0, 0].clone())
        )
        after = []
        for start in range(0, len(paths), _BATCH):
            chosen = paths[start : start + _BATCH]
            images = [self._prepared(self._read(str(path))) for path in chosen]
            after.append(self.model({"images": torch.stack(images)}))
        hook.remove()
        return {
            "after the neck": torch.cat(after).float().numpy(),
            "before the neck": torch.cat(before).float().numpy(),
        }


def _part(name: str) -> Any:  # noqa: ANN401  # untyped
    """A module of the checkout."""
    return importlib.import_module(name)


def _configuration(task: Task) -> Any:  # noqa: ANN401  # untyped
    """Its bag of tricks for this task."""
    config = _part("fastreid.config").get_cfg()
    checkout = Path(str(task.options["checkout"]))
    config.merge_from_file(str(checkout / "configs/Base-bagtricks.yml"))
    backbone = str(task.options["backbone"])
    side = [task.image_size, task.image_size]
    changes = {
        "MODEL.DEVICE": "cpu",
        "MODEL.BACKBONE.DEPTH": f"{backbone.removeprefix('resnet')}x",
        "MODEL.BACKBONE.FEAT_DIM": _WIDTHS[backbone],
        "MODEL.BACKBONE.PRETRAIN": False,
        "MODEL.HEADS.NUM_CLASSES": task.vehicles,
        "INPUT.SIZE_TRAIN": side,
        "INPUT.SIZE_TEST": side,
        "INPUT.PADDING.SIZE": round(_PADDING_SHARE * task.image_size),
        "DATALOADER.NUM_WORKERS": 0,
        "SOLVER.AMP.ENABLED": False,
        "SOLVER.IMS_PER_BATCH": task.batch_size,
        "SOLVER.MAX_EPOCH": task.steps,
        "SOLVER.WARMUP_ITERS": round(_WARMUP_SHARE * task.steps),
        "SOLVER.SCHED": "CosineAnnealingLR",
    }
    config.merge_from_list([part for change in changes.items() for part in change])
    return config


def prepare(task: Task, _: Path) -> FastReidTrainer:
    """What the training process trains with."""
    return FastReidTrainer(task)
