"""The manifest of an approximate index, `index/card.json`, and the files it names.

The manifest is written last and names its files, so that a kill at any moment leaves the old index
or the new one.
"""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.files import write_text
from mtml_deploy.gallery.values import GalleryError

SCHEMA: Final = 1
_FOLDER: Final = "index"
_FILE: Final = "card.json"


@dataclass(frozen=True)
class Tuning:
    """What was measured, and the setting that was chosen by it.

    Attributes:
        probes: lists that a search looks at.
        recall: share of the exact nearest rows that were found so; 0..1.
        target: recall that was asked for.
        top_k: places of the lists that were compared.
        queries: how many queries.
    """

    probes: int
    recall: float
    target: float
    top_k: int
    queries: int


@dataclass(frozen=True)
class IndexManifest:
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
    fingerprint: str
    index_sha256: str
    rows_sha256: str
    rows: int
    last_row: int
    lists: int
    tuning: Tuning | None = None
    schema: int = SCHEMA


def index_path(gallery: Path, name: str) -> Path:
    """The faiss file."""
    return gallery / _FOLDER / f"{name}.faiss"


def rows_path(gallery: Path, name: str) -> Path:
    """The table of rows in the index."""
    return gallery / _FOLDER / f"{name}.npy"


def save_index_manifest(gallery: Path, manifest: IndexManifest) -> None:
    """Write the manifest, whole or not at all, then delete the files of earlier ones."""
    folder = gallery / _FOLDER
    write_text(folder / _FILE, json.dumps(asdict(manifest), indent=2) + "\n")
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
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    try:
        values = json.loads(text)
        if values["schema"] != SCHEMA:
            raise ValueError(f"schema is {SCHEMA}, found {values['schema']!r}")
        if values["tuning"] is not None:
            values["tuning"] = Tuning(**values["tuning"])
        manifest = IndexManifest(**values)
        if Path(manifest.name).name != manifest.name:
            raise ValueError(f"name is a file name, found {manifest.name!r}")
    except (ValueError, TypeError, KeyError) as error:
        raise GalleryError(f"{path} is damaged ({error}); {rebuild(gallery)}") from error
    return manifest


def rebuild(gallery: Path) -> str:
    """What to do about an index that is of no use."""
    return f"build it again: mtml-deploy gallery index {gallery}"
