"""Throughput: images per second at each batch size, beside what the device can do at most."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Final

import torch

from benchmarks.measure.limits import ceiling_keys, ceilings, torch_threads
from benchmarks.measure.machine import describe_environment
from benchmarks.measure.rounds import SETTLE_S, Contender, Ratio, Series, alternate, rate_of, ratio
from benchmarks.report.record import Record
from benchmarks.runners.open import open_runners
from benchmarks.runners.runner import Images, Runner, Subject, run_each
from benchmarks.sizes import BATCHES
from benchmarks.speed.flops import flop_per_image
from benchmarks.speed.latency import batch_of, describe_model, paths_of
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import iterate_batches
from mtml_deploy.data.records import ImageSet

ENGINE_TARGETS: Final[Mapping[str, float]] = {"H100": 0.4, "A100": 0.6, "L4": 0.35}
"""Word in a GPU's name -> share of its fp16 product that an engine must reach at a large batch. The
roofline bounds them by 0.52, 0.70 and 0.39 (of measured products, kernels at 100 %)."""

_LARGE: Final = 64
"""Batch size from which these targets hold."""


@dataclass(frozen=True)
class ThroughputBench:
    """How throughput is measured.

    Attributes:
        batches: batch sizes, ascending.
        rounds: measurements of each contender.
        seconds: of one measurement, about; at least one batch runs.
        end_to_end: images of one measurement from files.
        matrix_size: side of the matrices of the device's limit; None for the usual one.
        settle_s: pause before each measurement, seconds.
    """

    batches: tuple[int, ...] = BATCHES
    rounds: int = 5
    seconds: float = 2.0
    end_to_end: int = 64
    matrix_size: int | None = None
    settle_s: float = SETTLE_S


def measure_throughput(
    subject: Subject,
    images: ImageSet | None,
    *,
    chosen: Sequence[str] = (),
    bench: ThroughputBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Throughput of a model.

    Args:
        subject: the model and where it runs; 0 threads stand for one per physical core.
        images: image files, for decoding and end to end; None leaves both out.
        chosen: keys of the runners; empty for all that work here.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record; its ratios are shares of the device's limit.

    Raises:
        BackendError: a chosen runner does not work here, or none does.
        MtmlError: what reading images and loading models raise.
    """
    environment = describe_environment()
    manifest = subject.artifact.manifest
    device = torch.device(subject.device)
    flop = flop_per_image(subject.artifact.model_path)
    with ExitStack() as stack:
        threads = stack.enter_context(torch_threads(subject.threads))
        subject = replace(subject, threads=threads, images=images)
        first = batch_of(manifest, images, bench.batches[0])
        runners, notes = open_runners(subject, stack, first, chosen=chosen)
        contenders = [
            _streaming(runner, batch_of(manifest, images, size), bench.seconds)
            for size in bench.batches
            for runner in runners
        ]
        if images is not None:
            contenders += _from_files(runners[0], manifest, images, bench)
        precisions = tuple(dict.fromkeys(runner.precision for runner in runners))
        contenders += ceilings(
            device,
            precisions,
            threads=threads,
            size=bench.matrix_size,
            seconds=bench.seconds,
        )
        series = alternate(contenders, rounds=bench.rounds, say=say, settle_s=bench.settle_s)
    gpu = ""
    if device.type == "cuda" and len(environment.gpus) > (device.index or 0):
        gpu = environment.gpus[device.index or 0].name.replace("-", " ")
    ratios: list[Ratio] = []
    for runner in runners:
        ratios += shares_of_limit(series, runner, bench.batches, flop, device, gpu=gpu)
    if images is not None:
        own = series[f"b{bench.batches[-1]}/{runners[0].key}"]
        ratios.append(ratio(series["end_to_end"], own))
    return Record(
        kind="throughput",
        title="Throughput",
        environment=environment,
        model={**describe_model(subject.artifact), "flop_per_image": flop},
        settings={
            "batches": [str(size) for size in bench.batches],
            "device": subject.device,
            "threads": threads,
            "source": "random pixels" if images is None else images.source,
            "rounds": bench.rounds,
            "seconds": bench.seconds,
        },
        series=tuple(series.values()),
        ratios=tuple(ratios),
        notes=(
            *notes,
            "FLOP are 2 x the multiply-adds of convolutions and matrix products in the graph.",
            "A limit is the product of what a runner computes in: on a CPU ONNX Runtime computes "
            "fp16 and int8 files in float32, and OpenVINO int8 files in integers.",
        ),
    )


def shares_of_limit(
    series: dict[str, Series],
    runner: Runner,
    batches: Sequence[int],
    flop: int,
    device: torch.device,
    *,
    gpu: str = "",
) -> list[Ratio]:
    """The model's arithmetic over the device's limit, at each batch size.

    Args:
        series: as measured, by key.
        runner: whose speed.
        batches: batch sizes.
        flop: floating point operations of one image.
        device: where it ran.
        gpu: name of the GPU; some have a target for engines.

    Returns:
        One ratio per batch size.
    """
    keys = ceiling_keys(device, runner.precision)
    limit = max((series[key] for key in keys), key=lambda item: item.median)
    found = []
    asked = _engine_target(runner, gpu)
    for size in batches:
        speed = series[f"b{size}/{runner.key}"]
        found.append(
            Ratio(
                f"b{size}/{runner.key}/{limit.key}",
                f"{speed.title}: arithmetic / {limit.title}",
                speed.median * flop / limit.median,
                asked if size >= _LARGE else None,
            )
        )
    return found


def _engine_target(runner: Runner, gpu: str) -> float | None:
    """What an fp16 engine must reach of a GPU's product; None where nothing is asked."""
    if runner.key not in ("tensorrt", "tensorrt-rtx") or runner.precision != "fp16":
        return None
    return next((least for name, least in ENGINE_TARGETS.items() if name in gpu.split()), None)


def _streaming(runner: Runner, batch: Images, seconds: float) -> Contender:
    """Batches of one size, again and again."""
    runner.run(batch)  # warm-up: compiles, allocates, records
    started = time.perf_counter()
    runner.stream([batch])
    count = max(1, math.ceil(seconds / max(time.perf_counter() - started, 1e-9)))
    batches = [batch] * min(count, 1000)
    size = len(batch)
    return Contender(
        f"b{size}/{runner.key}",
        f"batch {size}, {runner.title}",
        f"{runner.what} Batches of {size} one after the other, from and to host memory.",
        "images/s",
        rate_of(size * len(batches), lambda: runner.stream(batches)),
    )


def _from_files(
    runner: Runner, manifest: Manifest, images: ImageSet, bench: ThroughputBench
) -> list[Contender]:
    """Decoding alone, and decoding beside the first runner, at the largest batch size."""
    files = paths_of(images, bench.end_to_end)
    size = bench.batches[-1]

    def decoded() -> Iterator[Images]:
        for batch in iterate_batches(
            files, height=manifest.height, width=manifest.width, batch_size=size
        ):
            yield batch.images

    return [
        Contender(
            "decode",
            "decoding alone",
            "Image files, in the page cache, to batches, one thread per CPU.",
            "images/s",
            rate_of(len(files), lambda: run_each(len, decoded())),
        ),
        Contender(
            "end_to_end",
            f"end to end, {runner.title}",
            f"Image files to embeddings in batches of {size}, decoding beside {runner.title}.",
            "images/s",
            rate_of(len(files), lambda: runner.stream(decoded())),
        ),
    ]
