"""What each instruction set is worth: every way to run a model on a CPU, with some of them hidden.

oneDNN, which computes for OpenVINO and torch, uses no more than ONEDNN_MAX_CPU_ISA allows, and
reads it once, when it is loaded. So each way runs in processes of its own. In: artifacts of one
trained model. Out: a `Record` of speeds beside ONNX Runtime in float32, with cosine and mAP.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Final

import numpy as np

from benchmarks.measure.limits import torch_threads
from benchmarks.measure.machine import describe_environment
from benchmarks.measure.process import (
    Arrays,
    Entrant,
    FreshProcess,
    Outcome,
    Work,
    measure_entrants,
)
from benchmarks.measure.rounds import SETTLE_S, Ratio, Series, ratio
from benchmarks.report.record import Record
from benchmarks.runners.open import lowest_cosine, offers
from benchmarks.runners.runner import Images, Runner, Subject
from benchmarks.speed.latency import batch_of, describe_model
from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import iterate_batches
from mtml_deploy.data.records import ImageSet
from mtml_deploy.embed.embed import model_identity
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import BackendError
from mtml_deploy.evaluation.metrics import evaluate
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.runtime.processor import Processor, this_processor
from mtml_deploy.text import percent, table

VARIABLE: Final = "ONEDNN_MAX_CPU_ISA"

SETS: Final[Mapping[str, str]] = {
    "AVX2": "avx2",
    "AVX512_CORE": "avx512f",
    "AVX512_CORE_VNNI": "avx512_vnni",
    "AVX512_CORE_BF16": "avx512_bf16",
    "AVX512_CORE_AMX": "amx_tile",
}
"""A value of the variable -> the instruction set that a processor needs for it; each holds those
before it."""

REFERENCE: Final = "ort"
"""What every way is compared with. It has no such limit: it always uses the whole processor."""

_MOST_RUNS: Final = 20


@dataclass(frozen=True)
class IsaBench:
    """How instruction sets are measured.

    Attributes:
        sets: values of the variable; empty for all that this processor has.
        runners: keys of what runs the model beside the reference; what does not work here is noted.
        batch_size: images per run.
        rounds: processes of each way.
        seconds: of one process, about; at least one batch runs.
        settle_s: pause before each measurement, seconds.
    """

    sets: tuple[str, ...] = ()
    runners: tuple[str, ...] = ("openvino", "openvino-bf16", "torch", "torch-bf16")
    batch_size: int = 8
    rounds: int = 3
    seconds: float = 3.0
    settle_s: float = SETTLE_S


@dataclass(frozen=True)
class Way:
    """One way to run one artifact.

    Attributes:
        subject: the artifact, and what it was exported from.
        runner: key of what runs it.
        limit: value of the variable; empty for no limit.
    """

    subject: Subject
    runner: str
    limit: str

    @property
    def precision(self) -> str:
        """Of the file."""
        return self.subject.artifact.manifest.precision

    @property
    def key(self) -> str:
        """Its name in the record."""
        return "/".join(filter(None, (self.limit, self.precision, self.runner)))

    @property
    def environment(self) -> Mapping[str, str]:
        """Variables of its processes."""
        return {VARIABLE: self.limit} if self.limit else {}


def sets_of(processor: Processor) -> tuple[str, ...]:
    """The values of the variable that mean something on a processor, the smallest first."""
    return tuple(name for name, flag in SETS.items() if flag in (processor.instructions or ()))


def measure_instruction_sets(
    subject: Subject,
    int8: Artifact | None,
    images: ImageSet | None,
    scratch: Path,
    *,
    data: tuple[ImageSet, ImageSet] | None = None,
    protocol: Protocol,
    bench: IsaBench,
    say: Callable[[str], None] = lambda _: None,
) -> Record:
    """Speed, cosine and mAP of every way under every instruction set.

    Args:
        subject: the fp32 model, on the CPU; 0 threads stand for one per physical core.
        int8: the same model in int8.
        images: for the batch, and for a peer that calibrates; None takes random pixels.
        scratch: existing folder.
        data: query and gallery images, for mAP; None leaves it out.
        protocol: of mAP.
        bench: how to measure.
        say: receives progress.

    Returns:
        The record; a way that does not work here is a note.

    Raises:
        BackendError: the processor has none of the sets, or ONNX Runtime does not run the model.
        MtmlError: what reading images raises.
    """
    environment = describe_environment()
    sets = bench.sets or sets_of(this_processor())
    if not sets:
        raise BackendError(
            f"this processor tells none of {', '.join(SETS.values())}; name the values of "
            f"{VARIABLE} to try with --isa"
        )
    with torch_threads(subject.threads) as threads:
        subject = replace(subject, threads=threads, images=images)
    batch = batch_of(subject.artifact.manifest, images, bench.batch_size)
    notes: list[str] = []
    entrants: list[tuple[Way, Entrant]] = []
    for way in _ways(subject, int8, sets, bench.runners):
        entrant = Entrant(
            way.key,
            way.key,
            f"Batches of {len(batch)} through {way.runner}, the {way.precision} file"
            + (f", {VARIABLE}={way.limit}." if way.limit else ", whole processor."),
            partial(_timed, way, batch, bench.seconds),
            way.environment,
        )
        try:
            seconds = FreshProcess(entrant, threads=threads, scratch=scratch).measure()
        except BackendError as error:
            if way.runner == REFERENCE:
                raise
            notes.append(f"{way.key}: not measured: {error}.")
            continue
        say(f"{way.key}: works, {len(batch) / seconds:.1f} images/s")
        entrants.append((way, entrant))
    outcomes, _ = measure_entrants(
        [entrant for _, entrant in entrants],
        rounds=bench.rounds,
        threads=threads,
        scratch=scratch,
        say=say,
        settle_s=bench.settle_s,
    )
    ways = [way for way, _ in entrants]
    maps: dict[str, float] = {}
    if data is not None:
        for way in ways:
            say(f"{way.key}: embedding query and gallery")
            work = Entrant(
                way.key, way.key, "", partial(_judged, way, data, protocol, bench.batch_size),
                way.environment,
            )  # fmt: skip
            run = FreshProcess(work, threads=threads, scratch=scratch)
            run.measure()
            maps[way.key] = float(run.result["map"][0])
    series, ratios, lead = summarise(ways, outcomes, len(batch), maps)
    return Record(
        kind="isa",
        title="Instruction sets of the CPU",
        environment=environment,
        model=describe_model(subject.artifact),
        settings={
            "sets": list(sets),
            "batch_size": len(batch),
            "threads": threads,
            "rounds": bench.rounds,
            "seconds": bench.seconds,
            "source": "random pixels" if images is None else images.source,
            "protocol": protocol.name,
            "int8_sha256": "" if int8 is None else int8.manifest.model_sha256,
        },
        series=series,
        ratios=ratios,
        notes=(
            *notes,
            f"{VARIABLE} limits oneDNN, in OpenVINO and torch. ONNX Runtime has kernels of its own "
            "and always uses the whole processor, as do the parts of torch that are not oneDNN: a "
            "ratio says what is lost here, not how a smaller processor compares.",
            "OpenVINO looks at the processor and not at the limit when it says which precisions it "
            "computes in: bf16 below AVX512_CORE_BF16 is emulated, slower than float32.",
            "Cosine: least of the batch, with the float32 embeddings of ONNX Runtime.",
        ),
        lead=lead,
    )


def summarise(
    ways: Sequence[Way], outcomes: Mapping[str, Outcome], batch: int, maps: Mapping[str, float]
) -> tuple[tuple[Series, ...], tuple[Ratio, ...], tuple[str, ...]]:
    """What follows from the outcomes.

    Args:
        ways: what was measured, the reference first.
        outcomes: by key.
        batch: images per run.
        maps: mAP by key; empty where it was not asked for.

    Returns:
        Speeds, ratios, and the table.
    """
    speeds = {
        way.key: Series(
            way.key,
            way.key,
            outcomes[way.key].seconds.what,
            "images/s",
            tuple(batch / seconds for seconds in outcomes[way.key].seconds.values),
            tuple(batch / seconds for seconds in outcomes[way.key].seconds.values),
        )
        for way in ways
    }
    first = ways[0].key
    expected = _rows(outcomes[first], batch)
    ratios: list[Ratio] = []
    lines = []
    for way in ways:
        cosine = lowest_cosine(expected, _rows(outcomes[way.key], batch))
        speed = speeds[way.key]
        if way.key != first:
            ratios.append(ratio(speed, speeds[first]))
            ratios.append(Ratio(f"{way.key}/cosine", f"{way.key}: least cosine", cosine))
        if way.key in maps:
            ratios.append(Ratio(f"{way.key}/map", f"{way.key}: mAP", maps[way.key]))
        lines.append(
            (
                way.limit or "whole processor",
                way.precision,
                way.runner,
                f"{speed.median:.1f}",
                f"{speed.median / speeds[first].median:.2f}",
                f"{cosine:.6f}",
                f"{percent(maps[way.key])} %" if way.key in maps else "not measured",
            )
        )
    titles = ("instructions", "file", "runner", "images/s", "ratio", "least cosine", "mAP")
    return tuple(speeds.values()), tuple(ratios), tuple(table(titles, lines, align="lllrrrr"))


def _ways(
    subject: Subject, int8: Artifact | None, sets: Sequence[str], runners: Sequence[str]
) -> list[Way]:
    """Every way, the reference first."""
    ways = [Way(subject, REFERENCE, "")]
    files = [subject, *([] if int8 is None else [replace(subject, artifact=int8)])]
    for limit in sets:
        for one in files:
            # a run is what the fp32 file was exported from
            named = [r for r in runners if one is subject or not r.startswith(("torch", "nncf"))]
            ways += [Way(one, runner, limit) for runner in named]
    return ways


def _rows(outcome: Outcome, batch: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    """float32 [B, D]: the embeddings of one batch."""
    return outcome.result["rows"][:batch].astype(np.float32)


def _timed(way: Way, batch: Images, seconds: float) -> Work:
    """In the new process: load the model, ready to run the batch as often as time allows."""
    runner = _opened(way)
    runner.run(batch)
    started = time.perf_counter()
    runner.run(batch)
    count = max(1, min(_MOST_RUNS, int(seconds / max(time.perf_counter() - started, 1e-9))))

    def act() -> Arrays:
        return {"rows": runner.run(batch)}

    return Work(warm_up=lambda: None, timed=(act,) * count)


def _judged(way: Way, data: tuple[ImageSet, ImageSet], protocol: Protocol, batch_size: int) -> Work:
    """In the new process: load the model, ready to embed query and gallery and judge them."""
    runner = _opened(way)
    manifest = way.subject.artifact.manifest

    def act() -> Arrays:
        sets = [_embedded(runner, manifest, part, batch_size) for part in data]
        return {"map": np.array([evaluate(sets[0], sets[1], protocol).mean_ap])}

    return Work(warm_up=lambda: None, timed=(act,))


def _opened(way: Way) -> Runner:
    """The runner of a way, in the process that it runs in and ends with.

    Raises:
        BackendError: it does not work here.
    """
    if way.runner.startswith("torch"):
        import torch

        torch.set_num_threads(way.subject.threads)
    (offer,) = (offer for offer in offers(way.subject) if offer.key == way.runner)
    if offer.reason:
        raise BackendError(offer.reason)
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(offer.open())


def _embedded(runner: Runner, manifest: Manifest, images: ImageSet, batch_size: int) -> Embeddings:
    """Embeddings of a set; every image must be usable."""
    batches = iterate_batches(
        [record.path for record in images.records],
        height=manifest.height,
        width=manifest.width,
        batch_size=batch_size,
    )
    rows = np.concatenate([runner.run(batch.images) for batch in batches])
    return Embeddings.of(rows, images.records, names=images.names(), model=model_identity(manifest))
