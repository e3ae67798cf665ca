"""Algorithm 1 of the paper as one visible loop: images in, checkpoints out.

Nothing in the loop waits for the device: losses stay there and are read every `log_every` steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from mtml_deploy.data.records import ImageSet
from mtml_deploy.errors import DataError, DivergedError, ImageError, MtmlError
from mtml_deploy.lock import one_writer
from mtml_train.checkpoint import (
    BEST,
    LAST,
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from mtml_train.config import TrainConfig
from mtml_train.data.loader import TrainBatch, lost_workers_named, training_batches
from mtml_train.distributed import Process, join_processes
from mtml_train.divergence import advice, require_finite_state
from mtml_train.prepare import Run, placed, prepare
from mtml_train.resume import require_there, resume_command
from mtml_train.run_card import Progress, advanced, write_run_files
from mtml_train.run_data import Checking
from mtml_train.run_log import RunLog
from mtml_train.step import learning_rate
from mtml_train.stop import Stopped, StopRequests
from mtml_train.validate import Validation, validate


@dataclass(frozen=True)
class StepReport:
    """Where the loop is; sent after every step.

    Attributes:
        step: optimiser steps done, from the start of the run.
        total_steps: steps of the whole run.
        epoch: the epoch that this step belongs to, from 1.
        images_per_second: since the last reading; 0 where `losses` is empty.
        losses: mean of each part since the last reading; empty on most steps, because reading
            them waits for the device.
    """

    step: int
    total_steps: int
    epoch: int
    images_per_second: float = 0.0
    losses: Mapping[str, float] = field(default_factory=dict)


Report = Callable[[StepReport | Validation | Checking | str], None]
"""Receives progress, validations, checks and notes; called in the first process only."""


Duty = Literal["validate", "save"]
"""What is due between two steps."""


def train(
    config: TrainConfig,
    out: Path,
    *,
    recipe: str = "paper",
    resume: Checkpoint | None = None,
    report: Report = lambda _: None,
) -> Progress:
    """Train MTML; leaves `last.safetensors`, `best.safetensors` and the run's JSON files in `out`.

    Args:
        config: all settings.
        out: run folder, made if needed.
        recipe: name of the recipe the settings started from, for the record.
        resume: go on from this checkpoint, exactly as if the run had not stopped.
        report: receives progress.

    Returns:
        How far the run is now.

    Raises:
        MtmlError: data, weights, device or checkpoint do not allow the run.
        OutputBusyError: another process trains into `out`.
        WriteError: the machine refuses to write; the last checkpoint is whole.
        Stopped: Ctrl-C, SIGTERM or SIGHUP; what was trained is saved.
    """
    config = placed(config)
    if resume is not None:
        require_there(config, out=out)
    with join_processes(config.device) as process, lost_workers_named():
        speak: Report = report if process.is_first else lambda _: None
        run = prepare(config, recipe, resume, process, speak)
        try:
            with StopRequests(process) as stop, _alone(out, process):
                return _loop(run, out, speak, stop)
        except DivergedError as error:
            raise DivergedError(f"{error}, {advice(run.card.config, kept=_kept(out))}") from error


@contextmanager
def _alone(out: Path, process: Process) -> Iterator[None]:
    """Keep other runs out of the folder; of several processes of this one the first does so."""
    with one_writer(out / LAST) if process.is_first else nullcontext():
        yield


def _kept(out: Path) -> str:
    """Which checkpoint a run that went wrong leaves."""
    if not (out / LAST).is_file():
        return "no checkpoint was written yet"
    step = load_checkpoint(out / LAST).progress.step
    return f"{out / LAST} keeps step {step}, the last that was saved with finite weights"


def _loop(run: Run, out: Path, report: Report, stop: StopRequests) -> Progress:
    """All remaining steps; what was trained is saved where they end early."""
    config, process = run.card.config, run.process
    steps_per_epoch = len(run.train_set) // config.batch_size
    total = steps_per_epoch * config.epochs
    if config.max_steps >= 0:
        total = min(total, config.max_steps)
    first = run.progress.step
    if run.progress.since_best >= config.patience > 0 and not run.progress.validation_due:
        report(f"nothing to do: {_given_up(run.progress, config)}")
        return run.progress
    if first >= total > 0 and not run.progress.validation_due:
        report(f"nothing to do: {first} of {total} steps were done already; {_longer(config)}")
        return run.progress
    batches = training_batches(
        run.train_set,
        config,
        steps=range(first, total),
        rank=process.rank,
        world=process.world,
        pin_memory=process.device.type == "cuda",
    )
    if first:
        report(f"from step {first} of {total}")
    log = None
    if process.is_first:
        write_run_files(out, run.card)
        log = RunLog(out, after=first)
    try:
        _steps(run, out, report, log, stop, batches, total)
    except (Stopped, ImageError) as error:
        _save_early(run, out, report, log, error)
        raise
    finally:
        if log is not None:
            log.close()
    return run.progress


def _steps(
    run: Run,
    out: Path,
    report: Report,
    log: RunLog | None,
    stop: StopRequests,
    batches: Iterator[TrainBatch],
    total: int,
) -> None:
    """Algorithm 1, with validation and saving in between."""
    config, first = run.card.config, run.progress.step
    steps_per_epoch = len(run.train_set) // config.batch_size
    first_pause = total == 0 or run.progress.validation_due  # untrained, or where it failed
    if first_pause and _pause(run, out, report, log, {"validate", "save"}):
        return
    for number in range(first, total):
        rate = learning_rate(config, number, steps_per_epoch)
        micro_batches = [next(batches) for _ in range(config.accumulate)]
        with stop.held():  # weights and progress belong together
            run.step(micro_batches, rate)
            done = number + 1
            run.progress = advanced(
                run.progress, step=done, images=run.progress.images + config.batch_size
            )
        state = StepReport(done, total, number // steps_per_epoch + 1)
        if done % config.log_every == 0 or done == total:
            speed, losses = run.step.read(step=done)
            state = replace(state, images_per_second=speed, losses=losses)
            if log is not None:
                log.add(done, "loss", losses)
                log.add(done, "speed", {"images_per_second": speed, "learning_rate": rate})
        report(state)
        last = done == total
        due: set[Duty] = set()
        if last or done % (config.val_every * steps_per_epoch) == 0:
            due.add("validate")
        if last or done % (config.save_every or steps_per_epoch) == 0:
            due.add("save")
        if due and _pause(run, out, report, log, due) and not last:
            return
        if not last:
            stop.require_none()


def _save_early(
    run: Run,
    out: Path,
    report: Report,
    log: RunLog | None,
    error: Stopped | ImageError,
) -> None:
    """Save a run that ends before its time, and say what there is."""
    step, stopped = run.progress.step, isinstance(error, Stopped)
    if isinstance(error, Stopped) and error.agreed:
        _pause(run, out, report, log, {"save"})
    elif isinstance(error, Stopped) and error.torn:
        step = run.saved
    elif step > run.saved and run.process.is_first:
        require_finite_state(run.model, run.step.optimizer, step=step)
        if log is not None:
            log.flush()
        _save(run, out / LAST)
    begin = "stopped" if stopped else "an image cannot be read"
    if step:
        when = "" if stopped else " when it is mended"
        command = resume_command(out, run.process.world)
        report(f"{begin}: step {step} is saved; go on{when}: {command}")
    else:
        report(f"{begin} before the end of the first step: there is nothing to save")


def _longer(config: TrainConfig) -> str:
    """How a finished run is trained longer."""
    if config.max_steps >= 0:
        return "train longer with a larger --max-steps, -1 for all epochs"
    return f"train longer with --epochs N, N above {config.epochs}"


def _pause(run: Run, out: Path, report: Report, log: RunLog | None, due: AbstractSet[Duty]) -> bool:
    """What the first process does between two steps; the only place where the others wait for it.

    Every process comes here at the same steps, and none of what the first one does on its own may
    wait for the others: they would never answer.

    Returns:
        Whether the run ends here because its validations have become no better.
    """
    ends = False
    if run.process.is_first:
        for model in {run.model, run.kept}:
            require_finite_state(model, run.step.optimizer, step=run.progress.step)
        if log is not None:
            log.flush()
        if "validate" in due and run.val_sets is not None:
            # first: a validation may fail, and must not take with it what was trained
            run.progress = advanced(run.progress, validation_due=True)
            _save(run, out / LAST)
            _validate(run, run.val_sets, out, report, log)
            due = {"save"}
            patience = run.card.config.patience
            if ends := run.progress.since_best >= patience > 0:
                report(_given_up(run.progress, run.card.config))
        if "save" in due:
            _save(run, out / LAST)
    ends = run.process.after_first(answer=ends)
    run.step.restart_clock()
    return ends


def _given_up(progress: Progress, config: TrainConfig) -> str:
    """Why a run ended early, and how it goes on."""
    return (
        f"the last {progress.since_best} validations gave no better {config.best_by} than "
        f"{100 * progress.best:.1f} %, so the run ends at step {progress.step} "
        f"(patience {config.patience}); go on with --resume --set patience=0"
    )


def _validate(
    run: Run,
    sets: tuple[ImageSet, ImageSet],
    out: Path,
    report: Report,
    log: RunLog | None,
) -> None:
    """Look at the model, and keep it as `best.safetensors` if it is the best so far."""
    progress = run.progress
    try:
        result = validate(run.kept, *sets, config=run.card.config, device=run.process.device)
    except DivergedError:
        raise
    except MtmlError as error:
        raise DataError(
            f"the validation after step {progress.step} failed: {error}; the step is saved, and "
            f"{resume_command(out, run.process.world)} goes on with this validation; mend its "
            "cause, or choose another with --val or --val-protocol, leave out bad "
            'images with --skip-bad, or go on without: --val ""'
        ) from error
    report(result)
    if log is not None:
        log.add(progress.step, "validation", result.scalars())
    same = progress.judge == run.judge
    best = progress.best if same else -1.0
    found = result.scalars().get(run.card.config.best_by, math.nan)
    better = found > best  # of equal ones the earlier stays, and a NaN is never better
    run.progress = advanced(
        progress,
        best=found if better else best,
        since_best=0 if better else 1 + (progress.since_best if same else 0),
        validation=dict(result.scalars()),
        validation_due=False,
        judge=run.judge,
    )
    if better:
        _save(run, out / BEST)


def _save(run: Run, path: Path) -> None:
    """Write a checkpoint; only the last one carries what resuming needs."""
    resumable = path.name == LAST
    save_checkpoint(
        path,
        run.card,
        run.progress,
        run.kept,
        optimizer=run.step.optimizer if resumable else None,
        scaler=run.step.scaler if resumable else None,
        trained=run.model if resumable and run.kept is not run.model else None,
    )
    if resumable:
        run.saved = run.progress.step
