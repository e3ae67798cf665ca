"""The service beside embedding without one: speed, waiting times, overload, memory, answers.

Clients run in processes of their own on the same machine, so they take a part of its time from the
service. Both embed the same files with the same number of threads, in turn.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks.measure.machine import describe_environment
from benchmarks.measure.rounds import Ratio, Series, ratio
from benchmarks.report.record import Record
from benchmarks.speed.service_client import Report, Task
from benchmarks.speed.service_process import Service, ask, running, watched
from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.data.records import ImageSet
from mtml_deploy.defaults import BACKEND, BATCH_SIZE, DEVICE, Backend
from mtml_deploy.model import Model

SATURATED_TARGET: Final = 0.85
"""Least share of the speed of `embed` that many clients together must get."""

MEMORY_TARGET: Final = 0.9
"""Least share that the first quarter of a long run's memory has of the last one's: it stays."""


@dataclass(frozen=True)
class ServiceBench:
    """How a service is measured.

    Attributes:
        clients: numbers of clients that ask at once.
        rounds: measurements of each number, in turn with `embed`.
        seconds: of each measurement.
        duration_s: of the long run, whose memory is watched.
        processes: most processes of clients.
        limit: the first so many images are asked for.
        batch_size: most images of a run.
        threads: of the model; 0 leaves it to the library.
        queue: images that may wait where the service is overloaded.
        tolerance: largest difference of a row over its length that counts as right.
        backend: what runs the model.
        device: where.
    """

    clients: tuple[int, ...] = (1, 2, 4, 8, 16, 32, 64)
    rounds: int = 3
    seconds: float = 5.0
    duration_s: float = 60.0
    processes: int = 4
    limit: int = 256
    batch_size: int = BATCH_SIZE
    threads: int = 0
    queue: int = 16
    tolerance: float = 0.0
    backend: Backend = BACKEND
    device: str = DEVICE

    def words(self, *more: str) -> list[str]:
        """Options of `mtml-deploy serve`."""
        return [
            "--backend", self.backend, "--device", self.device,
            "--model-threads", str(self.threads), "--batch-size", str(self.batch_size), *more,
        ]  # fmt: skip


@dataclass
class Counts:
    """All answers of all measurements."""

    answers: int = 0
    different: int = 0
    refused: int = 0
    lost: int = 0

    def take(self, report: Report) -> Report:
        """Count a report."""
        self.answers += len(report.latencies_s)
        self.different += report.different
        self.refused += report.refused
        self.lost += report.lost
        return report


def measure_service(
    artifact: Artifact,
    images: ImageSet,
    scratch: Path,
    *,
    bench: ServiceBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Speeds, waiting times and memory of a service of `artifact`.

    Args:
        artifact: the exported model.
        images: image files; every one must be usable.
        scratch: existing folder for logs and rows.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record.

    Raises:
        BackendError: the service or a client ended early.
        MtmlError: what reading images and running models raise.
    """
    environment = describe_environment()
    images = replace(images, records=images.records[: bench.limit or None])
    counts = Counts()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix=".service.", dir=scratch)))
        folder = folder.absolute()  # clients run in a folder of their own
        model = stack.enter_context(
            Model.open(
                artifact, backend=bench.backend, device=bench.device, model_threads=bench.threads
            )
        )
        rows = model.embed(images, batch_size=bench.batch_size).features
        np.save(folder / "rows.npy", rows)
        task = Task(
            "",
            [str(record.path.absolute()) for record in images.records],
            str(folder / "rows.npy"),
            0,
            0,
            bench.seconds,
            bench.tolerance,
        )
        with running(artifact.folder.absolute(), bench.words(), folder) as service:
            say("service is ready")
            series = _speeds(service, task, model, images, counts, bench, say)
            memory = _memory(service, task, counts, bench, say)
        overload = _overload(artifact, task, folder, counts, bench, say)
    best = max((series[f"clients_{count}"] for count in bench.clients), key=lambda s: s.median)
    ratios = [
        replace(
            ratio(best, series["embed"], at_least=SATURATED_TARGET),
            key="saturated/embed",
            title="service with most clients it gains from / embed",
        ),
        Ratio(
            "right/answers",
            "answers that are the expected row",
            1 - counts.different / max(counts.answers, 1),
            1.0,
        ),
        Ratio(
            "answered/asked",
            "requests that were answered or refused as busy",
            1 - counts.lost / max(counts.answers + counts.refused + counts.lost, 1),
            1.0,
        ),
    ]
    if len(memory.values) >= 8:
        quarter = len(memory.values) // 4
        first, last = np.median(memory.values[:quarter]), np.median(memory.values[-quarter:])
        ratios.append(
            Ratio(
                "memory_first/last",
                "memory at the beginning / at the end of the long run",
                float(first / last),
                MEMORY_TARGET,
            )
        )
    return Record(
        kind="service",
        title="Service",
        environment=environment,
        model={
            "sha256": artifact.manifest.model_sha256,
            "variant": artifact.manifest.variant,
            "backbone": artifact.manifest.backbone,
            "embedding": artifact.manifest.embedding,
            "dim": artifact.manifest.dim,
            "precision": artifact.manifest.precision,
        },
        settings={
            "images": len(images.records),
            "source": images.source,
            "rounds": bench.rounds,
            "seconds": bench.seconds,
            "duration_s": bench.duration_s,
            "client_processes": bench.processes,
            "batch_size": bench.batch_size,
            "threads": bench.threads,
            "overload_queue": bench.queue,
            "tolerance": bench.tolerance,
            "backend": bench.backend,
            "device": bench.device,
            "answers": counts.answers,
            "different": counts.different,
            "refused": counts.refused,
            "lost": counts.lost,
        },
        series=(*series.values(), memory, *overload),
        ratios=tuple(ratios),
        notes=(
            "Clients share the machine with the service; embed has it for itself.",
            "Each client waits for its answer before it asks again; every answer is compared.",
        ),
    )


