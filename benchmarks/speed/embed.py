"""Embedding on a CPU: from image files to the result file, and each part of it alone.

Peers see the same batches with the same number of threads: the exported model through its runtime,
and the trained torch model that it was exported from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

import torch

from benchmarks.measure.limits import MATRIX_SIZE, ceilings, machine_limit, torch_threads
from benchmarks.measure.machine import describe_environment
from benchmarks.measure.rounds import SETTLE_S, Contender, Ratio, Series, alternate, rate_of, ratio
from benchmarks.report.record import Record
from benchmarks.runners.deployed import products_in
from benchmarks.runners.torch_peer import Batches, torch_contenders, torch_peer
from benchmarks.sizes import Arithmetic
from benchmarks.speed.flops import flop_per_image
from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import ImageBatch, iterate_batches
from mtml_deploy.data.records import ImageSet
from mtml_deploy.defaults import (
    BACKEND,
    BATCH_SIZE,
    DEVICE,
    EXECUTION_PRECISION,
    STREAMS,
    Backend,
    ExecutionPrecision,
)
from mtml_deploy.embed.embed_to import embed_to
from mtml_deploy.model import Model
from mtml_train.checkpoint import Checkpoint

END_TO_END_TARGET: Final = 0.9
"""Least share of the model's own speed that is left when images come from JPEG files."""


@dataclass(frozen=True)
class EmbedBench:
    """How embedding is measured.

    Attributes:
        batch_size: images per run.
        rounds: measurements of each contender.
        limit: the first so many images are used; 0 for all. They are held in memory, decoded.
        threads: of the model, of torch and of the matrix product; 0 for one per physical core.
        decode_threads: 0 for one per CPU, as `embed` takes by itself.
        matrix_size: side of the matrices of the machine's limit.
        settle_s: pause before each measurement, seconds.
        backend: what runs the model, on the CPU.
        precision: what OpenVINO computes float32 values in.
        streams: batches at work at once on OpenVINO.
    """

    batch_size: int = BATCH_SIZE
    rounds: int = 5
    limit: int = 256
    threads: int = 0
    decode_threads: int = 0
    matrix_size: int = MATRIX_SIZE
    settle_s: float = SETTLE_S
    backend: Backend = BACKEND
    precision: ExecutionPrecision = EXECUTION_PRECISION
    streams: int = STREAMS


def measure_embed(
    artifact: Artifact,
    images: ImageSet,
    scratch: Path,
    *,
    checkpoint: Checkpoint | None = None,
    bench: EmbedBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Speeds of embedding `images` with `artifact`.

    Args:
        artifact: the exported model.
        images: image files; every one must be usable.
        scratch: existing folder on the disk that results are written to.
        checkpoint: what the model was exported from, to run the torch peer as well.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record.

    Raises:
        CheckpointError: the model was not exported from `checkpoint`.
        MtmlError: what reading images and running models raise.
    """
    environment = describe_environment()
    manifest = artifact.manifest
    flop = flop_per_image(artifact.model_path)
    images = images.take(range(len(images.records))[: bench.limit or None])
    extractor = None if checkpoint is None else torch_peer(checkpoint, manifest)
    with ExitStack() as stack:
        threads = stack.enter_context(torch_threads(bench.threads))
        model = stack.enter_context(
            Model.open(
                artifact,
                backend=bench.backend,
                model_threads=threads,
                precision=bench.precision,
                streams=bench.streams,
            )
        )
        computed = products_in(manifest.precision, bench.backend, DEVICE, model.runtime.computes_in)
        folder = Path(stack.enter_context(TemporaryDirectory(prefix=".embed.", dir=scratch)))
        say(f"decoding {len(images.records)} images and warming up")
        batches = [batch.images for batch in _decoded(images, manifest, bench)]
        contenders = [
            *_deployed(model, images, batches, folder, bench),
            *([] if extractor is None else torch_contenders(extractor, batches)),
            *ceilings(torch.device(DEVICE), (computed,), threads=threads, size=bench.matrix_size),
        ]
        series = alternate(contenders, rounds=bench.rounds, say=say, settle_s=bench.settle_s)
    achieved, ratios = summarise(series, flop, computed)
    return Record(
        kind="embed",
        title="Embedding speed",
        environment=environment,
        model={
            "sha256": manifest.model_sha256,
            "variant": manifest.variant,
            "backbone": manifest.backbone,
            "branches": manifest.branches,
            "embedding": manifest.embedding,
            "dim": manifest.dim,
            "height": manifest.height,
            "width": manifest.width,
            "precision": manifest.precision,
            "flop_per_image": flop,
        },
        settings={
            "images": len(images.records),
            "source": images.source,
            "batch_size": bench.batch_size,
            "rounds": bench.rounds,
            "threads": threads,
            "decode_threads": bench.decode_threads,
            "backend": bench.backend,
            "execution_precision": bench.precision,
            "streams": bench.streams,
            "device": DEVICE,
        },
        series=(*series.values(), achieved),
        ratios=ratios,
        notes=(
            "Every file was read before the first round, so it comes from the page cache.",
            "Loading the model is not timed.",
            "FLOP are 2 x the multiply-adds of convolutions and matrix products in the graph.",
        ),
    )


def summarise(
    series: dict[str, Series], flop: int, computed: Arithmetic = "fp32"
) -> tuple[Series, tuple[Ratio, ...]]:
    """What follows from the measurements.

    Args:
        series: as measured, by key.
        flop: floating point operations of one image.
        computed: what the model's products are computed in.

    Returns:
        The model's arithmetic per second, and the ratios of medians.
    """
    model, limit = series["model"], machine_limit(series, computed)
    achieved = Series(
        "model_arithmetic",
        "model alone, arithmetic",
        f"The speed of the model alone x {flop / 1e9:.3f} GFLOP per image.",
        "FLOP/s",
        tuple(value * flop for value in model.values),
    )
    ratios = [
        ratio(series["end_to_end"], model, at_least=END_TO_END_TARGET),
        *(ratio(model, series[key]) for key in ("torch", "torch_channels_last") if key in series),
        ratio(achieved, limit),
    ]
    return achieved, tuple(ratios)


def _deployed(
    model: Model, images: ImageSet, batches: Batches, folder: Path, bench: EmbedBench
) -> tuple[Contender, ...]:
    """The deployment path as a whole, and its parts."""
    count = len(images.records)

    def end_to_end() -> None:
        embed_to(
            model,
            images,
            folder / "rows.npz",
            batch_size=bench.batch_size,
            threads=bench.decode_threads,
            overwrite=True,
        )

    def alone() -> None:
        for _ in model.stream(batches):
            pass

    def decode() -> None:
        for _ in _decoded(images, model.manifest, bench):
            pass

    model.run(batches[0])  # warm-up
    end, runs, files = (rate_of(count, act) for act in (end_to_end, alone, decode))
    return (
        Contender(
            "end_to_end",
            "end to end",
            "Image files to the written embeddings file, decoding beside the model.",
            "images/s",
            end,
        ),
        Contender(
            "model",
            "model alone",
            "The same batches, decoded before, one after the other through the runtime.",
            "images/s",
            runs,
        ),
        Contender(
            "decode", "decoding alone", "The same files to batches, no model.", "images/s", files
        ),
    )


def _decoded(images: ImageSet, manifest: Manifest, bench: EmbedBench) -> Iterator[ImageBatch]:
    """The images of the set as `embed` reads them."""
    return iterate_batches(
        [record.path for record in images.records],
        height=manifest.height,
        width=manifest.width,
        batch_size=bench.batch_size,
        threads=bench.decode_threads,
    )
