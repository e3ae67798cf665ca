"""Images of a set to an embeddings file: decoding beside inference, resumable after a kill.

In: a `Runtime` and an `ImageSet`. Out: an embeddings file and a summary.
Until it is whole, the rows are in the folder `OUT.part` beside it (see `partial_rows`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import BadImage, ImageBatch, iterate_batches
from mtml_deploy.data.records import ImageSet
from mtml_deploy.defaults import BATCH_SIZE
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.embed.file import require_suffix
from mtml_deploy.embed.resume import PartialRows, RowsHeader, remove_partial_rows
from mtml_deploy.errors import ArtifactError, EmbeddingsError, OutputExistsError
from mtml_deploy.files import require_absent
from mtml_deploy.runtime.runtime import Runtime


@dataclass(frozen=True)
class EmbedSummary:
    """What one call of `embed` did.

    Attributes:
        images: rows in the file.
        skipped: images left out, ascending; only with `skip_bad`.
        seconds: wall time of this call.
        images_per_second: rows computed by this call over `seconds`, decoding included.
        resumed_rows: rows taken over from an interrupted call.
    """

    images: int
    skipped: tuple[BadImage, ...]
    seconds: float
    images_per_second: float
    resumed_rows: int


def embed(
    runtime: Runtime,
    images: ImageSet,
    out: Path,
    *,
    batch_size: int = BATCH_SIZE,
    threads: int = 0,
    skip_bad: bool = False,
    resume: bool = False,
    overwrite: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> EmbedSummary:
    """Embed every image of a set into the file `out`, whole or not at all.

    Args:
        runtime: the loaded model.
        images: what to embed; rows of the file keep its order.
        out: the file to write, ending in .npz.
        batch_size: images per run, 1 or more.
        threads: decoding threads; 0 means one per CPU this process may use.
        skip_bad: leave out images that cannot be used instead of stopping at the first.
        resume: continue an interrupted call from its last finished batch; where nothing was
            begun, begin.
        overwrite: replace `out`, and without `resume` drop what an interrupted call left.
        progress: called with (images dealt with, all images) after each batch.

    Returns:
        What was done.

    Raises:
        OutputExistsError: `out`, or rows of an interrupted call, exist and no option says what to
            do with them.
        EmbeddingsError: the interrupted rows belong to another model or list of images, or not one
            image can be used.
        ImageError: an image cannot be used and `skip_bad` is false.
        ArtifactError: the model gave a value that is not finite.
    """
    started = time.monotonic()
    part = partial_path(out)
    _require_writable(out, part, resume=resume, overwrite=overwrite)
    if not resume:
        remove_partial_rows(part)
    header = RowsHeader(
        model=model_identity(runtime.manifest),
        source=images.source,
        root=str(images.root.absolute()),
        images_sha256=_images_sha256(images),
    )
    with PartialRows(part, header, resume=resume) as rows:
        resumed_rows = rows.count
        if rows.bad and not skip_bad:
            raise EmbeddingsError(
                f"the interrupted run in {part} left out {len(rows.bad)} unusable images, this one "
                "was not told to; add --skip-bad, or start again with --overwrite"
            )
        try:
            _compute(runtime, images, rows, batch_size, threads, skip_bad, progress)
            _save(out, images, rows, header)
        except BaseException:  # Ctrl-C as well
            if not rows.count:  # nothing worth resuming: the next attempt needs no option
                rows.remove()
            raise
        rows.remove()
    seconds = time.monotonic() - started
    return EmbedSummary(
        images=rows.count,
        skipped=tuple(BadImage(i, images.records[i].path, reason) for i, reason in rows.bad),
        seconds=seconds,
        images_per_second=(rows.count - resumed_rows) / max(seconds, 1e-9),
        resumed_rows=resumed_rows,
    )


def partial_path(out: Path) -> Path:
    """Where the rows of a run that is under way are kept."""
    return out.with_name(f"{out.name}.part")


def model_identity(manifest: Manifest) -> ModelIdentity:
    """What embeddings of this model carry, so that no other model's are compared with them."""
    return ModelIdentity(
        model_sha256=manifest.model_sha256,
        precision=manifest.precision,
        embedding=manifest.embedding,
        dim=manifest.dim,
    )


def _require_writable(out: Path, part: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a target that must not be written, before any work is done."""
    require_suffix(out)
    require_absent(out, overwrite=overwrite)
    if part.exists() and not resume and not overwrite:
        raise OutputExistsError(
            f"{part} holds the rows of an interrupted run; continue it with --resume, "
            "or drop it with --overwrite"
        )


def _compute(
    runtime: Runtime,
    images: ImageSet,
    rows: PartialRows,
    batch_size: int,
    threads: int,
    skip_bad: bool,
    progress: Callable[[int, int], None] | None,
) -> None:
    """Append the rows of all images from `rows.position` on."""
    first = rows.position
    total = len(images.records)
    if progress:
        progress(first, total)
    batches = iterate_batches(
        [record.path for record in images.records[first:]],
        height=runtime.manifest.height,
        width=runtime.manifest.width,
        batch_size=batch_size,
        threads=threads,
        skip_bad=skip_bad,
    )
    for batch in batches:
        features = _features(runtime, images, batch, first)
        # a bad image may be reported before the rows around it, so rows alone tell how far we are
        position = first + int(batch.indices[-1]) + 1 if len(features) else total
        bad = tuple((first + image.index, image.reason) for image in batch.bad)
        rows.append(features, pixels=batch.pixels, position=position, bad=bad)
        if progress:
            progress(position, total)
    if progress:
        progress(total, total)


def _features(
    runtime: Runtime, images: ImageSet, batch: ImageBatch, first: int
) -> NDArray[np.float32]:
    """Finite features float32 [B, D] of one batch; B is 0 where it only reports bad images."""
    if not len(batch.indices):
        return np.empty((0, runtime.manifest.dim), dtype=np.float32)
    features = runtime.run(batch.images)
    finite = np.isfinite(features).all(axis=1)
    if not finite.all():
        name = images.records[first + int(batch.indices[np.argmin(finite)])].path
        raise ArtifactError(
            f"the model gave a value that is not finite for {name}, expected finite embeddings; "
            f"its precision is {runtime.manifest.precision}: export it in fp32, or train again if "
            "it is"
        )
    return features


def _save(out: Path, images: ImageSet, rows: PartialRows, header: RowsHeader) -> None:
    """Write the finished rows with the labels of their images to `out`."""
    left_out = dict(rows.bad)
    kept = [i for i in range(len(images.records)) if i not in left_out]
    if not kept:
        first = next(iter(left_out.values()), "the set is empty")
        raise EmbeddingsError(
            f"not one of the {len(left_out)} images of {images.source} can be used; "
            f"the first: {first}"
        )
    names = images.names()
    Embeddings.of(
        rows.rows(),
        [images.records[i] for i in kept],
        names=[names[i] for i in kept],
        model=header.model,
        root=header.root,
        source=header.source,
        pixels=rows.pixels(),
    ).save(out)


def _images_sha256(images: ImageSet) -> str:
    """Hash of the ordered names and labels: equal only for the same list of images."""
    digest = hashlib.sha256()
    for name, record in zip(images.names(), images.records, strict=True):
        labels = (record.vehicle_id, record.camera_id, record.orientation, record.tracklet_id)
        digest.update(json.dumps([name, *labels]).encode() + b"\n")
    return digest.hexdigest()
