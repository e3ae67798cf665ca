"""The file of a set of embeddings: .npz, no pickle, read by any NumPy.

In: arrays by name and a header of JSON values. Out: the file, and the same values read back.
"""

from __future__ import annotations

import json
import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

import numpy as np

from mtml_deploy.defaults import EMBEDDINGS_SUFFIX
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.files import atomic_file

SCHEMA: Final = 2
ARRAYS: Final = ("features", "vehicle_ids", "camera_ids", "orientations", "tracklet_ids")
"""What every file holds besides the header and the names."""

_FIX: Final = "embed the images again: mtml-deploy embed ARTIFACT --images ... --out FILE"
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

T = TypeVar("T")


@dataclass(frozen=True)
class FileContent:
    """What a file holds; whether the arrays fit together is not looked at.

    Attributes:
        header: root, source, unit and model.
        arrays: those of `ARRAYS`, and "pixels" where they were counted.
        names: [N] text.
    """

    header: Mapping[str, Any]
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


def write_content(path: Path, content: FileContent) -> None:
    """Write a file, whole or not at all.

    Args:
        path: target file, replaced if it exists.
        content: what to write.
    """
    header = {"schema": SCHEMA, **content.header}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            header=np.array(json.dumps(header)),
            names=np.array(content.names, dtype=np.str_),
            **content.arrays,
        )


def read_content(path: Path, make: Callable[[FileContent], T]) -> T:
    """What `make` makes of a file.

    Args:
        path: the .npz file.
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
            header = json.loads(str(file["header"][()]))
            names = file["names"]
            if names.ndim != 1 or names.dtype.kind != "U":
                raise ValueError(f"names are text [N], found {names.dtype} {list(names.shape)}")
            if header["schema"] != SCHEMA:
                raise EmbeddingsError(
                    f"{path} has schema {header['schema']}, this version reads {SCHEMA}; {_FIX}"
                )
            known = (*ARRAYS, *(("pixels",) if "pixels" in file else ()))
            arrays = {name: file[name] for name in known}
            return make(FileContent(header, arrays, tuple(names.tolist())))
    except _DAMAGE as error:
        raise EmbeddingsError(f"{path} is corrupted ({error}); {_FIX}") from error
