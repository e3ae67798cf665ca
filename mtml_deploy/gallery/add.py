"""Images and embeddings files into a gallery: in batches, each acknowledged on disk.

What the gallery holds already is passed over before anything is computed, so that a run which was
stopped or killed is continued by starting it again.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.data.batches import BadImage, iterate_batches
from mtml_deploy.data.clock import UNKNOWN_TIME
from mtml_deploy.data.decode import Picture
from mtml_deploy.data.frame_crop import FrameCrop
from mtml_deploy.data.memory_image import MemoryImage
from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet
from mtml_deploy.defaults import BATCH_SIZE
from mtml_deploy.embed.embed import with_outputs
from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.gallery.values import Added, NewRows, RowRecord, StoredRow
from mtml_deploy.runtime.runtime import Runtime

logger = logging.getLogger(__name__)

_HASHED_AHEAD = 1024
"""Images hashed before they are decoded: few enough to be still in the system's cache then."""

_VECTORS = 4096
"""Rows of an embeddings file added at once."""


class RowStore(Protocol):
    """What adding needs of a gallery; see `Gallery`."""

    def add_rows(self, new: NewRows) -> Added:
        """Add a batch."""
        ...

    def holds(self, contents: Sequence[str]) -> Mapping[str, int]:
        """The rows of those content hashes that it has."""
        ...

    def rows(self, numbers: Sequence[int] | None = None) -> Iterator[StoredRow]:
        """What is known of rows."""
        ...


@dataclass(frozen=True)
class Known:
    """What the user knows of the images beyond their source.

    Attributes:
        camera_id: camera of images whose source tells none; -1 unknown.
        time_us: time of images that neither `times_us` nor their source tells; None unknown.
        times_us: name of an image, as in its source -> microseconds since 1970 UTC.
    """

    camera_id: int = UNKNOWN
    time_us: int | None = None
    times_us: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class AddSummary:
    """What one call added.

    Attributes:
        added: new rows.
        present: images that were there already, or came twice.
        skipped: images that cannot be used; only with `skip_bad`.
        labelled_otherwise: images that were there already and of which something else was told
            now, such as another vehicle; what is kept of them was not changed.
    """

    added: int
    present: int
    skipped: tuple[BadImage, ...] = ()
    labelled_otherwise: int = 0


