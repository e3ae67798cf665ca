"""The manifest of an approximate index, `index/card.json`, and the files it names.

The manifest is written last and names its files, so that a kill at any moment leaves the old index
or the new one.
"""

from __future__ import annotations

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
    record_json,
)
from mtml_deploy.regular_file import RECORD_BYTES, read_regular

_FOLDER: Final = "index"
_FILE: Final = "card.json"


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
    """

    name: str
    fingerprint: Sha256
    index_sha256: Sha256
    rows_sha256: Sha256
    rows: Count
    last_row: Count
    lists: Positive
    tuning: Tuning | None
    schema: Literal[1] = 1

    def __post_init__(self) -> None:
        """Refuse a name that leads out of the folder.

        Raises:
            ValueError: it is not the name of a file.
        """
        if Path(self.name).name != self.name:
            raise ValueError(f"name is a file name, found {self.name!r}")


def index_path(gallery: Path, name: str) -> Path:
    """The faiss file."""
    return gallery / _FOLDER / f"{name}.faiss"


def rows_path(gallery: Path, name: str) -> Path:
    """The table of rows in the index."""
    return gallery / _FOLDER / f"{name}.npy"


def save_index_manifest(gallery: Path, manifest: IndexManifest) -> None:
    """Write the manifest, whole or not at all, then delete the files of earlier ones."""
    folder = gallery / _FOLDER
    write_text(folder / _FILE, record_json(manifest, indent=2) + "\n")
    named = {index_path(gallery, manifest.name), rows_path(gallery, manifest.name), folder / _FILE}
    for path in folder.iterdir():
        if path not in named:
            with suppress(FileNotFoundError):
                path.unlink()


def load_index_manifest(gallery: Path) -> IndexManifest | None:
    """The manifest of a gallery's index; None where it has no index.

    Raises:
        GalleryError: a damaged manifest or one of another version.
    """
    path = gallery / _FOLDER / _FILE
    try:
        return parse_json(read_regular(path, most_bytes=RECORD_BYTES), IndexManifest)
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise GalleryError(f"{path} is damaged ({error}); {rebuild(gallery)}") from error


def rebuild(gallery: Path) -> str:
    """What to do about an index that is of no use."""
    return f"build it again: mtml-deploy gallery index {gallery}"
