"""What each branch costs and what it is worth: its time beside its mAP."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial

import msgspec
import numpy as np

from benchmarks.measure.limits import torch_threads
from benchmarks.measure.machine import describe_environment
from benchmarks.measure.rounds import Ratio, ratio
from benchmarks.measure.single_runs import RunPlan, Timed, sample_in_turn
from benchmarks.report.record import Record
from benchmarks.runners.deployed import open_deployed
from benchmarks.runners.runner import Subject
from benchmarks.speed.latency import batch_of, describe_model
from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.records import ImageSet
from mtml_deploy.defaults import Backend
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import ArtifactError
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.model import Model
from mtml_deploy.parity.judge import parts_of

_WHOLE = "whole"


@dataclass(frozen=True)
class BranchBench:
    """How branches are measured.

    Attributes:
        backend: what runs the models.
        batch_size: images per run.
        plan: how often each model runs.
    """

    backend: Backend = "ort"
    batch_size: int = 8
    plan: RunPlan = field(default_factory=RunPlan)


def measure_branches(
    subject: Subject,
    parts: Mapping[str, Artifact],
    images: tuple[ImageSet, ImageSet],
    *,
    protocol: Protocol,
    bench: BranchBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Time and mAP of a model and of exports of some of its branches.

    The embedding of some branches is columns of the whole fused one, so the images are embedded
    once.

    Args:
        subject: the whole model, its embedding fused.
        parts: name -> export of some branches of the same checkpoint.
        images: query and gallery images.
        protocol: of mAP.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record: a time of each model, and as ratios its mAP and its share of the whole's time.

    Raises:
        ArtifactError: the whole is not a fused embedding, or a part is not of it.
        MtmlError: what embedding and evaluating raise.
    """
    environment = describe_environment()
    manifest = subject.artifact.manifest
    columns = {_WHOLE: np.arange(manifest.dim)}
    columns |= {name: columns_of(part.manifest, manifest) for name, part in parts.items()}
    artifacts = {_WHOLE: subject.artifact, **parts}
    batch = batch_of(manifest, images[0], bench.batch_size)
    with ExitStack() as stack:
        threads = stack.enter_context(torch_threads(subject.threads))
        timed = []
        for name, artifact in artifacts.items():
            one = replace(subject, artifact=artifact, threads=threads)
            runner = stack.enter_context(open_deployed(one, bench.backend))
            timed.append(
                Timed(name, name, f"{name}: {runner.what} Batch {len(batch)}.",
                      partial(runner.run, batch))
            )  # fmt: skip
        series = sample_in_turn(timed, bench.plan, say=say)
        say("embedding query and gallery")
        sets = _embedded(subject, images, bench)
    ratios = []
    for name, chosen in columns.items():
        query, gallery = (_with_columns(part, chosen) for part in sets)
        found = evaluate(query, gallery, protocol).mean_ap
        ratios.append(Ratio(f"{name}/map", f"{name}: mAP (step, {protocol.name})", found))
        if name != _WHOLE:
            ratios.append(ratio(series[name], series[_WHOLE]))
    return Record(
        kind="branches",
        title="Cost and worth of the branches",
        environment=environment,
        model=describe_model(subject.artifact),
        settings={
            "backend": bench.backend,
            "device": subject.device,
            "threads": threads,
            "batch_size": len(batch),
            "query": images[0].source,
            "gallery": images[1].source,
            "protocol": protocol.name,
            **{f"part_{name}": part.manifest.model_sha256 for name, part in parts.items()},
        },
        series=tuple(series.values()),
        ratios=tuple(ratios),
        notes=("The mAP of a part is that of its columns of the whole embedding.",),
        percentiles=True,
    )


def columns_of(part: Manifest, whole: Manifest) -> np.ndarray[tuple[int], np.dtype[np.intp]]:
    """Columns of the whole embedding that an export of some branches gives.

    Args:
        part: of the export.
        whole: of the whole model.

    Returns:
        int [D'], in the order of the part.

    Raises:
        ArtifactError: the whole's embedding is not made of branches, or the part is not of it.
    """
    slices = parts_of(whole)
    names = part.branches if part.embedding == "fused" else (part.embedding,)
    if part.checkpoint_sha256 != whole.checkpoint_sha256 or not set(names) <= slices.keys():
        raise ArtifactError(
            f"an export of {', '.join(names)} of checkpoint {part.checkpoint_sha256[:12]} is not "
            f"part of {whole.embedding} of {', '.join(whole.branches)} of "
            f"{whole.checkpoint_sha256[:12]}; export both from one run: "
            "mtml-export RUN --out WHOLE, and mtml-export RUN --branches NAMES --out PART"
        )
    every = np.arange(whole.dim)
    return np.concatenate([every[slices[name]] for name in names])


def _embedded(
    subject: Subject, images: tuple[ImageSet, ImageSet], bench: BranchBench
) -> tuple[Embeddings, Embeddings]:
    """Query and gallery through the whole model."""
    query, gallery = images
    with Model.open(subject.artifact, backend=bench.backend, device=subject.device) as model:
        return (
            model.embed(query, batch_size=bench.batch_size),
            model.embed(gallery, batch_size=bench.batch_size),
        )


def _with_columns(
    embeddings: Embeddings, chosen: np.ndarray[tuple[int], np.dtype[np.intp]]
) -> Embeddings:
    """The same images with some columns of their features."""
    return replace(
        embeddings,
        features=np.ascontiguousarray(embeddings.features[:, chosen]),
        model=msgspec.structs.replace(embeddings.model, dim=len(chosen)),
    )
