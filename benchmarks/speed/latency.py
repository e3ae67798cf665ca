"""Latency: the time of one run at each batch size, by part, for all that can run a model.

Every run is kept, so that the record holds p50, p95 and p99 and two records can be compared.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.measure.limits import torch_threads
from benchmarks.measure.machine import describe_environment
from benchmarks.measure.rounds import Ratio, Series, ratio
from benchmarks.measure.single_runs import RunPlan, Timed, sample_in_turn
from benchmarks.report.record import Plain, Record
from benchmarks.runners.open import open_runners
from benchmarks.runners.runner import PARTS, Images, Part, Runner, Subject
from benchmarks.sizes import BATCHES
from benchmarks.speed.memory import memory_series
from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import decode_images
from mtml_deploy.data.records import ImageSet

_SHORTEST: Final = 1e-9


@dataclass(frozen=True)
class LatencyBench:
    """How latency is measured.

    Attributes:
        batches: batch sizes, ascending.
        plan: how often each contender runs at each batch size.
        memory: also measure memory, each runner in a process of its own.
    """

    batches: tuple[int, ...] = BATCHES
    plan: RunPlan = field(default_factory=RunPlan)
    memory: bool = True

    def __post_init__(self) -> None:
        """Refuse batch sizes that cannot be.

        Raises:
            ValueError: none, one below 1, or not ascending.
        """
        if (
            not self.batches
            or self.batches[0] < 1
            or list(self.batches) != sorted(set(self.batches))
        ):
            raise ValueError(f"batches are 1 or more and ascending, found {self.batches}")


def measure_latency(
    subject: Subject,
    images: ImageSet | None,
    scratch: Path,
    *,
    chosen: Sequence[str] = (),
    bench: LatencyBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Latency of a model.

    Args:
        subject: the model and where it runs; 0 threads stand for one per physical core.
        images: image files, for decoding and end to end; None leaves both out.
        scratch: existing folder for temporary files.
        chosen: keys of the runners; empty for all that work here.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record.

    Raises:
        BackendError: a chosen runner does not work here, or none does.
        MtmlError: what reading images and loading models raise.
    """
    environment = describe_environment()
    manifest = subject.artifact.manifest
    series: list[Series] = []
    ratios: list[Ratio] = []
    with ExitStack() as stack:
        threads = stack.enter_context(torch_threads(subject.threads))
        subject = replace(subject, threads=threads, images=images)
        first = batch_of(manifest, images, bench.batches[0])
        runners, notes = open_runners(subject, stack, first, chosen=chosen)
        for size in bench.batches:
            found = _measure_batch(runners, manifest, images, size, bench.plan, say)
            series += found
            totals = {item.key: item for item in found}
            own, *others = (totals[f"b{size}/{runner.key}"] for runner in runners)
            ratios += [ratio(other, own) for other in others]
    if bench.memory:
        series += memory_series(subject, runners, batch=bench.batches[-1], scratch=scratch, say=say)
    return Record(
        kind="latency",
        title="Latency",
        environment=environment,
        model=describe_model(subject.artifact),
        settings={
            "batches": [str(size) for size in bench.batches],
            "device": subject.device,
            "threads": threads,
            "source": "random pixels" if images is None else images.source,
            "most_runs": bench.plan.most,
            "seconds": bench.plan.seconds,
        },
        series=tuple(series),
        ratios=tuple(ratios),
        notes=(
            *notes,
            "A run takes uint8 images in host memory and ends with float32 embeddings there. The "
            "number of runs differs: what is slow runs as often as the time allowed.",
        ),
        percentiles=True,
    )


def describe_model(artifact: Artifact) -> dict[str, Plain]:
    """What a record says of the model."""
    manifest = artifact.manifest
    return {
        "sha256": manifest.model_sha256,
        "checkpoint_sha256": manifest.checkpoint_sha256,
        "variant": manifest.variant,
        "backbone": manifest.backbone,
        "branches": manifest.branches,
        "embedding": manifest.embedding,
        "dim": manifest.dim,
        "height": manifest.height,
        "width": manifest.width,
        "precision": manifest.precision,
        "bytes": artifact.model_path.stat().st_size,
    }


def paths_of(images: ImageSet, count: int) -> list[Path]:
    """`count` image files, from the first again after the last."""
    records = images.records
    return [records[number % len(records)].path for number in range(count)]


def batch_of(manifest: Manifest, images: ImageSet | None, count: int) -> Images:
    """A batch: decoded images, or random pixels, which cost a model the same."""
    size = (manifest.height, manifest.width)
    if images is not None:
        return decode_images(paths_of(images, count), height=size[0], width=size[1])
    return np.random.default_rng(0).integers(0, 256, (count, *size, 3), dtype=np.uint8)


def _measure_batch(
    runners: Sequence[Runner],
    manifest: Manifest,
    images: ImageSet | None,
    size: int,
    plan: RunPlan,
    say: Callable[[str], None],
) -> list[Series]:
    """Every series of one batch size."""
    batch = batch_of(manifest, images, size)
    timed = [
        Timed(f"b{size}/{r.key}", f"batch {size}, {r.title}", r.what, partial(r.run, batch))
        for r in runners
    ]
    if images is not None:
        files = paths_of(images, size)
        decode = partial(decode_images, files, height=manifest.height, width=manifest.width)
        own = runners[0]
        timed += [
            Timed(
                f"b{size}/decode",
                f"batch {size}, decoding",
                "Image files, in the page cache, to uint8 pixels, one after the other.",
                decode,
            ),
            Timed(
                f"b{size}/end_to_end",
                f"batch {size}, end to end, {own.title}",
                f"Image files to embeddings: decoding, then {own.title}.",
                lambda: own.run(decode()),
            ),
        ]
    found = list(sample_in_turn(timed, plan, say=say).values())
    runs = {item.key: len(item.values) for item in found}
    for runner in runners:
        if runner.parts is not None:
            found += _parts(runner, batch, runs[f"b{size}/{runner.key}"])
    return found


def _parts(runner: Runner, batch: Images, runs: int) -> list[Series]:
    """Series of each part of as many runs."""
    if runner.parts is None:
        raise ValueError(f"{runner.key} cannot tell its parts")
    runner.parts(batch)  # warm-up
    measured = [runner.parts(batch) for _ in range(runs)]

    def series(part: Part, title: str) -> Series:
        return Series(
            f"b{len(batch)}/{runner.key}/{part}",
            f"batch {len(batch)}, {runner.title}: {title}",
            f"{title} of {runner.title}, measured apart.",
            "s",
            tuple(max(one[part], _SHORTEST) for one in measured),
        )

    return [series(part, title) for part, title in PARTS.items()]
