"""The parity gate as one call: both models opened, judged, and the verdict kept.

In: two artifacts and a labelled source. Out: a `ParityCheck`; its verdict lies in the candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.data.source import load_source
from mtml_deploy.defaults import (
    BACKEND,
    BATCH_SIZE,
    DEVICE,
    EXECUTION_PRECISION,
    PROTOCOL,
    STREAMS,
    ExecutionPrecision,
    Rounding,
)
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.model import EmbedOptions
from mtml_deploy.parity.compare import Progress, compare
from mtml_deploy.parity.judge import ParityResult
from mtml_deploy.parity.thresholds import ParityThresholds, bounded, load_thresholds
from mtml_deploy.parity.verdict import Side, parity_markdown, save_verdict, verdict_json
from mtml_deploy.user_path import user_path


@dataclass(frozen=True, repr=False)
class ParityCheck:
    """What the gate found; a notebook shows it as a table.

    Attributes:
        result: every measure.
        markdown: the page for people.
        json: the record.
        file: where the record is kept, beside the candidate's model.
    """

    result: ParityResult
    markdown: str
    json: str
    file: Path

    @property
    def passed(self) -> bool:
        """Whether every bound is kept."""
        return self.result.passed

    def to_json(self) -> str:
        """Everything that was measured and decided, as indented JSON."""
        return self.json

    def __repr__(self) -> str:
        """The page, which is what a terminal shows of it."""
        return self.markdown

    def _repr_markdown_(self) -> str:
        """The page, for notebooks."""
        return self.markdown


@contextmanager
def _unseen(title: str) -> Iterator[Callable[[int, int], None]]:
    """Progress that nobody watches."""
    del title
    yield lambda done, total: None


def check_parity(
    candidate: str | Path,
    reference: str | Path,
    data: str | Path,
    *,
    gallery: str | Path | None = None,
    protocol: str = PROTOCOL,
    thresholds: str | Path | None = None,
    backend: str = BACKEND,
    device: str = DEVICE,
    precision: ExecutionPrecision = EXECUTION_PRECISION,
    model_threads: int = 0,
    streams: int = STREAMS,
    reference_device: str = DEVICE,
    batch_size: int = BATCH_SIZE,
    threads: int = 0,
    note: Callable[[str], None] = lambda _: None,
    progress: Progress = _unseen,
) -> ParityCheck:
    """Compare a model with the fp32 model it was made from, and keep the verdict beside it.

    Args:
        candidate: the artifact to judge.
        reference: the fp32 artifact.
        data: labelled source with query and gallery images, for example "veri:DIR".
        gallery: gallery images, if `data` names the queries only.
        protocol: of mAP and CMC.
        thresholds: a TOML file with a project's own bounds; None takes the defaults.
        backend: what runs the candidate; the reference runs on ONNX Runtime.
        device: where.
        precision: what OpenVINO computes the candidate's float32 values in.
        model_threads: threads of the candidate on the CPU, 0 = the library's own number.
        streams: batches of it at work at once on OpenVINO.
        reference_device: where the reference runs.
        batch_size: images per run, 2 or more.
        threads: decoding threads, 0 = one per CPU.
        note: told each thing that was tolerated while reading the data set.
        progress: for a title, gives the progress callback.

    Returns:
        The result, passed or not.

    Raises:
        ParityError: the two are not of one trained model, or the images too few.
        ArtifactError: one is no artifact.
        DataError: the source or the thresholds cannot be read.
        MtmlError: what embedding and evaluating raise.
    """
    rule = find_protocol(protocol)
    how = EmbedOptions(
        backend, device, model_threads=model_threads, precision=precision, streams=streams
    )
    judged = Side(open_artifact(user_path(candidate)), how)
    trusted = Side(open_artifact(user_path(reference)), EmbedOptions("ort", reference_device))
    file = None if thresholds is None else user_path(thresholds)

    def bounds(computes_in: Rounding) -> ParityThresholds:
        return load_thresholds(file, bounded(judged.artifact.manifest.precision, computes_in))

    bounds("")  # a file that cannot be read is told before anything is computed
    images = (
        load_source(str(data), split="query"),
        load_source(str(gallery or data), split="gallery"),
    )
    for part in images:
        for sentence in part.notes:
            note(f"{part.source}: {sentence}")
    result = compare(
        judged,
        trusted,
        images,
        protocol=rule,
        bounds=bounds,
        batch_size=batch_size,
        threads=threads,
        progress=progress,
    )
    sources = images[0].source, images[1].source
    markdown = parity_markdown(
        result, candidate=judged, reference=trusted, sources=sources, protocol=rule
    )
    record = verdict_json(
        result,
        candidate=judged,
        reference=trusted,
        sources=sources,
        protocol=rule,
    )
    stored = save_verdict(judged, result, record=record, markdown=markdown)
    return ParityCheck(result, markdown, record, stored)
