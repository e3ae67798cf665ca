"""A run as it stands before its next step: data, model and optimiser, new or gone on with.

In: settings and, to go on, a checkpoint. Out: a `Run`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.source import absolute_source
from mtml_train.checkpoint import (
    BEST,
    Checkpoint,
    build_model,
    load_checkpoint,
    load_optimizer,
    load_weights,
)
from mtml_train.config import TrainConfig
from mtml_train.data.sampler import sampler_notes
from mtml_train.data.train_set import TrainSet
from mtml_train.distributed import Process
from mtml_train.fine_tune import origin_of, start_from
from mtml_train.known_vehicles import remembered
from mtml_train.micro_batch import decided, micro_batch_notes, require_statistics
from mtml_train.model import MTML
from mtml_train.resume import HOLDOUT, require_same_data, require_same_share
from mtml_train.run_card import Progress, RunCard
from mtml_train.run_data import Checking, load_run_data
from mtml_train.step import TrainStep, learning_rate
from mtml_train.validate import chosen_on, judged_by

Report = Callable[[Checking | str], None]


def placed(config: TrainConfig) -> TrainConfig:
    """The settings with absolute paths: a run does not depend on where it was started."""
    val = config.val
    if val and not val.startswith(HOLDOUT):
        val = absolute_source(val)
    gallery = absolute_source(config.val_gallery) if config.val_gallery else ""
    data = tuple(map(absolute_source, config.data))
    init = str(Path(config.init).absolute()) if config.init else ""
    return replace(config, data=data, val=val, val_gallery=gallery, init=init)


@dataclass
class Run:
    """One run in one process.

    Attributes:
        card: what does not change.
        process: which of the processes this is.
        train_set: images to train on.
        val_sets: query set and gallery, None without validation.
        model: trained in place, on the process's device.
        step: holds the optimiser.
        progress: how far the run is; changes.
        judge: what it is validated on, see `judged_by`.
        saved: the step in the last checkpoint; changes.
    """

    card: RunCard
    process: Process
    train_set: TrainSet
    val_sets: tuple[ImageSet, ImageSet] | None
    model: MTML
    step: TrainStep
    progress: Progress
    judge: str
    saved: int

    @property
    def kept(self) -> MTML:
        """The model that is validated and saved: the average of the weights, where there is one."""
        return self.model if self.step.average is None else self.step.average.model


def prepare(
    config: TrainConfig, recipe: str, resume: Checkpoint | None, process: Process, report: Report
) -> Run:
    """Data, model and optimiser as they stand before the next step.

    Args:
        config: all settings, with absolute paths.
        recipe: name of the recipe they started from.
        resume: the checkpoint to go on from, None for a new run.
        process: which of the processes this is.
        report: receives notes and the progress of checks.

    Returns:
        The run.

    Raises:
        MtmlError: data, weights, device or checkpoint do not allow it.
    """
    cuda = process.device.type == "cuda"
    notes = micro_batch_notes(config, process)
    config = decided(config, process)
    if config.deterministic and cuda:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS refuses without it
    torch.use_deterministic_algorithms(config.deterministic or not cuda)
    torch.backends.cudnn.benchmark = cuda and not config.deterministic  # image size never changes
    train_set, val_sets = load_run_data(config, report, validates=process.is_first)
    process.after_first()  # it alone has decoded the validation images
    if note := chosen_on(config):
        report(note)
    card = RunCard(config, recipe, train_set.identities, train_set.sets, process.world)
    own = load_checkpoint(Path(config.init)) if config.init and resume is None else None
    if own is not None:
        card = replace(card, origin=origin_of(own))
        if val_sets is not None and (note := remembered(card, own.card, config.val, val_sets)):
            report(note)
    if resume is not None:
        card = replace(card, origin=resume.card.origin)
        require_same_data(resume.card, card)
        require_same_share(resume.card, card)
        if note := _lengthened(resume, config, len(train_set) // config.batch_size):
            report(note)
    torch.manual_seed(config.seed)
    model = build_model(config, len(card.identities))
    if resume is not None:
        load_weights(model, resume, resume.trained())
    elif own is not None:
        for note in start_from(model, config, card, own):
            report(note)
    else:
        if note := model.trunks.load_pretrained(config.weights):
            report(note)
    model.to(process.device).to(memory_format=torch.channels_last)
    require_statistics(model, config, process)
    for note in (*notes, *sampler_notes(train_set, config)):
        report(note)
    progress = Progress() if resume is None else resume.progress
    step = TrainStep(model, config, process, done=progress.step)
    if resume is not None:
        if step.average is not None:
            load_weights(step.average.model, resume, resume.weights())
        load_optimizer(resume, step.optimizer)
        if resume.scaler is not None:
            step.scaler.load_state_dict(dict(resume.scaler))
    judge = (
        ""
        if val_sets is None
        else judged_by(*val_sets, config.val_protocol, best_by=config.best_by)
    )
    if judge and progress.judge not in ("", judge) and process.is_first:
        report(
            f"validated on other images, by another protocol or measure than before: {BEST} starts "
            "anew"
        )
    return Run(
        card, process, train_set, val_sets, model.train(), step, progress, judge, progress.step
    )


def _lengthened(resume: Checkpoint, config: TrainConfig, steps_per_epoch: int) -> str:
    """What more epochs mean for a run that goes on; empty where their number is the same."""
    before, step = resume.card.config, resume.progress.step
    if before.epochs == config.epochs:
        return ""
    rates = [learning_rate(each, step, steps_per_epoch) for each in (before, config)]
    changed = f"; the learning rate changes from {rates[0]:.3g} to {rates[1]:.3g} here, as the "
    changed += f"{config.schedule} schedule of {config.epochs} epochs has it"
    return f"{config.epochs} epochs in place of {before.epochs}" + (
        changed if rates[0] != rates[1] else ""
    )
