"""The page of the accuracy benchmark: a table per test set, differences with intervals, and cost.

In: trainings. Out: a `Record`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from benchmarks.measure.machine import Environment
from benchmarks.measure.rounds import Ratio, Series
from benchmarks.report.record import Record
from benchmarks.training.judge import DISTANCES, Distance, Judged, judge
from benchmarks.training.run import TestSet, Trained, TrainingBench
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.parity.bootstrap import Change, paired_change
from mtml_deploy.text import table

_NOTES: Final = (
    "Every entrant trains from random weights, on the same images, in as many steps of as many "
    "images, each in a process of its own, one after the other; one evaluator judges all.",
    "Schedules and warm-ups are shortened with the run; peers have a cosine down to the last step.",
    "Intervals: paired bootstrap over the queries, each with the mean of its average precision "
    "over the seeds. They know nothing of what other seeds would give.",
)


@dataclass(frozen=True)
class Row:
    """One feature of one entrant on one test set.

    Attributes:
        entrant: its name.
        feature: its name; the first of an entrant is what it stands for.
        first: whether it is the first.
        judged: distance -> one result per seed.
    """

    entrant: str
    feature: str
    first: bool
    judged: Mapping[Distance, tuple[Judged, ...]]

    @property
    def title(self) -> str:
        """Its name in the table."""
        return self.entrant if self.first else f"{self.entrant}: {self.feature} alone"


def training_record(
    trained: Sequence[Trained],
    tests: Sequence[TestSet],
    protocol: Protocol,
    *,
    environment: Environment,
    bench: TrainingBench,
    data: str,
    backbone: str,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Judge all trainings and put them side by side.

    Args:
        trained: entrant by entrant, each with all seeds.
        tests: what was embedded.
        protocol: of the evaluation.
        environment: of the machine at the start.
        bench: what the trainings share.
        data: source of the training images.
        backbone: of all entrants.
        say: receives progress.

    Returns:
        The record; its series are speeds, its ratios mAP.
    """
    lead: list[str] = []
    ratios: list[Ratio] = []
    for number, test in enumerate(tests):
        say(f"judging on {test.source}")
        rows = judged_rows(trained, number, test, protocol)
        counts = f"{len(test.query.records)} queries, {len(test.gallery.records)} gallery images"
        lead += [f"Tested on `{test.source}`, {counts}; percent, one value per seed.", ""]
        lead += [*_accuracy(rows), "", *_differences(rows), ""]
        for row in rows:
            for distance, results in row.judged.items():
                value = float(np.mean([each.mean_ap for each in results]))
                key = f"{number}/{row.entrant}/{row.feature}/{distance}"
                ratios.append(Ratio(key, f"{row.title}: mAP, {distance}, `{test.source}`", value))
    lead += _cost(trained, bench)
    return Record(
        kind="training",
        title="Accuracy of training",
        environment=environment,
        model={"backbone": backbone},
        settings={
            "data": data, "tests": [test.source for test in tests], "protocol": protocol.name,
            "seeds": [str(seed) for seed in bench.seeds], "steps": bench.steps,
            "batch_size": bench.batch_size, "image_size": bench.image_size,
            "threads": bench.threads,
        },
        series=_speeds(trained, bench),
        ratios=tuple(ratios),
        notes=_NOTES,
        lead=tuple(lead),
    )  # fmt: skip


def judged_rows(
    trained: Sequence[Trained], number: int, test: TestSet, protocol: Protocol
) -> list[Row]:
    """Every feature of every entrant on one test set."""
    rows = []
    for entrant in dict.fromkeys(each.entrant.name for each in trained):
        runs = [each for each in trained if each.entrant.name == entrant]
        prefix = f"{number}/query/"
        names = [key.removeprefix(prefix) for key in runs[0].features if key.startswith(prefix)]
        for feature in names:
            judged = {
                distance: tuple(
                    judge(
                        (test.query, test.gallery),
                        (run.features[prefix + feature],
                         run.features[f"{number}/gallery/{feature}"]),
                        protocol,
                        distance=distance,
                    )
                    for run in runs
                )
                for distance in DISTANCES
            }  # fmt: skip
            rows.append(Row(entrant, feature, feature == names[0], judged))
    return rows


def difference(reference: Row, candidate: Row, distance: Distance) -> Change:
    """Of two rows, candidate minus reference: mean over the seeds of each query's precision."""
    means = [
        np.mean([each.precisions for each in row.judged[distance]], axis=0)
        for row in (reference, candidate)
    ]
    return paired_change(means[0], means[1])


def _accuracy(rows: Sequence[Row]) -> list[str]:
    """Accuracy: mAP by both distances, CMC of the L2 distance."""
    cells = []
    for row in rows:
        l2, cosine = row.judged["l2"], row.judged["cosine"]
        cells.append(
            (
                row.title,
                _each([one.mean_ap for one in l2]),
                _each([one.mean_ap for one in cosine]),
                _each([one.cmc1 for one in l2]),
                _each([one.cmc5 for one in l2]),
            )
        )
    columns = ("entrant", "mAP, L2", "mAP, cosine", "CMC@1, L2", "CMC@5, L2")
    return list(table(columns, cells, align="lrrrr"))


def _differences(rows: Sequence[Row]) -> list[str]:
    """Of the first features, every later entrant against every earlier one."""
    firsts = [row for row in rows if row.first]
    cells = []
    for place, candidate in enumerate(firsts):
        for reference in firsts[:place]:
            changes = (difference(reference, candidate, distance) for distance in DISTANCES)
            cells.append((f"{candidate.title} - {reference.title}", *map(_interval, changes)))
    columns = ("difference of mAP, points (95 % interval)", "L2", "cosine")
    return list(table(columns, cells, align="lrr"))


def _cost(trained: Sequence[Trained], bench: TrainingBench) -> list[str]:
    """What each training took."""
    cells = []
    for each in trained:
        outcome = each.outcome
        speed = bench.steps * bench.batch_size / outcome.train_s
        cells.append(
            (
                f"{each.entrant.name}, seed {each.seed}", f"{outcome.parameters / 1e6:.1f}",
                f"{outcome.train_s:.0f}", f"{outcome.cpu_s:.0f}", f"{speed:.0f}",
                f"{outcome.load:.1f}",
            )
        )  # fmt: skip
    columns = ("training", "parameters, millions", "s", "CPU s", "images/s", "load")
    return list(table(columns, cells, align="lrrrrr"))


def _speeds(trained: Sequence[Trained], bench: TrainingBench) -> tuple[Series, ...]:
    """Images per second of each entrant, a value per seed."""
    names = dict.fromkeys(each.entrant.name for each in trained)
    return tuple(
        Series(
            name, name, "All steps, loading included, in a process of its own.", "images/s",
            tuple(
                bench.steps * bench.batch_size / each.outcome.train_s
                for each in trained
                if each.entrant.name == name
            ),
        )
        for name in names
    )  # fmt: skip


def _each(values: Sequence[float]) -> str:
    """One percentage per seed."""
    return ", ".join(f"{100 * value:.1f}" for value in values)


def _interval(change: Change) -> str:
    """A difference in points."""
    points = (100 * value for value in (change.difference, change.low, change.high))
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*points)
