"""A gallery carried over to another model: its images embedded again, with what is known of each.

In: an open gallery, a loaded model and a new gallery of that model. Out: the rows in the new one,
in the order of the old. What it holds already is passed over, so a run that was stopped is
continued by starting it again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from mtml_deploy.data.batches import BadImage
from mtml_deploy.data.frame_crop import FrameCrop, parse_name
from mtml_deploy.data.frame_store import FrameStore
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.defaults import BATCH_SIZE
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.gallery.add import add_images, content_of
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.values import GalleryError, StoredRow
from mtml_deploy.runtime.runtime import Runtime

_BLOCK: Final = 1024
"""Rows read, hashed and added at once."""

_FILE: Final = ("file:", "crop:")
"""How a content hash begins that says which pixels a row was made of."""


@dataclass(frozen=True)
class Migrated:
    """What one call did.

    Attributes:
        added: rows that are new in the new gallery.
        present: rows whose image it held already.
        skipped: images that are gone, changed or cannot be read; only with `skip_bad`.
    """

    added: int
    present: int
    skipped: tuple[BadImage, ...]


def migrate(
    old: Gallery,
    new: Gallery,
    runtime: Runtime,
    *,
    model: ModelIdentity,
    batch_size: int = BATCH_SIZE,
    threads: int = 0,
    skip_bad: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Migrated:
    """Embed the images of a gallery with another model, into a new gallery.

    Args:
        old: what to carry over.
        new: open for writing, made for `model`.
        runtime: the loaded model.
        model: what its rows carry, see `Model.identity`.
        batch_size: images per run, and per acknowledgement.
        threads: decoding threads; 0 means one per CPU.
        skip_bad: leave out images that cannot be used instead of stopping at the first.
        progress: called with (rows dealt with, all rows).

    Returns:
        What was done.

    Raises:
        GalleryError: an image is gone, or its file holds another image than when it was added.
        ImageError: an image cannot be used and `skip_bad` is false; those before it are added.
    """
    total, done, added, present = len(old), 0, 0, 0
    skipped: list[BadImage] = []
    store = FrameStore()
    for block in _blocks(old.rows()):
        usable: list[StoredRow] = []
        for at, stored in enumerate(block):
            reason = _why_unusable(stored, store)
            if reason and not skip_bad:
                raise GalleryError(f"row {stored.row}: {stored.record.path} {reason}")
            if reason:
                skipped.append(BadImage(done + at, Path(stored.record.path), reason))
            else:
                usable.append(stored)
        for images in _sets(usable, store):
            summary = add_images(
                new,
                runtime,
                images,
                model=model,
                batch_size=batch_size,
                threads=threads,
                skip_bad=skip_bad,
            )
            added, present = added + summary.added, present + summary.present
            skipped += summary.skipped
        done += len(block)
        if progress is not None:
            progress(done, total)
    return Migrated(added, present, tuple(skipped))


def _blocks(rows: Iterator[StoredRow]) -> Iterator[list[StoredRow]]:
    """Rows, some at a time."""
    while block := list(islice(rows, _BLOCK)):
        yield block


def _picture(path: Path, store: FrameStore) -> Path | FrameCrop:
    """The image that a row names: a file, or a region of a frame."""
    found = parse_name(path)
    if found is None:
        return path
    file, number, box = found
    return FrameCrop(store, file, number, box)


def _why_unusable(stored: StoredRow, store: FrameStore) -> str:
    """Why the image of a row cannot stand for it any more; empty where it can."""
    path = Path(stored.record.path)
    if not path.is_absolute():
        return "is no file here; give the rows' images by name, or leave them out with --skip-bad"
    content = content_of(_picture(path, store))
    if not content:
        return "cannot be read; copy it back, or leave it out with --skip-bad"
    if stored.record.content.startswith(_FILE) and content != stored.record.content:
        return (
            "holds another image than when it was added; copy the old one back, or leave it out "
            "with --skip-bad"
        )
    return ""


def _sets(rows: Sequence[StoredRow], store: FrameStore) -> Iterator[ImageSet]:
    """Runs of rows as image sets, those of files and those of regions apart."""
    run: list[tuple[ImageRecord, Path | FrameCrop]] = []
    for stored in rows:
        record = stored.record
        picture = _picture(Path(record.path), store)
        image = ImageRecord(
            Path(record.path),
            record.vehicle_id,
            record.camera_id,
            record.orientation,
            record.tracklet_id,
            record.time_us,
        )
        if run and isinstance(run[0][1], Path) != isinstance(picture, Path):
            yield _set(run)
            run = []
        run.append((image, picture))
    if run:
        yield _set(run)


def _set(run: Sequence[tuple[ImageRecord, Path | FrameCrop]]) -> ImageSet:
    """One image set."""
    crops = tuple(picture for _, picture in run if isinstance(picture, FrameCrop))
    records = tuple(record for record, _ in run)
    return ImageSet("rows of a gallery", Path("/"), records, crops=crops or None)
