"""Chosen rows: their vectors, checked against their checksums."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import MtmlError
from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.folder.rows import RowTable
from mtml_deploy.gallery.folder.vectors import crc32_of, map_rows
from mtml_deploy.gallery.values import GalleryError

_ATTEMPTS: Final = 5
"""Reads before giving up, should compactions keep replacing the files meanwhile."""


def read_stored(
    folder: Path, manifest: GalleryManifest, chunk: NDArray[np.void]
) -> NDArray[np.float32]:
    """Vectors float32 [n, D] of rows, checked against their checksums.

    Args:
        folder: the gallery.
        manifest: its manifest.
        chunk: `NUMBERS` [n].

    Raises:
        GalleryError: a row is missing or corrupted.
    """
    stored = np.empty((len(chunk), manifest.model.dim), dtype=np.float32)
    for number in np.unique(chunk["segment"]).tolist():
        here = np.flatnonzero(chunk["segment"] == number)
        slots = chunk["slot"][here]
        # only as far as needed: damage behind these rows is no reason to refuse them
        mapped = map_rows(folder, number, manifest, int(slots.max()) + 1)
        stored[here] = mapped[slots]
    require_crcs(folder, stored, chunk)
    return stored


def require_crcs(folder: Path, stored: NDArray[np.float32], chunk: NDArray[np.void]) -> None:
    """Refuse vectors float32 [n, D] whose checksums are not those of their rows, `NUMBERS` [n].

    Raises:
        GalleryError: a row is corrupted.
    """
    wrong = np.flatnonzero(np.array(crc32_of(stored), dtype=np.uint32) != chunk["crc"])
    if len(wrong):
        row = int(chunk["row"][wrong[0]])
        raise GalleryError(
            f"row {row} of {folder} is corrupted on disk ({len(wrong)} of {len(chunk)} "
            f"rows read); run mtml-deploy gallery verify {folder}, then restore a backup "
            "or remove the rows it names and add their images again"
        )


def read_rows(
    folder: Path, manifest: GalleryManifest, table: RowTable, rows: Sequence[int]
) -> NDArray[np.float32]:
    """Vectors of rows by their numbers; see `Gallery.vectors`.

    Args:
        folder: the gallery.
        manifest: its manifest.
        table: its record of rows.
        rows: row numbers.

    Raises:
        GalleryError: a row is not there, missing or corrupted.
    """
    for attempt in range(_ATTEMPTS):
        with table.snapshot():
            rewrites = table.rewrites()
            chunk = table.numbers_of(rows)
        absent = sorted(set(rows) - set(chunk["row"].tolist()))
        if absent:
            raise GalleryError(
                f"{folder} does not hold row {absent[0]} ({len(absent)} of {len(set(rows))} rows "
                "asked for), expected rows that were not removed; search again"
            )
        try:
            stored = read_stored(folder, manifest, chunk)
            break
        except MtmlError:
            # a compaction may have replaced the files after they were looked up
            if table.rewrites() == rewrites or attempt == _ATTEMPTS - 1:
                raise
    return stored[np.searchsorted(chunk["row"], rows)]
