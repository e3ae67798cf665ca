"""An artifact whose graph takes another input, or is a file for older runtimes.

In: an artifact as exported. Out: another one, compared with it before it is written.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace

from mtml_deploy.artifact.artifact import Artifact, open_artifact, write_artifact
from mtml_deploy.artifact.artifact_folder import ARTIFACT
from mtml_deploy.artifact.input_form import PLAIN, InputForm
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.artifact.onnx_file import load_model
from mtml_deploy.errors import ArtifactError
from mtml_deploy.handover.graph_edit import change_input, change_versions
from mtml_deploy.outputs import output_folder
from mtml_deploy.parity.agreement import agreement, require
from mtml_deploy.runtime.open import open_runtime

_IMAGES: Final = 4
"""Images of noise that both graphs are given: every pixel has another value."""

_MIN_COSINE: Final = 0.9999
"""Levels are the same numbers in either form; of normalised ones the last digits differ, and an
int8 graph may round such a number to the next step."""


@dataclass(frozen=True)
class Variant:
    """What a graph becomes.

    Attributes:
        form: of its input.
        opset: operator set; None keeps it.
        ir_version: of the file; None keeps it.
    """

    form: InputForm = PLAIN
    opset: int | None = None
    ir_version: int | None = None


def write_variant(
    artifact: Artifact, out: Path, variant: Variant, *, overwrite: bool = False
) -> Artifact:
    """Write an artifact with another input.

    Args:
        artifact: its graph takes bytes.
        out: folder to make.
        variant: what to change.
        overwrite: replace an artifact that is there.

    Returns:
        The artifact in `out`.

    Raises:
        ArtifactError: see `make_variant`.
        ParityError: see `make_variant`; nothing is written.
        OutputExistsError: `out` may not be written.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    with output_folder(out, ARTIFACT, overwrite=overwrite, inputs=(artifact.folder,)) as folder:
        make_variant(artifact, folder, variant)
    return open_artifact(out)


def make_variant(artifact: Artifact, folder: Path, variant: Variant) -> Artifact:
    """Write the two files of a variant into a folder that nobody reads yet, and compare it.

    Args:
        artifact: its graph takes bytes.
        folder: exists.
        variant: what to change.

    Returns:
        The artifact in `folder`.

    Raises:
        ArtifactError: the graph does not begin as exports do, takes another form already, or
            cannot be said in the operator set.
        ParityError: the result does not give what `artifact` gives.
    """
    manifest = artifact.manifest
    if manifest.form != PLAIN:
        raise ArtifactError(
            f"{artifact.folder} takes {manifest.form} already, expected {PLAIN}; give the "
            "artifact exported with --input nhwc-uint8"
        )
    model = load_model(artifact.model_path)
    change_input(model, variant.form, manifest)
    model = change_versions(model, opset=variant.opset, ir_version=variant.ir_version)
    written = write_artifact(folder, model, _described(manifest, variant))
    shape = (_IMAGES, manifest.height, manifest.width, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    with open_runtime(artifact) as runtime:
        expected = runtime.run(images)
    with open_runtime(written) as runtime:
        found = agreement(expected, runtime.run(images))
    require("cosine to the graph with the plain input", found.cosine_min, at_least=_MIN_COSINE)
    return written


def _described(manifest: Manifest, variant: Variant) -> Manifest:
    """The manifest of a variant."""
    return replace(
        manifest,
        input=None if variant.form == PLAIN else variant.form,
        opset=variant.opset or manifest.opset,
        ir_version=variant.ir_version,
    )
