"""Images of a set to an embeddings file: decoding beside inference, resumable after a kill.

In: what embeds and an `ImageSet`. Out: an embeddings file and a summary. Until it is whole, the
rows are in the folder `OUT.part` beside it (see `resume`).
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from mtml_deploy.data.batches import BadImage
from mtml_deploy.data.records import ImageSet
from mtml_deploy.defaults import BATCH_SIZE
from mtml_deploy.embed.embed import Embedder, labelled_rows, row_batches
from mtml_deploy.embed.file import EMBEDDINGS, require_suffix
from mtml_deploy.embed.resume import PartialRows, RowsManifest, remove_partial_rows
from mtml_deploy.errors import EmbeddingsError, OutputExistsError
from mtml_deploy.lock import one_writer
from mtml_deploy.outputs import require_output


@dataclass(frozen=True)
class EmbedSummary:
    """What one call of `embed_to` did.

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


def embed_to(
    model: Embedder,
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
        model: what embeds.
        images: what to embed, files; rows of the file keep its order.
        out: the file to write, ending in .npz.
        batch_size: images per run, 1 or more.
        threads: decoding threads; 0 means one per CPU this process may use.
        skip_bad: leave out images that cannot be used instead of stopping at the first.
        resume: continue an interrupted call from its last finished batch; where nothing was
            begun, begin.
        overwrite: replace an embeddings file that is there, and without `resume` drop what an
            interrupted call left.
        progress: called with (images dealt with, all images) after each batch.

    Returns:
        What was done.

    Raises:
        OutputBusyError: another process is writing `out`.
        WriteError: the machine refuses; finished rows are kept.
        OutputExistsError: `out`, or rows of an interrupted call, exist and no option says what to
            do with them; or what is there is no embeddings file.
        EmbeddingsError: the interrupted rows belong to another model or list of images, or not one
            image can be used.
        ImageError: an image cannot be used and `skip_bad` is false.
        ArtifactError: the model gave a value that is not finite.
        ValueError: the images are in memory, where no later call could find them again.
    """
    if images.memory is not None:
        raise ValueError(f"{images.source} cannot be continued later; embed them and save the rows")
    started = time.monotonic()
    part = partial_path(out)
    with one_writer(out):
        _require_writable(out, part, resume=resume, overwrite=overwrite)
        if not resume:
            remove_partial_rows(part)
        manifest = RowsManifest(
            model=model.identity,
            source=images.source,
            root=str(images.root.absolute()),
            images_sha256=images_sha256(images),
        )
        with PartialRows(part, manifest, resume=resume) as rows:
            resumed_rows = rows.count
            if rows.bad and not skip_bad:
                raise EmbeddingsError(
                    f"the interrupted run in {part} left out {len(rows.bad)} unusable images, "
                    "this one was not told to; add --skip-bad, or start again with --overwrite"
                )
            try:
                for batch in row_batches(
                    model,
                    images,
                    first=rows.position,
                    batch_size=batch_size,
                    threads=threads,
                    skip_bad=skip_bad,
                    progress=progress,
                ):
                    rows.append(
                        batch.features, pixels=batch.pixels, position=batch.position, bad=batch.bad
                    )
                labelled_rows(
                    images, rows.rows(), rows.pixels(), bad=rows.bad, model=manifest.model
                ).save(out)
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


def _require_writable(out: Path, part: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse a target that must not be written, before any work is done."""
    require_suffix(out)
    require_output(out, EMBEDDINGS, overwrite=overwrite)
    if part.exists() and not resume and not overwrite:
        raise OutputExistsError(
            f"{part} holds the rows of an interrupted run; continue it with --resume, "
            "or drop it with --overwrite"
        )


def images_sha256(images: ImageSet) -> str:
    """Hash of the ordered names, labels and times: equal only for the same list of images."""
    digest = hashlib.sha256()
    for name, record in zip(images.names(), images.records, strict=True):
        labels = [record.vehicle_id, record.camera_id, record.orientation, record.tracklet_id]
        if record.time_us is not None:
            labels.append(record.time_us)
        digest.update(json.dumps([name, *labels]).encode() + b"\n")
    return digest.hexdigest()
