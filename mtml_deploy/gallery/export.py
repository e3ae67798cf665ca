"""A gallery as an embeddings file, for ranking, evaluation and other tools."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import MtmlError
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.folder.reader import read_stored
from mtml_deploy.gallery.values import GalleryError, RowRecord

_CHUNK_BYTES: Final = 1 << 24
"""Vectors read at once (16 MiB)."""

_ATTEMPTS: Final = 5
"""Passes before giving up, should rows be removed or moved during each."""


def export_embeddings(gallery: FolderGallery) -> Embeddings:
    """All rows in the order of their numbers; times and row numbers have no place in the result.

    Args:
        gallery: open for reading or writing.

    Returns:
        The embeddings, float32, in memory.

    Raises:
        GalleryError: no row, or a row is missing or corrupted.
    """
    for attempt in range(_ATTEMPTS):
        with gallery.table.snapshot():
            rewrites = gallery.table.rewrites()
            numbers = gallery.table.numbers()
            records = [stored.record for stored in gallery.table.records()]
        try:
            features = _features(gallery, numbers[~numbers["removed"]])
            break
        except MtmlError:
            # a compaction may have replaced the files meanwhile
            if gallery.table.rewrites() == rewrites or attempt == _ATTEMPTS - 1:
                raise
    return labelled(features, records, name=str(gallery.folder), model=gallery.model)


def labelled(
    features: NDArray[np.float32],
    records: Sequence[RowRecord],
    *,
    name: str,
    model: ModelIdentity,
) -> Embeddings:
    """Vectors of a gallery with what is known of them.

    Args:
        features: float32 [n, D].
        records: [n] their records.
        name: of the gallery.
        model: which made the vectors.

    Returns:
        The embeddings; names are relative to the deepest folder that all images share.
    """
    root = _common_root([record.path for record in records])
    return Embeddings(
        features=features,
        vehicle_ids=np.array([record.vehicle_id for record in records], dtype=np.int32),
        camera_ids=np.array([record.camera_id for record in records], dtype=np.int32),
        orientations=np.array([record.orientation for record in records], dtype=np.int32),
        tracklet_ids=np.array([record.tracklet_id for record in records], dtype=np.int32),
        names=tuple(
            Path(record.path).relative_to(root).as_posix() if root else record.path
            for record in records
        ),
        root=root,
        source=f"gallery:{name}",
        model=model,
    )


def _features(gallery: FolderGallery, live: NDArray[np.void]) -> NDArray[np.float32]:
    """Vectors float32 [n, D] of rows, `NUMBERS` [n]."""
    if not len(live):
        raise GalleryError(f"{gallery.folder} holds no rows to export; add images first")
    features = np.empty((len(live), gallery.model.dim), dtype=np.float32)
    step = max(1, _CHUNK_BYTES // gallery.header.row_bytes)
    for start in range(0, len(live), step):
        chunk = live[start : start + step]
        features[start : start + step] = read_stored(gallery.folder, gallery.header, chunk)
    return features


def _common_root(paths: list[str]) -> str:
    """The deepest folder of all images; empty where some are URIs or relative."""
    if not all(Path(path).is_absolute() for path in paths):
        return ""
    return os.path.commonpath([str(Path(path).parent) for path in paths])
