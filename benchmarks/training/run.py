"""Trains every entrant with every seed, each in a process of its own; finished ones are kept.

In: entrants, training images, test sets. Out: a folder per training, and the record of the table.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from benchmarks.training.child import FEATURES, OUTCOME
from benchmarks.training.entrants import Entrant
from benchmarks.training.task import Outcome, Shot, Task
from mtml_deploy import record_file
from mtml_deploy.data.records import ImageSet
from mtml_deploy.data.source import load_source
from mtml_deploy.errors import BackendError
from mtml_train.data.train_set import join_training_sets

_ROOT: Final = Path(__file__).parents[2]
_SHOWN_LINES: Final = 15


@dataclass(frozen=True)
class TrainingBench:
    """What all entrants share.

    Attributes:
        seeds: each entrant trains once with each.
        steps: optimiser steps.
        batch_size: images per step.
        image_size: height and width, pixels.
        threads: of torch.
    """

    seeds: tuple[int, ...] = (0, 1)
    steps: int = 250
    batch_size: int = 32
    image_size: int = 64
    threads: int = 1


@dataclass(frozen=True)
class TestSet:
    """Where features are judged.

    Attributes:
        source: as the user wrote it.
        query: query images.
        gallery: gallery images.
    """

    source: str
    query: ImageSet
    gallery: ImageSet


@dataclass(frozen=True)
class Trained:
    """One finished training.

    Attributes:
        entrant: who.
        seed: of the training.
        outcome: what it says of itself.
        features: "SET/FEATURE" -> float32 [N, D].
    """

    entrant: Entrant
    seed: int
    outcome: Outcome
    features: Mapping[str, NDArray[np.float32]]


def load_tests(sources: Sequence[str]) -> tuple[TestSet, ...]:
    """Query and gallery of each source."""
    return tuple(
        TestSet(source, load_source(source, split="query"), load_source(source, split="gallery"))
        for source in sources
    )


def train_all(
    entrants: Sequence[Entrant],
    data: str,
    tests: Sequence[TestSet],
    folder: Path,
    *,
    bench: TrainingBench,
    say: Callable[[str], None] = lambda _: None,
) -> list[Trained]:
    """Train, one after the other, what is not there yet: first every entrant with the first seed.

    Args:
        entrants: who trains.
        data: source of the training images.
        tests: what is embedded afterwards.
        folder: of the trainings, one folder each.
        bench: what they share.
        say: receives progress.

    Returns:
        All trainings, entrant by entrant.

    Raises:
        MtmlError: the data are not usable.
        BackendError: a training failed.
    """
    images = load_source(data, split="train")
    joined = join_training_sets([images])
    numbered = zip(joined.paths, joined.classes.tolist(), joined.cameras.tolist(), strict=True)
    shots = tuple(Shot(str(path), vehicle, camera) for path, vehicle, camera in numbered)
    embed = {}
    for number, test in enumerate(tests):
        embed[f"{number}/query"] = _paths(test.query)
        embed[f"{number}/gallery"] = _paths(test.gallery)
    done: dict[tuple[str, int], Trained] = {}
    for seed in bench.seeds:
        for entrant in entrants:
            task = Task(
                module=entrant.module,
                options=entrant.options,
                seed=seed,
                steps=bench.steps,
                batch_size=bench.batch_size,
                image_size=bench.image_size,
                threads=bench.threads,
                source=data,
                shots=shots,
                embed=embed,
            )
            place = folder / f"{entrant.folder}-seed{seed}"
            outcome = finished(place, task)
            if outcome is None:
                say(f"training {entrant.name}, seed {seed}: {bench.steps} steps")
                outcome = _train(entrant, task, place)
            else:
                say(f"{entrant.name}, seed {seed}: finished before")
            with np.load(place / FEATURES, allow_pickle=False) as arrays:
                features = {name: arrays[name] for name in arrays.files}
            done[entrant.name, seed] = Trained(entrant, seed, outcome, features)
    return [done[entrant.name, seed] for entrant in entrants for seed in bench.seeds]


def finished(place: Path, task: Task) -> Outcome | None:
    """What an earlier training of the same task left; None where there is none."""
    try:
        outcome = record_file.parse_json((place / OUTCOME).read_bytes(), Outcome)
    except (OSError, ValueError):
        return None
    return outcome if outcome.digest == task.digest and (place / FEATURES).is_file() else None


def _train(entrant: Entrant, task: Task, place: Path) -> Outcome:
    """One training in a process of its own."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    (place / "task.json").write_text(record_file.record_json(task), encoding="utf-8")
    path = [*map(str, entrant.path), str(_ROOT), os.environ.get("PYTHONPATH", "")]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
        # before torch is loaded: threads of more than are asked for would only wait
        "OMP_NUM_THREADS": str(task.threads),
    }
    command = [sys.executable, "-m", "benchmarks.training.child"]
    with (place / "log.txt").open("w", encoding="utf-8") as log:
        code = subprocess.run(
            [*command, str(place / "task.json"), str(place)],
            stdout=log, stderr=subprocess.STDOUT, env=environment, check=False,
        ).returncode  # fmt: skip
    outcome = finished(place, task)
    if code or outcome is None:
        lines = (place / "log.txt").read_text(encoding="utf-8", errors="replace").splitlines()
        raise BackendError(
            f"the training of {entrant.name}, seed {task.seed}, ended with code {code}; the end of "
            f"{place / 'log.txt'}:\n" + "\n".join(lines[-_SHOWN_LINES:])
        )
    return outcome


def _paths(images: ImageSet) -> tuple[str, ...]:
    """Absolute paths in the order of the set."""
    return tuple(str((Path(images.root) / record.path).absolute()) for record in images.records)
