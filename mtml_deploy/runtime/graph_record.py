"""Whether a loaded model is what its artifact's manifest says.

In: what ONNX Runtime or OpenVINO tells of it. Out: nothing, or an error that names the difference.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Protocol

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import (
    EMBEDDINGS_OUTPUT,
    INPUT_NAME,
    METADATA_KEY,
    ORIENTATION_OUTPUT,
    embedded_record,
)
from mtml_deploy.data.records import ORIENTATIONS
from mtml_deploy.errors import ArtifactError
from mtml_deploy.record_file import parse_plain

_TensorType = tuple[str, tuple[int, ...]]
"""ONNX Runtime's name of a type, and the sizes after the batch."""


class Tensor(Protocol):
    """One graph input or output, as ONNX Runtime describes it."""

    @property
    def name(self) -> str:
        """Its name."""
        ...

    @property
    def type(self) -> str:
        """For example "tensor(float)"."""
        ...

    @property
    def shape(self) -> Sequence[int | str | None]:
        """Sizes; None or a name where one is free."""
        ...


def check_record(metadata: Mapping[str, str], artifact: Artifact) -> None:
    """Refuse a model whose own record is not its manifest's."""
    fix = "export it again under a new name: mtml-export RUN --out NEW"
    if METADATA_KEY not in metadata:
        raise ArtifactError(
            f"{artifact.model_path} holds no record {METADATA_KEY}, it was not written by "
            f"mtml-export; {fix}"
        )
    try:
        inside = parse_plain(metadata[METADATA_KEY])
    except ValueError as error:
        raise ArtifactError(
            f"the record {METADATA_KEY} in {artifact.model_path} is not JSON: {error}; {fix}"
        ) from error
    beside = json.loads(embedded_record(artifact.manifest))
    if inside == beside:
        return
    inside = inside if isinstance(inside, dict) else {}
    differing = sorted(
        key for key in inside.keys() | beside.keys() if inside.get(key) != beside.get(key)
    )
    raise ArtifactError(
        f"manifest.json in {artifact.folder} and the record inside its model differ in "
        f"{', '.join(differing)}: one of them was changed; {fix}"
    )


def check_graph(inputs: Sequence[Tensor], outputs: Sequence[Tensor], artifact: Artifact) -> None:
    """Refuse a graph without the inputs and outputs that the manifest promises."""
    manifest = artifact.manifest
    size: tuple[int, ...] = (manifest.height, manifest.width, 3)
    kind = "tensor(uint8)"
    if manifest.form.layout == "nchw-float":
        kind, size = "tensor(float)", (3, manifest.height, manifest.width)
    _check_tensors("inputs", inputs, {INPUT_NAME: (kind, size)}, artifact)
    expected: dict[str, _TensorType] = {EMBEDDINGS_OUTPUT: ("tensor(float)", (manifest.dim,))}
    if manifest.with_orientation:
        expected[ORIENTATION_OUTPUT] = ("tensor(float)", (len(ORIENTATIONS),))
    _check_tensors("outputs", outputs, expected, artifact)


def _check_tensors(
    role: str,
    found: Sequence[Tensor],
    expected: Mapping[str, _TensorType],
    artifact: Artifact,
) -> None:
    """Refuse other names, types or sizes; the batch, the first size, must be free."""
    fits = {tensor.name for tensor in found} == expected.keys() and all(
        tensor.type == expected[tensor.name][0]
        and tuple(tensor.shape[1:]) == expected[tensor.name][1]
        and not isinstance(tensor.shape[0], int)
        for tensor in found
    )
    if not fits:
        have = ", ".join(f"{tensor.name} {tensor.type} {list(tensor.shape)}" for tensor in found)
        want = ", ".join(
            f"{name} {kind} {['B', *sizes]}" for name, (kind, sizes) in expected.items()
        )
        raise ArtifactError(
            f"the {role} of {artifact.model_path} are {have}, its manifest expects {want}; "
            "export it again under a new name: mtml-export RUN --out NEW"
        )
