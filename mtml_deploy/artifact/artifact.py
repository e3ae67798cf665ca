"""The exported model folder: `model.onnx` beside `manifest.json`, all deploy knows of training.

In: a folder. Out: an `Artifact` whose manifest was checked and whose model has the hash it names.
Or in: a model in memory and what it is. Out: the two files, each naming the other.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from msgspec.structs import replace

from mtml_deploy.artifact.manifest import (
    METADATA_KEY,
    Manifest,
    embedded_record,
    manifest_json,
)
from mtml_deploy.artifact.plain_graph import require_plain_graph
from mtml_deploy.errors import ArtifactError
from mtml_deploy.files import restore_folder, write_text
from mtml_deploy.path_kind import what_it_is
from mtml_deploy.record_file import parse_json
from mtml_deploy.regular_file import RECORD_BYTES, open_regular, read_regular
from mtml_deploy.text import printable

if TYPE_CHECKING:
    import onnx

__all__ = [
    "MANIFEST_FILE",
    "METADATA_KEY",
    "MODEL_FILE",
    "Artifact",
    "Manifest",
    "embedded_record",
    "file_sha256",
    "open_artifact",
    "save_manifest",
    "write_artifact",
]

MODEL_FILE: Final = "model.onnx"
MANIFEST_FILE: Final = "manifest.json"


@dataclass(frozen=True)
class Artifact:
    """An exported model on disk.

    Attributes:
        folder: the folder.
        manifest: its checked manifest.
    """

    folder: Path
    manifest: Manifest

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.folder / MODEL_FILE


def file_sha256(path: Path) -> str:
    """SHA-256 of a file's bytes as 64 lower-case hexadecimal digits."""
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def save_manifest(folder: Path, manifest: Manifest) -> None:
    """Write `manifest` to `folder`/manifest.json, whole or not at all."""
    write_text(folder / MANIFEST_FILE, manifest_json(manifest))


def open_artifact(folder: Path) -> Artifact:
    """The artifact in `folder`, its manifest checked and its model file hashed.

    Args:
        folder: what `mtml-export RUN --out MODEL` wrote.

    Returns:
        The artifact. The hash guards against mixed up or damaged files, not against forgery.

    Raises:
        ArtifactError: no such folder or file, a manifest that is not JSON, of another schema or
            with wrong fields, a model file with another hash than the manifest names, or one that
            no export wrote (loops, other files, foreign operators).
    """
    restore_folder(folder)
    fix = "export it again under a new name: mtml-export RUN --out NEW"
    if not (folder / MANIFEST_FILE).is_file() and (what := what_it_is(folder)):
        raise ArtifactError(
            f"{folder} is no artifact, expected a folder with {MODEL_FILE} and {MANIFEST_FILE}"
            f"{what}"
        )
    try:
        str(folder.absolute()).encode("utf-8")
    except UnicodeEncodeError as error:  # the libraries that run models take names in UTF-8 only
        raise ArtifactError(
            f"{printable(folder)}: the name of the folder, or of one above it, is not UTF-8; "
            "rename it"
        ) from error
    if not folder.is_dir():
        found = "is a file" if folder.exists() else "does not exist"
        raise ArtifactError(
            f"{folder} {found}, expected an artifact folder with {MODEL_FILE} and {MANIFEST_FILE}; "
            "give the folder that mtml-export wrote (mtml-export RUN --out MODEL)"
        )
    for name in (MANIFEST_FILE, MODEL_FILE):
        if not (folder / name).is_file():
            raise ArtifactError(f"{folder} is not a whole artifact: it lacks {name}; {fix}")
    manifest_path = folder / MANIFEST_FILE
    try:
        manifest = parse_json(read_regular(manifest_path, most_bytes=RECORD_BYTES), Manifest)
    except ValueError as error:
        raise ArtifactError(f"{manifest_path} is not a valid manifest: {error}; {fix}") from error
    artifact = Artifact(folder=folder, manifest=manifest)
    found = file_sha256(artifact.model_path)
    if found != manifest.model_sha256:
        raise ArtifactError(
            f"{artifact.model_path} has sha256 {found[:12]}... but its manifest expects "
            f"{manifest.model_sha256[:12]}...: the file was changed, truncated or mixed up; {fix}"
        )
    require_plain_graph(artifact.model_path)
    return artifact


def write_artifact(folder: Path, model: onnx.ModelProto, manifest: Manifest) -> Artifact:
    """Write an artifact's two files into a folder that nobody reads yet.

    Args:
        folder: exists; files in it are replaced.
        model: gets the record of the manifest as its only metadata.
        manifest: its model hash is not used.

    Returns:
        The artifact, with the hash of the file that was written.
    """
    import onnx

    del model.metadata_props[:]
    model.metadata_props.add(key=METADATA_KEY, value=embedded_record(manifest))
    path = folder / MODEL_FILE
    onnx.save_model(model, path)
    save_manifest(folder, replace(manifest, model_sha256=file_sha256(path)))
    return open_artifact(folder)