def add_embeddings(
    gallery: RowStore,
    embeddings: Embeddings,
    *,
    known: Known = Known(),
    times_us: Sequence[int | None] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> AddSummary:
    """Add the rows of an embeddings file; equal vectors are kept once.

    Args:
        gallery: open for writing.
        embeddings: what to add.
        known: what the file does not tell.
        times_us: [N] the time of each row, before those of the embeddings and of `known`; None
            entries are unknown.
        progress: called with (rows dealt with, all rows).

    Returns:
        What was done.

    Raises:
        EmbeddingsError: another model's, tracklets, or vectors that cannot be kept.
        GalleryError: see `Gallery.add_rows`.
        ValueError: `times_us` has another length.
    """
    if embeddings.unit != "image":
        raise EmbeddingsError(
            f"{embeddings.source} holds tracklets, and the rows of a gallery are images; add the "
            "embeddings file of the images"
        )
    if times_us is None:
        times_us = [known.times_us.get(name) for name in embeddings.names]
    if len(times_us) != len(embeddings):
        raise ValueError(f"{len(times_us)} times of {len(embeddings)} rows")
    told = embeddings.times_us
    if told is not None:
        times_us = [
            (None if kept == UNKNOWN_TIME else kept) if time is None else time
            for time, kept in zip(times_us, told.tolist(), strict=True)
        ]
    added = otherwise = 0
    for start in range(0, len(embeddings), _VECTORS):
        part = range(start, min(start + _VECTORS, len(embeddings)))
        features = embeddings.features[part.start : part.stop]
        records = tuple(
            RowRecord(
                path=str(Path(embeddings.root) / embeddings.names[i]),
                content=f"vector:{hashlib.sha256(features[i - start].tobytes()).hexdigest()}",
                vehicle_id=embeddings.named(embeddings.vehicle_ids[i]),
                camera_id=_camera(embeddings.named(embeddings.camera_ids[i]), known),
                orientation=int(embeddings.orientations[i]),
                tracklet_id=embeddings.named(embeddings.tracklet_ids[i]),
                time_us=known.time_us if times_us[i] is None else times_us[i],
            )
            for i in part
        )
        new = gallery.add_rows(NewRows(embeddings.model, features, records))
        added += int(new.is_new.sum())
        otherwise += _count_otherwise(gallery, new, records)
        if progress is not None:
            progress(part.stop, len(embeddings))
    return AddSummary(added, len(embeddings) - added, labelled_otherwise=otherwise)


def add_images(
    gallery: RowStore,
    runtime: Runtime,
    images: ImageSet,
    *,
    model: ModelIdentity,
    known: Known = Known(),
    batch_size: int = BATCH_SIZE,
    threads: int = 0,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> AddSummary:
    """Embed the images a gallery does not hold, and add them; equal files are kept once.

    Where a record has no orientation and the model learnt to tell one, the most probable one is
    kept; what a model tells that was never shown one is made up, and never kept.

    Args:
        gallery: open for writing.
        runtime: the loaded model, of which the gallery must be.
        images: what to add.
        model: what its rows carry, see `Model.identity`.
        known: what their source does not tell.
        batch_size: images per run of the model, and per acknowledgement.
        threads: decoding threads; 0 means one per CPU.
        skip_bad: leave out images that cannot be used instead of stopping at the first.
        progress: called with (images dealt with, all images).

    Returns:
        What was done.

    Raises:
        EmbeddingsError: another model's gallery, or vectors that cannot be kept.
        ImageError: an image cannot be used and `skip_bad` is false; those before it are added.
        GalleryError: see `Gallery.add_rows`.
    """
    tells = tells_orientation(runtime.manifest)
    # an empty batch: another model is refused before anything is computed
    gallery.add_rows(NewRows(model, np.empty((0, model.dim), np.float32), ()))
    total = len(images.records)
    names = images.names()
    pictures = images.pictures
    added = done = otherwise = 0
    skipped: list[BadImage] = []
    for start in range(0, total, _HASHED_AHEAD):
        part = slice(start, start + _HASHED_AHEAD)
        contents = [content_of(picture) for picture in pictures[part]]
        held = gallery.holds([content for content in contents if content])
        wanted = [start + i for i, content in enumerate(contents) if content not in held]
        told = [
            (held[content], _record(image, content, known, _time(image, name, known), None))
            for content, image, name in zip(
                contents, images.records[part], names[part], strict=True
            )
            if content in held
        ]
        otherwise += _differing(gallery, told)
        done += len(contents) - len(wanted)
        batches = iterate_batches(
            [pictures[i] for i in wanted],
            height=runtime.manifest.height,
            width=runtime.manifest.width,
            batch_size=batch_size,
            threads=threads,
            skip_bad=skip_bad,
        )
        for batch, outputs in with_outputs(batches, runtime.stream):
            skipped += [BadImage(wanted[bad.index], bad.path, bad.reason) for bad in batch.bad]
            done += len(batch.bad) + len(batch.indices)
            if outputs is not None:
                positions = [wanted[i] for i in batch.indices.tolist()]
                records = tuple(
                    _record(
                        images.records[position],
                        # unreadable a moment ago, but decoded since
                        contents[position - start] or content_of(pictures[position]),
                        known,
                        _time(images.records[position], names[position], known),
                        outputs.orientation[n]
                        if tells and outputs.orientation is not None
                        else None,
                    )
                    for n, position in enumerate(positions)
                )
                new = NewRows(model, outputs.embeddings, records)
                became = gallery.add_rows(new)
                added += int(became.is_new.sum())
                otherwise += _count_otherwise(gallery, became, records)
            if progress is not None:
                progress(done, total)
    present = total - added - len(skipped)
    return AddSummary(added, present, tuple(skipped), otherwise)


def _count_otherwise(gallery: RowStore, became: Added, records: Sequence[RowRecord]) -> int:
    """How many records that were not new tell something else than what is kept."""
    told = [(int(became.rows[i]), records[i]) for i in np.flatnonzero(~became.is_new).tolist()]
    return _differing(gallery, told)


def _differing(gallery: RowStore, told: Sequence[tuple[int, RowRecord]]) -> int:
    """How many records tell something else than what is kept of their row; -1 tells nothing."""
    kept = {stored.row: stored.record for stored in gallery.rows([row for row, _ in told])}
    count = 0
    for row, record in told:
        old = kept.get(row)
        if old is None:  # removed a moment ago
            continue
        ids = (
            (record.vehicle_id, old.vehicle_id),
            (record.camera_id, old.camera_id),
            (record.orientation, old.orientation),
            (record.tracklet_id, old.tracklet_id),
        )
        other_time = record.time_us not in (None, old.time_us)
        count += other_time or any(new not in (UNKNOWN, there) for new, there in ids)
    return count


def tells_orientation(manifest: Manifest) -> bool:
    """Whether orientations that the model tells may be kept; says where they are not."""
    if not manifest.with_orientation or manifest.learnt_orientations:
        return manifest.with_orientation
    why = (
        "no image it was trained on had one"
        if manifest.learnt_orientations == 0
        else "its manifest does not tell whether it ever learnt one; train and export it again"
    )
    logger.warning("orientations that the model tells are not kept: %s", why)
    return False


def content_of(picture: Picture) -> str:
    """What tells an image apart; empty where it cannot be read, which decoding will report."""
    try:
        if isinstance(picture, FrameCrop):
            return picture.content()
        return "" if isinstance(picture, MemoryImage) else f"file:{file_sha256(picture)}"
    except (OSError, ValueError):
        return ""


def _time(image: ImageRecord, name: str, known: Known) -> int | None:
    """The time that the user tells of an image, else its source, else the user of all images."""
    told = known.times_us.get(name, image.time_us)
    return known.time_us if told is None else told


def _camera(camera_id: int, known: Known) -> int:
    """The camera the source tells, else the one the user tells."""
    return known.camera_id if camera_id == UNKNOWN else camera_id


def _record(
    image: ImageRecord,
    content: str,
    known: Known,
    time_us: int | None,
    orientation: NDArray[np.float32] | None,
) -> RowRecord:
    """What is kept of one image; `orientation` float32 [8] is the model's, None without one."""
    label = image.orientation
    if label == UNKNOWN and orientation is not None:
        label = int(np.argmax(orientation))
    return RowRecord(
        path=str(image.path.absolute()),
        content=content,
        vehicle_id=image.vehicle_id,
        camera_id=_camera(image.camera_id, known),
        orientation=label,
        tracklet_id=image.tracklet_id,
        time_us=time_us,
    )
