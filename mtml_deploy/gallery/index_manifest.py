"""The manifest of an approximate index, `index/card.json`, and the files it names.

The manifest is written last and names its files, so that a kill at any moment leaves the old index
or the new one.
"""

from __future__ import annotations

import re
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.files import write_text
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.record_file import (
    Count,
    Fraction,
    Positive,
    Record,
    Sha256,
    parse_json,
)
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_deploy.seal import parse_sealed, sealed_json

_FOLDER: Final = "index"
_FILE: Final = "card.json"
_SUFFIXES: Final = (".faiss", ".npy")
_NAME: Final = re.compile(r"\w{1,64}", re.ASCII)
_MOST_ROWS: Final = 1 << 33
"""Row numbers that a search keeps a bit of each for."""


class Tuning(Record, frozen=True):
    """What was measured, and the setting that was chosen by it.

    Attributes:
        probes: lists that a search looks at.
        recall: share of the exact nearest rows that were found so; 0..1.
        target: recall that was asked for.
        top_k: places of the lists that were compared.
        queries: how many queries.
    """

    probes: Positive
    recall: Fraction
    target: Fraction
    top_k: Positive
    queries: Positive


class IndexManifest(Record, frozen=True):
    """One approximate index.

    Attributes:
        name: its files are NAME.faiss, the index, and NAME.npy, the rows in it.
        fingerprint: of the gallery's model and type.
        index_sha256: of NAME.faiss.
        rows_sha256: of NAME.npy.
        rows: how many are in it.
        last_row: the highest row number when it was built; rows above are searched exactly.
        lists: of the inverted file.
        tuning: None before `gallery tune`.
        schema: version of the format.
        check: checksum of the other values, in the file only.
    """

    name: str
    fingerprint: Sha256
    index_sha256: Sha256
    rows_sha256: Sha256
    rows: Count
    last_row: Count
    lists: Positive
    tuning: Tuning | None
    schema: Literal[2] = 2
    check: str = ""

    def __post_init__(self) -> None:
        """Refuse a name that leads out of the folder, and numbers that contradict each other.

        Raises:
            ValueError: it is not the name of a file, or numbers that no index has.
        """
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"name is a file name, found {self.name[:80]!r}")
        if not self.lists <= self.rows <= self.last_row < _MOST_ROWS:
            raise ValueError(
                f"lists are at most as many as rows, and these not beyond the last one, found "
                f"{self.lists} lists, {self.rows} rows, the last {self.last_row}"
            )
        if self.tuning is not None and self.tuning.probes > self.lists:
            raise ValueError(f"{self.tuning.probes} probes of {self.lists} lists")


class OldIndexManifest(Record, frozen=True):
    """The manifest of the first version; see `IndexManifest`."""

    name: str
    fingerprint: Sha256
    index_sha256: Sha256
    rows_sha256: Sha256
    rows: Count
    last_row: Count
    lists: Positive
    tuning: Tuning | None
    schema: Literal[1]


def index_path(gallery: Path, name: str) -> Path:
    """The faiss file."""
    return gallery / _FOLDER / f"{name}.faiss"


def rows_path(gallery: Path, name: str) -> Path:
    """The table of rows in the index."""
    return gallery / _FOLDER / f"{name}.npy"


def save_index_manifest(gallery: Path, manifest: IndexManifest) -> None:
    """Write the manifest, whole or not at all, then delete the files of earlier ones."""
    folder = gallery / _FOLDER
    write_text(folder / _FILE, sealed_json(manifest))
    named = {index_path(gallery, manifest.name), rows_path(gallery, manifest.name), folder / _FILE}
    for path in folder.iterdir():
        # by the names of our own files: anything else that lies there is left alone
        if path not in named and path.suffix in _SUFFIXES and _NAME.fullmatch(path.stem):
            with suppress(OSError):
                path.unlink()


def load_index_manifest(gallery: Path) -> IndexManifest | None:
    """The manifest of a gallery's index; None where it has no index.

    Raises:
        GalleryError: a damaged manifest or one of another version.
    """
    path = gallery / _FOLDER / _FILE
    try:
        return parse_sealed(read_regular(path, most_bytes=RECORD_BYTES), IndexManifest)
    except FileNotFoundError:
        if path.is_symlink():
            raise GalleryError(f"{path} leads nowhere; {rebuild(gallery)}") from None
        return None
    except (OSError, ValueError) as error:
        raise GalleryError(f"{path} is damaged ({error}); {rebuild(gallery)}") from error


def upgrade_index_manifest(gallery: Path) -> None:
    """Write a manifest of the first version as one of this; one that is no such is left alone."""
    path = gallery / _FOLDER / _FILE
    try:
        old = parse_json(read_regular(path, most_bytes=RECORD_BYTES), OldIndexManifest)
        values = {name: getattr(old, name) for name in OldIndexManifest.__struct_fields__}
        new = IndexManifest(**values | {"schema": 2})
    except (OSError, ValueError):
        return
    save_index_manifest(gallery, new)


def rebuild(gallery: Path) -> str:
    """What to do about an index that is of no use."""
    return f"build it again: mtml-deploy gallery index {gallery}"
