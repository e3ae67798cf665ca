"""Running the gate: both models over the same images, then the verdict.

In: two sides (artifact, backend, device) and query and gallery images. Out: a `ParityResult`.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import decode_images
from mtml_deploy.data.records import ImageSet
from mtml_deploy.defaults import Rounding
from mtml_deploy.embed.embed import embed
from mtml_deploy.errors import ParityError
from mtml_deploy.evaluation.protocols import Protocol, require_labels
from mtml_deploy.model import Model
from mtml_deploy.parity.judge import Pair, ParityResult, judge, measure_consistency, parts_of
from mtml_deploy.parity.thresholds import ParityThresholds
from mtml_deploy.parity.verdict import Side

_SAME: tuple[str, ...] = (
    "checkpoint_sha256",
    "embedding",
    "branches",
    "neck",
    "normalised",
    "flip_averaged",
    "dim",
    "height",
    "width",
    "compression",
)
"""What a candidate shares with the reference it may replace."""

Progress = Callable[[str], AbstractContextManager[Callable[[int, int], None]]]
"""Title -> progress callback for a piece of work."""


def require_same_model(candidate: Manifest, reference: Manifest) -> None:
    """Refuse to compare what was not made from one trained model.

    Args:
        candidate: the judged model.
        reference: must be fp32.

    Raises:
        ParityError: the reference is not fp32, or anything but the precision differs.
    """
    if reference.precision != "fp32":
        raise ParityError(
            f"the reference is {reference.precision}, expected fp32, which was compared with the "
            "trained model at export; give the fp32 artifact: mtml-export RUN --out FP32"
        )
    for name in _SAME:
        left, right = getattr(candidate, name), getattr(reference, name)
        if name == "compression":  # a conversion keeps the record, and the hash of its parent
            left, right = (None if one is None else dict(one) for one in (left, right))
        if left != right:
            raise ParityError(
                f"candidate and reference are not one trained model: {name} is {left} and {right}; "
                "give the fp32 artifact that the candidate was made from"
            )


def compare(
    candidate: Side,
    reference: Side,
    images: tuple[ImageSet, ImageSet],
    *,
    protocol: Protocol,
    bounds: Callable[[Rounding], ParityThresholds],
    batch_size: int,
    threads: int,
    progress: Progress,
) -> ParityResult:
    """Embed the images with both sides and judge the candidate.

    Args:
        candidate: the judged side.
        reference: fp32.
        images: query and gallery images.
        protocol: of mAP and CMC.
        bounds: what the candidate's backend rounds to -> the bounds.
        batch_size: images per run, 2 or more; also the full batch of the consistency check.
        threads: decoding threads, 0 = one per CPU.
        progress: for a title, gives the progress callback.

    Returns:
        The result.

    Raises:
        ParityError: the two sides are not of one trained model, or the images too few.
        MtmlError: what embedding and evaluating raise.
    """
    manifest = candidate.artifact.manifest
    require_same_model(manifest, reference.artifact.manifest)
    parts = parts_of(manifest)

    def pair(model: Model, name: str) -> Pair:
        found = []
        for split, part in zip(("query", "gallery"), images, strict=True):
            with progress(f"{name}: {split}") as report:
                rows, _ = embed(
                    model, part, batch_size=batch_size, threads=threads, progress=report
                )
            found.append(rows)
        require_labels(protocol, *found)
        return found[0], found[1]

    with reference.open() as model:
        expected = pair(model, "reference")
    with candidate.open() as model:
        found = pair(model, "candidate")
        pictures = [picture for part in images[::-1] for picture in part.pictures]
        if len(pictures) < 2:
            raise ParityError(f"{images[0].source} holds one image, the gate needs more")
        batch = decode_images(pictures[:batch_size], height=manifest.height, width=manifest.width)
        consistency = measure_consistency(model.run, batch, parts)
        engine_sha256, computes_in = model.runtime.engine_sha256, model.runtime.computes_in
    result = judge(
        expected,
        found,
        parts=parts,
        consistency=consistency,
        protocol=protocol,
        thresholds=bounds(computes_in),
    )
    return replace(result, engine_sha256=engine_sha256, computes_in=computes_in)