def _speeds(
    service: Service,
    task: Task,
    model: Model,
    images: ImageSet,
    counts: Counts,
    bench: ServiceBench,
    say: Callable[[str], None],
) -> dict[str, Series]:
    """Speed of `embed` and of each number of clients, in turn; waiting times."""
    embed: list[float] = []
    speeds: dict[int, list[float]] = {count: [] for count in bench.clients}
    waits: dict[int, list[float]] = {count: [] for count in bench.clients}
    for round_ in range(bench.rounds):
        embed.append(_embed_speed(model, images, bench))
        say(f"round {round_ + 1}: embed {embed[-1]:.1f} images/s")
        for count in bench.clients:
            report = counts.take(_ask(service, task, bench, clients=count))
            speeds[count].append(len(report.latencies_s) / max(report.span_s, 1e-9))
            waits[count].append(float(np.percentile(report.latencies_s, 99)))
            say(f"round {round_ + 1}: {count} clients {speeds[count][-1]:.1f} images/s")
    series = {
        "embed": Series(
            "embed", "embed, no service", "Image files to rows in memory.", "images/s",
            tuple(embed),
        )
    }  # fmt: skip
    for count in bench.clients:
        key, word = f"clients_{count}", "client" if count == 1 else "clients"
        series[key] = Series(
            key, f"{count} {word}", "Requests of one image each, answered with its vector.",
            "images/s", tuple(speeds[count]),
        )  # fmt: skip
        series[f"{key}_p99"] = Series(
            f"{key}_p99", f"{count} {word}, p99", "From a request to its answer.", "s",
            tuple(waits[count]),
        )  # fmt: skip
    return series


def _ask(
    service: Service, task: Task, bench: ServiceBench, *, clients: int, seconds: float | None = None
) -> Report:
    """What clients see."""
    told = msgspec.structs.replace(
        task, address=service.address, seconds=bench.seconds if seconds is None else seconds
    )
    return ask(told, clients=clients, processes=bench.processes)


def _embed_speed(model: Model, images: ImageSet, bench: ServiceBench) -> float:
    """Images a second of `embed`, of whole passes for at least the time of a measurement."""
    done, begun = 0, time.monotonic()
    while (spent := time.monotonic() - begun) < bench.seconds or not done:
        rows: NDArray[np.float32] = model.embed(images, batch_size=bench.batch_size).features
        done += len(rows)
    return done / spent


def _memory(
    service: Service, task: Task, counts: Counts, bench: ServiceBench, say: Callable[[str], None]
) -> Series:
    """Memory of the service during the long run, with as many clients as fill its batches."""
    clients = max(bench.clients)
    say(f"long run: {bench.duration_s:g} s with {clients} clients")
    with watched(service, every_s=max(0.05, bench.duration_s / 120)) as watch:
        counts.take(_ask(service, task, bench, clients=clients, seconds=bench.duration_s))
    return Series(
        "memory", "memory of the service", "Resident memory during the long run, over time.", "B",
        tuple(map(float, watch.found)),
    )  # fmt: skip


def _overload(
    artifact: Artifact,
    task: Task,
    folder: Path,
    counts: Counts,
    bench: ServiceBench,
    say: Callable[[str], None],
) -> Sequence[Series]:
    """Waiting times of accepted requests where more come than the queue holds."""
    words = bench.words("--queue-size", str(bench.queue), "--max-images", "1")
    clients = max(bench.clients)
    with running(artifact.folder.absolute(), words, folder) as service:
        say(f"overload: {clients} clients, a queue of {bench.queue} images")
        reports = [
            counts.take(_ask(service, task, bench, clients=clients)) for _ in range(bench.rounds)
        ]
    return (
        Series(
            "overload_p99", f"overloaded by {clients} clients, p99",
            f"From an accepted request to its answer, {bench.queue} images may wait.", "s",
            tuple(float(np.percentile(report.latencies_s, 99)) for report in reports),
        ),
        Series(
            "overload", f"overloaded by {clients} clients", "Accepted requests.", "images/s",
            tuple(len(report.latencies_s) / max(report.span_s, 1e-9) for report in reports),
        ),
    )  # fmt: skip
