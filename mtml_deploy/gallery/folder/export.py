"""All rows of a gallery in a folder, as embeddings."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.errors import MtmlError
from mtml_deploy.gallery.export import labelled
from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.folder.reader import read_stored
from mtml_deploy.gallery.folder.rows import RowTable
from mtml_deploy.gallery.values import GalleryError

_CHUNK_BYTES: Final = 1 << 24
"""Vectors read at once (16 MiB)."""

_ATTEMPTS: Final = 5
"""Passes before giving up, should rows be removed or moved during each."""


def export_embeddings(folder: Path, manifest: GalleryManifest, table: RowTable) -> Embeddings:
    """All rows in the order of their numbers; row numbers have no place in the result.

    Args:
        folder: the gallery.
        manifest: its manifest.
        table: its record of rows.

    Returns:
        The embeddings, float32, in memory.

    Raises:
        GalleryError: no row, or a row is missing or corrupted.
    """
    for attempt in range(_ATTEMPTS):
        with table.snapshot():
            rewrites = table.rewrites()
            numbers = table.numbers()
            records = [stored.record for stored in table.records()]
        try:
            features = _features(folder, manifest, numbers[~numbers["removed"]])
            break
        except MtmlError:
            # a compaction may have replaced the files meanwhile
            if table.rewrites() == rewrites or attempt == _ATTEMPTS - 1:
                raise
    return labelled(features, records, name=str(folder), model=manifest.model)


def _features(
    folder: Path, manifest: GalleryManifest, live: NDArray[np.void]
) -> NDArray[np.float32]:
    """Vectors float32 [n, D] of rows, `NUMBERS` [n]."""
    if not len(live):
        raise GalleryError(f"{folder} holds no rows to export; add images first")
    features = np.empty((len(live), manifest.model.dim), dtype=np.float32)
    step = max(1, _CHUNK_BYTES // manifest.row_bytes)
    for start in range(0, len(live), step):
        chunk = live[start : start + step]
        features[start : start + step] = read_stored(folder, manifest, chunk)
    return features
