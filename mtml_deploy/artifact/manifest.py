"""The record of an exported model: what it is, where it comes from, how it was checked.

In: the values an export knows. Out: a checked `Manifest` and its JSON, for the file beside the
model and for the metadata inside it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Final, Literal, get_args

import msgspec

from mtml_deploy.artifact.input_form import PLAIN, InputForm
from mtml_deploy.output_kind import json_kind
from mtml_deploy.record_file import Positive, Record, Sha256, record_json, require_fields

METADATA_KEY: Final = "mtml.manifest"
"""Key of `embedded_record` in the metadata of the ONNX file."""

INPUT_NAME: Final = "images"
"""Graph input, uint8 [B, H, W, 3], RGB, where `Manifest.input` says nothing else."""

EMBEDDINGS_OUTPUT: Final = "embeddings"
"""Graph output, float32 [B, D]."""

ORIENTATION_OUTPUT: Final = "orientation"
"""Second graph output where `Manifest.with_orientation`: probabilities, float32 [B, 8]."""

Branch = Literal["identity", "scale", "gray", "orientation"]
Precision = Literal["fp32", "fp16", "int8"]
NeckSide = Literal["before", "after"]
Normalised = Literal["whole", "branches"]

BRANCHES: Final[tuple[Branch, ...]] = get_args(Branch)
"""Branches A to D of the paper, in the order their features are joined."""


class Manifest(Record, frozen=True, kw_only=True):
    """What an exported model is, where it comes from and how it was checked.

    Attributes:
        schema: version of this record.
        variant: the paper's name of the trained model, for example "MTML-OSG".
        backbone: name of the residual network, for example "resnet50".
        branches: branches in the graph, one or more, each once.
        embedding: "fused", "consensus" or one of `branches`.
        dim: length D of one embedding.
        height: input image height in pixels.
        width: input image width in pixels.
        precision: "fp32", "fp16" or "int8".
        with_orientation: the graph has the second output `ORIENTATION_OUTPUT`.
        model_sha256: hash of the model file, 64 lower-case hexadecimal digits.
        checkpoint_sha256: hash of the trained weights it was exported from.
        opset: ONNX operator set version.
        versions: versions of the libraries that exported it.
        training: data card (sources, images, how many of them had an orientation, identities,
            recipe, steps, seed); JSON values only.
        parity: what the comparison with the trained model measured; JSON values only.
        licence: terms of the weights, in words.
        compression: how the embedding was shortened after training, and what that did to the
            metrics (see `compress`); JSON values only; None for the embedding that was trained.
        neck: whether features are taken "before" or "after" the BatchNorm that each branch was
            trained with; None for a model without.
        normalised: what the graph scales to length 1: the "whole" embedding, or each of the
            "branches" first, which then all count alike; None for lengths as the model gives them.
        flip_averaged: the graph averages the features of each image and its mirror image.
        conversion: how an fp16 or int8 model was made from the fp32 one (see `precision`); JSON
            values only; None for fp32.
        input: what the graph takes where that is not bytes [B, H, W, 3] RGB; None where it is.
        ir_version: of the ONNX file, where one was asked for.
    """

    schema: Literal[1] = 1
    variant: str
    backbone: str
    branches: Annotated[tuple[Branch, ...], msgspec.Meta(min_length=1)]
    embedding: str
    dim: Positive
    height: Positive
    width: Positive
    precision: Precision
    with_orientation: bool
    model_sha256: Sha256
    checkpoint_sha256: Sha256
    opset: Positive
    versions: Mapping[str, str]
    training: Mapping[str, object]
    parity: Mapping[str, object]
    licence: str
    neck: NeckSide | None = None
    normalised: Normalised | None = None
    flip_averaged: bool = False
    compression: Mapping[str, object] | None = None
    conversion: Mapping[str, object] | None = None
    input: InputForm | None = None
    ir_version: Positive | None = None

    def __post_init__(self) -> None:
        """Refuse a record that no export can have written.

        Raises:
            ValueError: a field of the wrong type or outside its values; the text names the field.
        """
        require_fields(self)
        if len(set(self.branches)) != len(self.branches):
            raise ValueError(f"branches must be names, each once, found {self.branches}")
        known = ("fused", "consensus", *self.branches)
        if self.embedding not in known:
            raise ValueError(
                f"embedding must be one of {', '.join(known)}, found {self.embedding!r}"
            )
        if self.normalised == "branches" and self.embedding == "consensus":
            raise ValueError(
                "normalised must be whole or absent for the consensus embedding, found branches"
            )
        for name in ("training", "parity", "compression", "conversion"):
            try:
                json.dumps(dict(getattr(self, name) or {}), allow_nan=False)
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"{name} must hold JSON values only: {error}") from error

    @property
    def form(self) -> InputForm:
        """What the graph takes."""
        return self.input or PLAIN

    @property
    def learnt_orientations(self) -> int | None:
        """Training images of known orientation; None where the record does not tell."""
        count = self.training.get("images_with_orientation")
        return count if type(count) is int else None


_OPTIONAL: Final = (
    "neck", "normalised", "flip_averaged", "compression", "conversion", "input", "ir_version",
)  # fmt: skip
"""Fields that a record may lack."""


def manifest_values(manifest: Manifest) -> dict[str, object]:
    """Every field of `manifest` by name; an optional one only where it is there."""
    values = msgspec.structs.asdict(manifest)
    return {
        name: value
        for name, value in values.items()
        if name not in _OPTIONAL or not (value is None or value is False)
    }


def embedded_record(manifest: Manifest) -> str:
    """JSON of `manifest` without `model_sha256` (a file cannot hold its own hash), keys sorted.

    Args:
        manifest: the record; its `model_sha256` is not used.

    Returns:
        One line of JSON, for the ONNX metadata under `METADATA_KEY`.
    """
    values = manifest_values(manifest)
    del values["model_sha256"]
    return record_json(values, sort_keys=True)


MANIFEST_JSON: Final = json_kind(
    "the manifest of a model as JSON", "schema", "variant", "model_sha256", "checkpoint_sha256"
)


def manifest_json(manifest: Manifest) -> str:
    """JSON of the whole manifest for people: keys sorted, two spaces of indentation, newline."""
    return record_json(manifest_values(manifest), indent=2, sort_keys=True) + "\n"
