"""The process that one training runs in: `python -m benchmarks.training.child TASK OUT`.

In: a file with a `Task`. Out: the folder OUT with features.npz ("SET/FEATURE" -> float32 [N, D])
and outcome.json, written last.
"""

from __future__ import annotations

import importlib
import os
import resource
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.training.task import Outcome, Task, Trainer
from mtml_deploy import record_file
from mtml_deploy.errors import BackendError

FEATURES: Final = "features.npz"
OUTCOME: Final = "outcome.json"


def run(task: Task, out: Path) -> Outcome:
    """Train, embed, and write what came of it.

    Args:
        task: what to do.
        out: existing folder.

    Returns:
        What was written beside the features.

    Raises:
        BackendError: weights are as they were before the training.
    """
    torch.set_num_threads(task.threads)
    trainer: Trainer = importlib.import_module(task.module).prepare(task, out)
    before = weights_of(trainer.model)
    started, spent = time.perf_counter(), _cpu_seconds()
    trainer.train()
    train_s, cpu_s = time.perf_counter() - started, _cpu_seconds() - spent
    require_trained(before, trainer.model, task.module)
    arrays = {
        f"{name}/{feature}": rows
        for name, paths in task.embed.items()
        for feature, rows in trainer.embed([Path(path) for path in paths]).items()
    }
    np.savez(out / FEATURES, allow_pickle=False, **arrays)
    outcome = Outcome(
        digest=task.digest,
        train_s=train_s,
        cpu_s=cpu_s,
        parameters=sum(tensor.numel() for tensor in before.values()),
        load=round(os.getloadavg()[0], 2),
    )
    (out / OUTCOME).write_text(record_file.record_json(outcome, indent=2) + "\n", encoding="utf-8")
    return outcome


def weights_of(model: nn.Module) -> Mapping[str, Tensor]:
    """A copy of all weights that training may move."""
    return {
        name: weight.detach().clone()
        for name, weight in model.named_parameters()
        if weight.requires_grad
    }


def require_trained(before: Mapping[str, Tensor], model: nn.Module, module: str) -> None:
    """Refuse a training that moved nothing: some libraries lose their gradients without a word.

    Args:
        before: `weights_of` the model before its first step.
        model: after the last step.
        module: of the trainer, for the error.

    Raises:
        BackendError: weights are as they were.
    """
    after = dict(model.named_parameters())
    same = [name for name, weight in before.items() if torch.equal(weight, after[name])]
    if same:
        raise BackendError(
            f"{module} left {len(same)} of {len(before)} tensors of weights as they were, "
            f"{same[0]} for one: it did not train them, and its result would say nothing; see "
            "whether it works with this version of torch"
        )


def _cpu_seconds() -> float:
    """Processor time of this process, its threads and the children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)


if __name__ == "__main__":
    task_file, folder = map(Path, sys.argv[1:])
    run(record_file.parse_json(task_file.read_bytes(), Task), folder)
