"""Building the approximate index of a gallery: the centres from a sample, then every row."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.files import atomic_file
from mtml_deploy.gallery.approximate.ivf import TRAINING_ROWS, InvertedFile, require_faiss
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.reader import read_stored
from mtml_deploy.gallery.index_manifest import (
    IndexManifest,
    index_path,
    rows_path,
    save_index_manifest,
)
from mtml_deploy.gallery.values import GalleryError

_CHUNK_BYTES: Final = 1 << 26
"""float32 vectors read and added at once (64 MiB): enough to keep faiss's threads at work."""

_SEED: Final = 0
"""Of the sample."""


def default_lists(rows: int) -> int:
    """Lists for a number of rows: 4 sqrt(rows), as faiss advises, none trained on too few rows."""
    return max(1, min(round(4 * math.sqrt(rows)), rows // TRAINING_ROWS))


def estimate_build_bytes(rows: int, dim: int, lists: int) -> int:
    """Memory that `build_index` takes, at most."""
    sample = min(rows, TRAINING_ROWS * lists)
    # faiss copies the sample once; a list grows by doubling
    return 2 * 4 * sample * dim + 2 * rows * (dim + 8) + 3 * _CHUNK_BYTES


def build_index(
    gallery: FolderGallery,
    *,
    lists: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> IndexManifest:
    """Build the index of all rows, in place of an earlier one; it is not tuned yet.

    Args:
        gallery: opened for writing, so that no row comes or goes meanwhile.
        lists: centres, 1 to the number of rows; None takes `default_lists`.
        progress: called with (rows added, rows).

    Returns:
        Its manifest.

    Raises:
        GalleryError: no rows, more lists than rows, or a row is missing or corrupted.
        MissingExtraError: faiss is not installed.
        ValueError: the gallery was opened for reading.
    """
    gallery.require_writable()
    require_faiss()
    numbers = gallery.table.numbers()
    live = numbers[~numbers["removed"]]
    if not len(live):
        raise GalleryError(f"{gallery.folder} holds no rows to index; add images first")
    lists = default_lists(len(live)) if lists is None else lists
    if not 1 <= lists <= len(live):
        raise GalleryError(
            f"{lists} lists were asked for, expected 1 to {len(live)}, the rows of "
            f"{gallery.folder}; leave out --lists to take {default_lists(len(live))}"
        )
    generator = np.random.default_rng(_SEED)
    chosen = generator.permutation(len(live))[: TRAINING_ROWS * lists]
    index = InvertedFile.trained(_vectors(gallery, live[np.sort(chosen)]), lists)
    step = max(1, _CHUNK_BYTES // (4 * gallery.model.dim))
    for start in range(0, len(live), step):
        chunk = live[start : start + step]
        index.add(_vectors(gallery, chunk), np.ascontiguousarray(chunk["row"]))
        if progress is not None:
            progress(min(start + step, len(live)), len(live))
    name = uuid4().hex
    with atomic_file(index_path(gallery.folder, name)) as temporary:
        index.write(temporary)
    with atomic_file(rows_path(gallery.folder, name)) as temporary, temporary.open("wb") as file:
        np.save(file, _table(live))
    manifest = IndexManifest(
        name=name,
        fingerprint=gallery.manifest.fingerprint,
        index_sha256=file_sha256(index_path(gallery.folder, name)),
        rows_sha256=file_sha256(rows_path(gallery.folder, name)),
        rows=len(live),
        last_row=int(live["row"][-1]),
        lists=lists,
        tuning=None,
    )
    save_index_manifest(gallery.folder, manifest)
    return manifest


def _vectors(gallery: FolderGallery, chunk: NDArray[np.void]) -> NDArray[np.float32]:
    """float32 [n, D] of rows, `NUMBERS` [n]."""
    return read_stored(gallery.folder, gallery.manifest, chunk)


def _table(live: NDArray[np.void]) -> NDArray[np.int64]:
    """int64 [n, 2]: row numbers, ascending, and the checksums of their vectors."""
    return np.stack([live["row"], live["crc"].astype(np.int64)], axis=1)
