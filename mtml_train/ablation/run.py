"""The runs of an ablation, one after another or one per GPU; each result is kept as it comes.

In: a plan and its folder. Out: `runs/NAME`, an ordinary run, and `results/NAME.json`, what
`mtml-deploy evaluate` would say of it. Whoever starts it again goes on where it was.
"""

from __future__ import annotations

import multiprocessing
import os
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

import click
import torch

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.data.source import load_source
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import MtmlError, OutputBusyError
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.files import write_text
from mtml_deploy.lock import one_writer
from mtml_deploy.report.evaluation import evaluate_pair
from mtml_deploy.search.rerank import RerankOptions
from mtml_train.ablation.plan import MACHINE, Plan, PlannedRun, planned_runs
from mtml_train.checkpoint import LAST, load_checkpoint, load_model
from mtml_train.config import TrainConfig
from mtml_train.distributed import join_processes
from mtml_train.train import Report, train
from mtml_train.validate import embedded, require_protocol

RUNS: Final = "runs"
RESULTS: Final = "results"


def require_tests(plan: Plan) -> None:
    """Refuse a test that could not be done, before the hours that lead to it.

    Raises:
        MtmlError: a source does not load, or the protocol cannot judge it.
    """
    for source, protocol in zip(plan.tests, plan.protocols, strict=True):
        query, gallery = (load_source(source, split=part) for part in ("query", "gallery"))
        require_protocol(query, gallery, protocol)


def result_file(out: Path, run: PlannedRun) -> Path:
    """Where the result of a run is kept."""
    return out / RESULTS / f"{run.name}.json"


def go_through(
    plan: Plan,
    machine: TrainConfig,
    out: Path,
    *,
    report: Report,
    after: Callable[[], None] = lambda: None,
) -> None:
    """Do every run that has no result yet; one that another process is at is left to it.

    Args:
        plan: of the ablation.
        machine: gives the device and what else changes no number.
        out: folder of the ablation.
        report: receives notes and the progress of each run.
        after: called when a result has come.

    Raises:
        MtmlError: a run cannot be done.
        Stopped: a signal came; what was trained is saved.
    """
    runs = list(planned_runs(plan, machine))
    for number, run in enumerate(runs, 1):
        file = result_file(out, run)
        if file.is_file():
            continue
        with suppress(OutputBusyError), one_writer(file):
            if file.is_file():  # another process has just finished it
                continue
            report(f"run {number} of {len(runs)}: {run.row}, seed {run.seed}")
            _train(run, plan, out / RUNS / run.name, report)
            write_text(file, _judge(run, plan, out / RUNS / run.name, report))
            after()


def go_through_on(plan: Plan, machine: TrainConfig, out: Path, devices: Sequence[str]) -> None:
    """Do the runs in a process for each device, each taking the next one that is free.

    Args:
        plan: of the ablation.
        machine: gives what changes no number.
        out: folder of the ablation.
        devices: for example "cuda:0" and "cuda:1".

    Raises:
        MtmlError: a process failed; what it said is on stderr.
    """
    context = multiprocessing.get_context("spawn")
    started = [
        context.Process(target=_work, args=(plan, replace(machine, device=device), out))
        for device in devices
    ]
    for each in started:
        each.start()
    try:
        for each in started:
            each.join()
    finally:
        for each in started:
            each.terminate()  # asks a run that is not done to save and stop
        for each in started:
            each.join()
    if failed := [device for device, each in zip(devices, started, strict=True) if each.exitcode]:
        raise MtmlError(
            f"the runs on {', '.join(failed)} stopped; their words are above: mend the cause and "
            "start the ablation again, which keeps what is done"
        )


def _work(plan: Plan, machine: TrainConfig, out: Path) -> None:
    """One process of `go_through_on`; says notes only, and fails in one line."""
    from mtml_deploy.cli.console import exit_on_error, write_note

    os.setpgrp()  # Ctrl-C goes to the first process, which asks the others once: twice is at once

    def say(found: object) -> None:
        if isinstance(found, str):
            write_note(f"{machine.device}: {found}")

    try:
        with exit_on_error():
            go_through(plan, machine, out, report=say)
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except click.exceptions.Exit as end:
        sys.exit(end.exit_code)


def _train(run: PlannedRun, plan: Plan, folder: Path, report: Report) -> None:
    """Train a run to its end, from where it is."""
    if not (folder / LAST).is_file():
        train(run.config, folder, recipe=plan.recipe, report=report)
        return
    checkpoint = load_checkpoint(folder / LAST, resume=True)
    machine = {name: getattr(run.config, name) for name in MACHINE}
    config = replace(checkpoint.card.config, **machine)
    train(config, folder, recipe=plan.recipe, resume=checkpoint, report=report)


def _judge(run: PlannedRun, plan: Plan, folder: Path, report: Report) -> str:
    """A list of what `mtml-deploy evaluate --json` writes, one for each test."""
    checkpoint = load_checkpoint(folder, which=plan.checkpoint)
    reranking = RerankOptions() if plan.rerank else None
    texts = []
    with join_processes(run.config.device) as process:
        model = load_model(checkpoint).to(process.device).to(memory_format=torch.channels_last)
        model.eval()
        sha256 = file_sha256(checkpoint.path)
        for source, protocol in zip(plan.tests, plan.protocols, strict=True):
            report(f"testing {run.name} on {source}")
            query, gallery = (
                _named(embedded(model, load_source(source, split=part), config=run.config,
                                device=process.device)[0], sha256)
                for part in ("query", "gallery")
            )  # fmt: skip
            found = evaluate_pair(
                query, gallery, find_protocol(protocol), label=f"{run.name}, {source}",
                reranking=reranking,
            )  # fmt: skip
            texts.append(found.json.rstrip())
    return f"[{','.join(texts)}]\n"


def _named(rows: Embeddings, sha256: str) -> Embeddings:
    """Embeddings that name the checkpoint they were made with."""
    return replace(rows, model=ModelIdentity(sha256, "fp32", "fused", rows.features.shape[1]))
