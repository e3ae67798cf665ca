"""An index that was checked against the gallery it is used with."""

from __future__ import annotations

from dataclasses import dataclass
from tokenize import TokenError

import numpy as np

from mtml_deploy.artifact.artifact import file_sha256
from mtml_deploy.gallery.approximate.ivf import InvertedFile, require_faiss
from mtml_deploy.gallery.folder.gallery import FolderGallery
from mtml_deploy.gallery.index_manifest import (
    IndexManifest,
    index_path,
    load_index_manifest,
    rebuild,
    rows_path,
)
from mtml_deploy.gallery.values import GalleryError


@dataclass(frozen=True)
class OpenIndex:
    """An index in memory.

    Attributes:
        manifest: its manifest.
        file: the inverted file.
    """

    manifest: IndexManifest
    file: InvertedFile


def open_index(gallery: FolderGallery) -> OpenIndex:
    """The index of a gallery, in memory.

    Its files must be those that were built, and every row of the gallery that is not newer than the
    index must be in it with the very vector it has now. Rows that were removed since do no harm.

    Args:
        gallery: open for reading or writing.

    Returns:
        The index; good for as long as the gallery is open.

    Raises:
        GalleryError: there is none, or it is damaged, of another gallery, or of another state.
        MissingExtraError: faiss is not installed.
    """
    require_faiss()
    folder = gallery.folder
    manifest = load_index_manifest(folder)
    if manifest is None:
        raise GalleryError(
            f"{folder} has no approximate index; build one: mtml-deploy gallery index {folder}, "
            f"then mtml-deploy gallery tune {folder}"
        )
    if manifest.fingerprint != gallery.manifest.fingerprint:
        raise GalleryError(
            f"the index of {folder} was built for another model or type; {rebuild(folder)}"
        )
    for path, expected in (
        (index_path(folder, manifest.name), manifest.index_sha256),
        (rows_path(folder, manifest.name), manifest.rows_sha256),
    ):
        found = file_sha256(path) if path.is_file() else "missing"
        if found != expected:
            raise GalleryError(
                f"{path} is not the file that was built: its sha256 is {found[:12]}, expected "
                f"{expected[:12]}; {rebuild(folder)}"
            )
    _require_same_rows(gallery, manifest)
    file = InvertedFile.read(index_path(folder, manifest.name))
    if (file.lists, file.dim, file.rows) != (manifest.lists, gallery.model.dim, manifest.rows):
        raise GalleryError(
            f"the index of {folder} holds {file.rows} rows of {file.dim} values in {file.lists} "
            f"lists, expected {manifest.rows} of {gallery.model.dim} in {manifest.lists}; "
            f"{rebuild(folder)}"
        )
    return OpenIndex(manifest, file)


def _require_same_rows(gallery: FolderGallery, manifest: IndexManifest) -> None:
    """Refuse an index that lacks rows, or has other vectors under their numbers."""
    path = rows_path(gallery.folder, manifest.name)
    try:
        # mapped: a head that promises more than the file holds is refused before any memory is
        # taken
        indexed = np.load(path, allow_pickle=False, mmap_mode="r")  # [n, 2]
        right = indexed.dtype == np.int64 and indexed.shape == (manifest.rows, 2)
        right = right and bool((np.diff(indexed[:, 0]) > 0).all())
    except (OSError, ValueError, SyntaxError, EOFError, TokenError) as error:
        raise GalleryError(f"{path} cannot be read ({error}); {rebuild(gallery.folder)}") from error
    if not right or indexed[-1, 0] != manifest.last_row:
        raise GalleryError(
            f"{path} is not a table of {manifest.rows} rows, the last of which is "
            f"{manifest.last_row}; {rebuild(gallery.folder)}"
        )
    with gallery.table.snapshot():
        numbers = gallery.table.numbers()
    live = numbers[~numbers["removed"] & (numbers["row"] <= manifest.last_row)]
    places = np.searchsorted(indexed[:, 0], live["row"])
    places[places == len(indexed)] = 0
    same = (indexed[places, 0] == live["row"]) & (indexed[places, 1] == live["crc"])
    if not same.all():
        row = int(live["row"][np.argmin(same)])
        raise GalleryError(
            f"the index of {gallery.folder} was built from another state of it: row {row} is not "
            f"in it as it is now ({np.count_nonzero(~same)} of {len(live)} rows); "
            f"{rebuild(gallery.folder)}"
        )
