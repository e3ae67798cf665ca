"""The file of a set of embeddings: .npz, no pickle, read by any NumPy.

In: arrays by name and a manifest, which the file keeps as JSON under the name "header". Out: the
file, and the same values read back.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

import numpy as np

from mtml_deploy.defaults import EMBEDDINGS_SUFFIX
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.files import atomic_file
from mtml_deploy.record_file import Record, SchemaError, parse_json, record_json

ARRAYS: Final = ("features", "vehicle_ids", "camera_ids", "orientations", "tracklet_ids")
"""What every file holds besides the manifest and the names."""

_FIX: Final = "embed the images again: mtml-deploy embed ARTIFACT --images ... --out FILE"
_DAMAGE: Final = (
    # what NumPy and zipfile raise on damaged bytes; a damaged array's head can also ask for
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

M = TypeVar("M", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True)
class FileContent(Generic[M]):
    """What a file holds; whether the arrays fit together is not looked at.

    Attributes:
        manifest: what it says of them.
        arrays: those of `ARRAYS`, and "pixels" where they were counted.
        names: [N] text.
    """

    manifest: M
    arrays: Mapping[str, Any]
    names: tuple[str, ...]


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


def write_content(path: Path, content: FileContent[M]) -> None:
    """Write a file, whole or not at all.

    Args:
        path: target file, replaced if it exists.
        content: what to write.
    """
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            header=np.array(record_json(content.manifest)),
            names=np.array(content.names, dtype=np.str_),
            **content.arrays,
        )


def read_content(path: Path, kind: type[M], make: Callable[[FileContent[M]], T]) -> T:
    """What `make` makes of a file.

    Args:
        path: the .npz file.
        kind: of its manifest.
        make: is given what the file holds; what it raises on values that do not fit is told as
            damage of the file.

    Returns:
        Its result.

    Raises:
        EmbeddingsError: no such file, not an embeddings file, truncated, or another schema.
    """
    if not path.is_file():
        raise EmbeddingsError(f"no embeddings file {path}; {_FIX}")
    try:
        with np.load(path, allow_pickle=False) as file:
            missing = [name for name in ("header", *ARRAYS, "names") if name not in file]
            if missing:
                raise EmbeddingsError(
                    f"{path} is not an embeddings file: it lacks {', '.join(missing)}; {_FIX}"
                )
            manifest = parse_json(str(file["header"][()]), kind)
            names = file["names"]
            if names.ndim != 1 or names.dtype.kind != "U":
                raise ValueError(f"names are text [N], found {names.dtype} {list(names.shape)}")
            known = (*ARRAYS, *(("pixels",) if "pixels" in file else ()))
            arrays = {name: file[name] for name in known}
            return make(FileContent(manifest, arrays, tuple(names.tolist())))
    except SchemaError as error:
        raise EmbeddingsError(f"{path}: {error}; {_FIX}") from error
    except _DAMAGE as error:
        raise EmbeddingsError(f"{path} is corrupted ({error}); {_FIX}") from error
