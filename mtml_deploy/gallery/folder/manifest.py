"""The manifest of a gallery in a folder, `gallery.json`: whose vectors it holds and how."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, get_args

import numpy as np

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.files import write_text
from mtml_deploy.gallery.values import GalleryError, StoredType

SCHEMA: Final = 1
_FILE: Final = "gallery.json"


@dataclass(frozen=True)
class GalleryManifest:
    """Written once, when the gallery is made.

    Attributes:
        model: the one model whose vectors it holds.
        dtype: how they are kept.
        schema: version of the format on disk.
    """

    model: ModelIdentity
    dtype: StoredType
    schema: int = SCHEMA

    @property
    def row_bytes(self) -> int:
        """Bytes of one vector."""
        return np.dtype(np.float32).itemsize * self.model.dim

    @property
    def fingerprint(self) -> str:
        """Hash of model and type, 64 hexadecimal digits, in the head of every vector file."""
        text = json.dumps([asdict(self.model), self.dtype], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()


def save_manifest(folder: Path, manifest: GalleryManifest) -> None:
    """Write the manifest, whole or not at all."""
    write_text(folder / _FILE, json.dumps(asdict(manifest), indent=2) + "\n")


def load_manifest(folder: Path) -> GalleryManifest:
    """The manifest of the gallery in `folder`.

    Raises:
        GalleryError: no gallery there, a damaged manifest, one of another version, or one of
            float16 vectors, which earlier versions made.
    """
    path = folder / _FILE
    if not path.is_file():
        raise GalleryError(
            f"{folder} is not a gallery: it lacks {_FILE}; make one with "
            f"mtml-deploy gallery create {folder} --model ARTIFACT"
        )
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["schema"] != SCHEMA:
            raise GalleryError(
                f"{path} has schema {values['schema']}, this version reads {SCHEMA}; use the "
                "version that wrote it"
            )
        if values["dtype"] == "float16":
            raise GalleryError(
                f"{folder} holds float16 vectors, which are no longer read, expected float32 or "
                "int8; with the previous release run: mtml-deploy gallery export "
                f"{folder} --out rows.npz, then with this one: mtml-deploy gallery create NEW "
                "--model ARTIFACT, and: mtml-deploy gallery add NEW --embeddings rows.npz (times "
                "are not in that file; give them with --times)"
            )
        model = ModelIdentity(**values["model"])
        if not isinstance(model.dim, int) or model.dim < 1:
            raise ValueError(f"dim is 1 or more, found {model.dim!r}")
        if values["dtype"] not in get_args(StoredType):
            raise ValueError(f"dtype is one of {get_args(StoredType)}, found {values['dtype']!r}")
        return GalleryManifest(model=model, dtype=values["dtype"])
    except (ValueError, TypeError, KeyError) as error:
        raise GalleryError(
            f"{path} is damaged ({error!r}); restore it from a backup of the gallery"
        ) from error
