"""Vectors of chosen rows as they are stored, checked against their checksums."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.gallery.errors import GalleryError
from mtml_deploy.gallery.segments import Stored, crc32_of, map_rows
from mtml_deploy.gallery.store import FolderGallery


def read_stored(gallery: FolderGallery, chunk: NDArray[np.void]) -> Stored:
    """Vectors [n, D] of rows, checked against their checksums.

    Args:
        gallery: where they are.
        chunk: `NUMBERS` [n].

    Raises:
        GalleryError: a row is missing or corrupted.
    """
    stored = np.empty((len(chunk), gallery.model.dim), dtype=gallery.header.dtype)
    for number in np.unique(chunk["segment"]).tolist():
        here = np.flatnonzero(chunk["segment"] == number)
        slots = chunk["slot"][here]
        # only as far as needed: damage behind these rows is no reason to refuse them
        mapped = map_rows(gallery.folder, number, gallery.header, int(slots.max()) + 1)
        stored[here] = mapped[slots]
    wrong = np.flatnonzero(np.array(crc32_of(stored), dtype=np.uint32) != chunk["crc"])
    if len(wrong):
        row = int(chunk["row"][wrong[0]])
        raise GalleryError(
            f"row {row} of {gallery.folder} is corrupted on disk ({len(wrong)} of {len(chunk)} "
            f"rows read); run mtml-deploy gallery verify {gallery.folder}, then restore a backup "
            "or remove the rows it names and add their images again"
        )
    return stored
