"""The record of an exported model: what it is, where it comes from, how it was checked.

In: the values an export knows. Out: a checked `Manifest` and its JSON, for the file beside the
model and for the metadata inside it.
"""

from __future__ import annotations

import json
import string
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Final, NoReturn, cast

SCHEMA: Final = 1
METADATA_KEY: Final = "mtml.manifest"
"""Key of `embedded_record` in the metadata of the ONNX file."""

INPUT_NAME: Final = "images"
"""Graph input, uint8 [B, H, W, 3], RGB."""

EMBEDDINGS_OUTPUT: Final = "embeddings"
"""Graph output, float32 [B, D]."""

ORIENTATION_OUTPUT: Final = "orientation"
"""Second graph output where `Manifest.with_orientation`: probabilities, float32 [B, 8]."""

BRANCHES: Final = ("identity", "scale", "gray", "orientation")
"""Branches A to D of the paper, in the order their features are joined."""

PRECISIONS: Final = ("fp32", "fp16", "int8")


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """What an exported model is, where it comes from and how it was checked.

    Attributes:
        schema: version of this record.
        variant: the paper's name of the trained model, for example "MTML-OSG".
        backbone: name of the residual network, for example "resnet50".
        branches: branches in the graph, a subset of `BRANCHES`.
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
        training: data card (sources, images, identities, recipe, steps, seed); JSON values only.
        parity: what the comparison with the trained model measured; JSON values only.
        licence: terms of the weights, in words.
        compression: how the embedding was shortened after training, and what that did to the
            metrics (see `compress`); JSON values only; None for the embedding that was trained.
        conversion: how an fp16 or int8 model was made from the fp32 one (see `precision`); JSON
            values only; None for fp32.
    """

    schema: int = SCHEMA
    variant: str
    backbone: str
    branches: tuple[str, ...]
    embedding: str
    dim: int
    height: int
    width: int
    precision: str
    with_orientation: bool
    model_sha256: str
    checkpoint_sha256: str
    opset: int
    versions: Mapping[str, str]
    training: Mapping[str, object]
    parity: Mapping[str, object]
    licence: str
    compression: Mapping[str, object] | None = None
    conversion: Mapping[str, object] | None = None

    def __post_init__(self) -> None:
        """Refuse a record that no export can have written.

        Raises:
            ValueError: a field of the wrong type or outside its values; the text names the field.
        """
        for name, kind in _KINDS.items():
            value = getattr(self, name)
            # bool is an int in Python but not in a manifest
            if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
                raise ValueError(f"{name} must be {_WORDS[kind]}, found {value!r}")
        if self.schema != SCHEMA:
            raise ValueError(f"schema is {self.schema}, this version reads {SCHEMA}")
        for name in ("dim", "height", "width", "opset"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more, found {getattr(self, name)}")
        _require_one_of("branches", self.branches, BRANCHES)
        if not self.branches or len(set(self.branches)) != len(self.branches):
            raise ValueError(
                f"branches must be one or more names, each once, found {self.branches}"
            )
        _require_one_of("embedding", (self.embedding,), ("fused", "consensus", *self.branches))
        _require_one_of("precision", (self.precision,), PRECISIONS)
        for name in ("model_sha256", "checkpoint_sha256"):
            digits = getattr(self, name)
            if len(digits) != 64 or not set(digits) <= _HEX:
                raise ValueError(
                    f"{name} must be 64 lower-case hexadecimal digits, found {digits!r}"
                )
        if not all(isinstance(version, str) for version in self.versions.values()):
            raise ValueError(f"versions must map names to strings, found {dict(self.versions)}")
        for name in _OPTIONAL:
            if not isinstance(getattr(self, name), Mapping | None):
                raise ValueError(f"{name} must be an object, found {getattr(self, name)!r}")
        for name in ("training", "parity", *_OPTIONAL):
            try:
                json.dumps(dict(getattr(self, name) or {}), allow_nan=False)
            except (TypeError, ValueError, RecursionError) as error:
                raise ValueError(f"{name} must hold JSON values only: {error}") from error


_OPTIONAL: Final = ("compression", "conversion")
"""Fields that a record may lack."""

_HEX: Final = frozenset(string.digits + "abcdef")
_KINDS: Final[Mapping[str, type]] = {
    **dict.fromkeys(("variant", "backbone", "embedding", "precision", "licence"), str),
    **dict.fromkeys(("model_sha256", "checkpoint_sha256"), str),
    **dict.fromkeys(("schema", "dim", "height", "width", "opset"), int),
    **dict.fromkeys(("versions", "training", "parity"), Mapping),
    "branches": tuple,
    "with_orientation": bool,
}
_WORDS: Final[Mapping[type, str]] = {
    str: "a string",
    int: "an integer",
    bool: "true or false",
    tuple: "a list of strings",
    Mapping: "an object",
}


def _require_one_of(name: str, found: tuple[str, ...], known: tuple[str, ...]) -> None:
    """Raise a ValueError where `found` holds a value that is not `known`."""
    for value in found:
        if value not in known:
            raise ValueError(f"{name} must be of {', '.join(known)}, found {value!r}")


def manifest_values(manifest: Manifest) -> dict[str, object]:
    """Every field of `manifest` by name; an optional one only where it is there."""
    values = asdict(manifest)
    return {
        name: value for name, value in values.items() if name not in _OPTIONAL or value is not None
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
    return json.dumps(values, sort_keys=True, allow_nan=False)


def manifest_json(manifest: Manifest) -> str:
    """JSON of the whole manifest for people: keys sorted, two spaces of indentation, newline."""
    return json.dumps(manifest_values(manifest), sort_keys=True, indent=2, allow_nan=False) + "\n"


def parse_manifest(text: str) -> Manifest:
    """The manifest in JSON text, checked.

    Args:
        text: what `manifest_json` returned, or a file a user gave.

    Returns:
        The manifest.

    Raises:
        ValueError: not JSON, another schema, or wrong fields; the text says what was found.
    """
    values = json.loads(text, parse_constant=_refuse_constant)
    if not isinstance(values, dict):
        raise ValueError(f"expected a JSON object, found {type(values).__name__}")
    if values.get("schema") != SCHEMA:  # before the fields: another schema may have others
        raise ValueError(f"schema is {values.get('schema')!r}, this version reads {SCHEMA}")
    known = {field.name for field in fields(Manifest)}
    if missing := sorted(known - set(_OPTIONAL) - values.keys()):
        raise ValueError(f"it lacks {', '.join(missing)}")
    if unknown := sorted(values.keys() - known):
        raise ValueError(f"unknown {', '.join(unknown)}")
    if isinstance(values["branches"], list):
        values["branches"] = tuple(values["branches"])  # JSON has no tuples
    return Manifest(**cast("dict[str, Any]", values))  # the constructor checks every type


def _refuse_constant(text: str) -> NoReturn:
    """Refuse NaN and Infinity, which Python's JSON reader takes but JSON has not."""
    raise ValueError(f"{text} is not JSON")
