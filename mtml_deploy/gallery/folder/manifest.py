"""The manifest of a gallery in a folder, `gallery.json`: whose vectors it holds and how."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final, Literal

import numpy as np

from mtml_deploy.defaults import StoredType
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.files import write_text
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.path_kind import what_it_is
from mtml_deploy.record_file import Record, SchemaError, parse_json, parse_plain, record_json
from mtml_deploy.regular_file import RECORD_BYTES, read_regular
from mtml_deploy.seal import parse_sealed, sealed_json

_FILE: Final = "gallery.json"


class GalleryManifest(Record, frozen=True):
    """Written once, when the gallery is made.

    Attributes:
        model: the one model whose vectors it holds.
        dtype: how they are kept.
        schema: version of the format on disk.
        check: checksum of the other values, in the file only.
    """

    model: ModelIdentity
    dtype: StoredType
    schema: Literal[2] = 2
    check: str = ""

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector."""
        return np.dtype(np.float32).itemsize * self.model.dim

    @property
    def fingerprint(self) -> str:
        """Hash of model and type, 64 hexadecimal digits, in the head of every vector file."""
        text = record_json([self.model, self.dtype], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


class OldManifest(Record, frozen=True):
    """The manifest of the first version; see `GalleryManifest`."""

    model: ModelIdentity
    dtype: StoredType
    schema: Literal[1]

    def upgraded(self) -> GalleryManifest:
        """The same of this version."""
        return GalleryManifest(model=self.model, dtype=self.dtype)


def save_manifest(folder: Path, manifest: GalleryManifest) -> None:
    """Write the manifest, whole or not at all."""
    write_text(folder / _FILE, sealed_json(manifest))


def load_manifest(folder: Path) -> GalleryManifest:
    """The manifest of the gallery in `folder`.

    Raises:
        GalleryError: no gallery there, a damaged manifest, one of another version, or one of
            float16 vectors, which earlier versions made.
    """
    path, content = _read(folder)
    try:
        _require_readable_vectors(folder, content)
        return parse_sealed(content, GalleryManifest)
    except SchemaError as error:
        if _is_old(content):
            raise GalleryError(
                f"{folder} was made by an earlier version, expected the format of this one; bring "
                f"it there, nothing is lost: mtml-deploy gallery upgrade {folder}"
            ) from error
        raise GalleryError(f"{path}: {error}; use the version that wrote it") from error
    except ValueError as error:
        raise GalleryError(
            f"{path} is damaged: {error}; restore it from a backup of the gallery"
        ) from error


def load_old_manifest(folder: Path) -> OldManifest | None:
    """The manifest of a gallery of the first version; None where it is of this one.

    Raises:
        GalleryError: see `load_manifest`.
    """
    path, content = _read(folder)
    if not _is_old(content):
        load_manifest(folder)
        return None
    _require_readable_vectors(folder, content)
    try:
        return parse_json(content, OldManifest)
    except ValueError as error:
        raise GalleryError(
            f"{path} is damaged: {error}; restore it from a backup of the gallery"
        ) from error


def _read(folder: Path) -> tuple[Path, bytes]:
    """The manifest's path and content."""
    path = folder / _FILE
    if not path.is_file():
        raise GalleryError(
            f"{folder} is not a gallery: it lacks {_FILE}{what_it_is(folder)}; make one with "
            f"mtml-deploy gallery create GALLERY MODEL"
        )
    try:
        return path, read_regular(path, most_bytes=RECORD_BYTES)
    except OSError as error:
        raise GalleryError(
            f"{path} cannot be read ({error}); check its permissions, or restore the gallery from "
            "a backup"
        ) from error


def _is_old(content: bytes) -> bool:
    """Whether a manifest says that it is of the first version."""
    try:
        values = parse_plain(content)
    except ValueError:
        return False
    return isinstance(values, dict) and type(values.get("schema")) is int and values["schema"] == 1


def _require_readable_vectors(folder: Path, content: bytes) -> None:
    """Refuse float16 vectors; a ValueError where the manifest is not JSON."""
    values = parse_plain(content)
    if isinstance(values, dict) and values.get("dtype") == "float16":
        raise GalleryError(
            f"{folder} holds float16 vectors, which are no longer read, expected float32 or "
            "int8; with the previous release run: mtml-deploy gallery export "
            f"{folder} --out rows.npz, then with this one: mtml-deploy gallery create NEW "
            "MODEL, and: mtml-deploy gallery add NEW --embeddings rows.npz (times "
            "are not in that file; give them with --times)"
        )
