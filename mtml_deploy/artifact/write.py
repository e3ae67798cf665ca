"""Model and manifest on disk, each naming the other.

In: a model in memory and what it is. Out: the two files of an artifact in a folder.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mtml_deploy.artifact.artifact import (
    MODEL_FILE,
    Artifact,
    file_sha256,
    open_artifact,
    save_manifest,
)
from mtml_deploy.artifact.manifest import METADATA_KEY, Manifest, embedded_record

if TYPE_CHECKING:
    import onnx


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
