"""Embeddings of a set of images or tracklets with their labels, and their file: .npz, no pickle.

In: float32 features and what is known of each row. Out: a file any NumPy can read, which also says
which model made it, so that embeddings of different models are never compared.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Literal, cast, get_args

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.defaults import EMBEDDINGS_SUFFIX
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.files import atomic_file

SCHEMA: Final = 2
_ARRAYS: Final = ("features", "vehicle_ids", "camera_ids", "orientations", "tracklet_ids", "names")

Unit = Literal["image", "tracklet"]
"""What one row of `Embeddings` stands for."""

_DAMAGE: Final = (
    # what NumPy, zipfile and json raise on damaged bytes; a damaged header can also ask for
    # absurdly large arrays (MemoryError), unknown compression or encryption (RuntimeError)
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    OSError,
    EOFError,
    RuntimeError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)


@dataclass(frozen=True)
class ModelIdentity:
    """Which model made an embedding; two embeddings are comparable only if all of it is equal.

    Attributes:
        model_sha256: hash of the model file that ran, 64 hexadecimal digits.
        precision: "fp32", "fp16" or "int8".
        embedding: "fused", "consensus" or the name of one branch.
        dim: length of one embedding.
    """

    model_sha256: str
    precision: str
    embedding: str
    dim: int


@dataclass(frozen=True)
class Embeddings:
    """Features of N images, or of N tracklets, row-aligned with their labels.

    Attributes:
        features: float32 [N, D], finite, C-contiguous, as the model gave them (not normalised).
        vehicle_ids: int32 [N], -1 unknown.
        camera_ids: int32 [N], -1 unknown.
        orientations: int32 [N], 0..7, -1 unknown.
        tracklet_ids: int32 [N], -1 unknown.
        names: [N] paths relative to `root`, with forward slashes; a tracklet has that of its first
            image.
        root: folder the images were read from; used only to show them again.
        source: what the user asked to embed, for example "veri:DIR#gallery".
        model: which model made them.
        pixels: int32 [N], 1 or more, width times height of each image before resizing; None where
            nobody counted them, and for tracklets.
        unit: what one row stands for, "image" or "tracklet".
    """

    features: NDArray[np.float32]
    vehicle_ids: NDArray[np.int32]
    camera_ids: NDArray[np.int32]
    orientations: NDArray[np.int32]
    tracklet_ids: NDArray[np.int32]
    names: tuple[str, ...]
    root: str
    source: str
    model: ModelIdentity
    pixels: NDArray[np.int32] | None = None
    unit: Unit = "image"

    def __post_init__(self) -> None:
        """Refuse arrays that do not fit together.

        Raises:
            ValueError: wrong dtype, shape, length or unit, a feature that is not finite, or a count
                of pixels below 1.
        """
        rows, dim = self.features.shape if self.features.ndim == 2 else (-1, -1)
        if self.features.dtype != np.float32 or dim != self.model.dim:
            raise ValueError(
                f"features must be float32 [N, {self.model.dim}], "
                f"found {self.features.dtype} {list(self.features.shape)}"
            )
        for name in (*_ARRAYS[1:-1], *(("pixels",) if self.pixels is not None else ())):
            labels = getattr(self, name)
            if labels.shape != (rows,) or labels.dtype != np.int32:
                raise ValueError(f"{name} must be int32 [{rows}], found {labels.dtype} "
                                 f"{list(labels.shape)}")  # fmt: skip
        if len(self.names) != rows:
            raise ValueError(f"{rows} features but {len(self.names)} names")
        if self.unit not in get_args(Unit):
            raise ValueError(f"unit is {' or '.join(get_args(Unit))}, found {self.unit!r}")
        if self.pixels is not None and (self.pixels < 1).any():
            raise ValueError(f"pixels are 1 or more, found {self.pixels.min()}")
        finite = np.isfinite(self.features).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise ValueError(f"row {row} ({self.names[row]}) holds a value that is not finite")

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.names)


def require_comparable(query: Embeddings, gallery: Embeddings) -> None:
    """Refuse to compare embeddings that different models made; images and tracklets may be mixed.

    Args:
        query: one set.
        gallery: the other.

    Raises:
        EmbeddingsError: model hash, precision, kind of embedding or dimension differ.
    """
    for field in fields(ModelIdentity):
        left, right = getattr(query.model, field.name), getattr(gallery.model, field.name)
        if left != right:
            raise EmbeddingsError(
                f"these embeddings cannot be compared: {field.name} is {left} for {query.source} "
                f"but {right} for {gallery.source}; embed both with the same artifact"
            )


def comparison_mode(query: Unit, gallery: Unit) -> str:
    """What is compared with what, as the literature names it: for example "image-to-track".

    Args:
        query: what a row of the query set stands for.
        gallery: the same of the gallery.
    """
    short = {"image": "image", "tracklet": "track"}
    return f"{short[query]}-to-{short[gallery]}"


def require_suffix(path: Path) -> None:
    """Refuse a file name that would not be known as that of an embeddings file.

    Args:
        path: what will be written.

    Raises:
        EmbeddingsError: it does not end in .npz.
    """
    if path.suffix != EMBEDDINGS_SUFFIX:
        raise EmbeddingsError(
            f"{path} does not end in {EMBEDDINGS_SUFFIX}, as embeddings files must; "
            f"say for example --out {path.with_suffix(EMBEDDINGS_SUFFIX)}"
        )


def save_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write `embeddings` to `path` (.npz), whole or not at all.

    Args:
        path: target file, replaced if it exists (callers ask first).
        embeddings: what to write.
    """
    header = {
        "schema": SCHEMA,
        "root": embeddings.root,
        "source": embeddings.source,
        "unit": embeddings.unit,
        "model": asdict(embeddings.model),
    }
    known = _ARRAYS[:-1] if embeddings.pixels is None else (*_ARRAYS[:-1], "pixels")
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            header=np.array(json.dumps(header)),
            names=np.array(embeddings.names, dtype=np.str_),
            **{name: getattr(embeddings, name) for name in known},
        )


def load_embeddings(path: Path) -> Embeddings:
    """Embeddings read back from a file of `save_embeddings`.

    Args:
        path: the .npz file.

    Returns:
        The embeddings, checked.

    Raises:
        EmbeddingsError: no such file, not an embeddings file, truncated, or another schema.
    """
    fix = "embed the images again: mtml-deploy embed ARTIFACT --images ... --out FILE"
    if not path.is_file():
        raise EmbeddingsError(f"no embeddings file {path}; {fix}")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("header", *_ARRAYS) if name not in file]
            if missing:
                raise EmbeddingsError(
                    f"{path} is not an embeddings file: it lacks {', '.join(missing)}; {fix}"
                )
            header = json.loads(str(file["header"][()]))
            names = file["names"]
            if names.ndim != 1 or names.dtype.kind != "U":
                raise ValueError(f"names are text [N], found {names.dtype} {list(names.shape)}")
            if header["schema"] != SCHEMA:
                raise EmbeddingsError(
                    f"{path} has schema {header['schema']}, this version reads {SCHEMA}; {fix}"
                )
            return Embeddings(
                **{name: file[name] for name in _ARRAYS[:-1]},
                names=tuple(names.tolist()),
                root=str(header["root"]),
                source=str(header["source"]),
                model=ModelIdentity(**header["model"]),
                pixels=file.get("pixels"),
                unit=cast(Unit, header["unit"]),  # checked like the rest
            )
    except _DAMAGE as error:
        raise EmbeddingsError(f"{path} is corrupted ({error}); {fix}") from error
