"""The file of a set of embeddings: .npz, no pickle, read by any NumPy.

In: arrays by name and a manifest, which the file keeps as JSON under the name "header". Out: the
file, and the same values read back.
"""

from __future__ import annotations

import math
import re
import struct
import sys
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.defaults import EMBEDDINGS_SUFFIX
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.files import atomic_file
from mtml_deploy.output_kind import FileKind
from mtml_deploy.path_kind import what_it_is
from mtml_deploy.record_file import Record, SchemaError, parse_json, record_json
from mtml_deploy.regular_file import NotAFileError, open_regular

ARRAYS: Final = ("features", "vehicle_ids", "camera_ids", "orientations", "tracklet_ids")
"""What every file holds besides the manifest and the names."""

OPTIONAL: Final = ("pixels", "times_us")
"""What a file may hold."""

_FIX: Final = "embed the images again: mtml-deploy embed MODEL --images ... --out FILE.npz"
_DAMAGE: Final = (
    # what zipfile raises on damaged bytes; unknown compression or encryption is a RuntimeError
    ValueError,
    LookupError,
    OSError,
    EOFError,
    RuntimeError,
    struct.error,
    zipfile.BadZipFile,
)
_TEXTS: Final = ("header", "names", "id_texts")
_NEEDED: Final = ("header", *ARRAYS, "names")
_KNOWN: Final = (*_NEEDED, *OPTIONAL, "id_texts")
_NUMBERS: Final = {
    "features": ("<f4",),
    "pixels": ("<i4",),
    "times_us": ("<i8",),
    "orientations": ("<i4",),
    # ids that are texts have numbers of 64 bits
    **dict.fromkeys(("vehicle_ids", "camera_ids", "tracklet_ids"), ("<i4", "<i8")),
}
_HEAD_BYTES: Final = 1 << 10
"""Of the head of an array, which NumPy writes in 128."""
_LENGTHS_AT: Final = 26
"""Where a member's head in a zip file has the lengths of its name and of what follows that."""
_CHUNK_BYTES: Final = 1 << 20
_CUT_OFF: Final = re.compile(
    # the first member's head, its name, and how the record in it begins
    rb"PK\x03\x04.{26}header\.npy.{0,64}?\x93NUMPY.*?\{\0{3}\"\0{3}s\0{3}c\0{3}h\0{3}e\0{3}m\0{3}a",
    re.DOTALL,
)

M = TypeVar("M", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True)
class FileContent(Generic[M]):
    """What a file holds; whether the arrays fit together is not looked at.

    Attributes:
        manifest: what it says of them.
        arrays: those of `ARRAYS`, and of `OPTIONAL` what is known.
        names: [N] text.
        id_texts: of the ids that are texts; a file without such ids has no array of them.
    """

    manifest: M
    arrays: Mapping[str, Any]
    names: tuple[str, ...]
    id_texts: tuple[str, ...] = ()


def _is_embeddings(path: Path) -> bool:
    """Whether a file holds embeddings, whole or cut off: by its list of arrays, else its first."""
    with open_regular(path) as file:
        try:
            with zipfile.ZipFile(file) as archive:
                found = {name.removesuffix(".npy") for name in archive.namelist()}
                return found >= set(_NEEDED)
        except zipfile.BadZipFile:
            file.seek(0)
            return _CUT_OFF.match(file.read(_HEAD_BYTES)) is not None


EMBEDDINGS: Final = FileKind("an embeddings file", _is_embeddings)


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
    texts = {"names": content.names, **({"id_texts": content.id_texts} if content.id_texts else {})}
    arrays: dict[str, Any] = {name: np.array(each, dtype=np.str_) for name, each in texts.items()}
    with atomic_file(path) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            header=np.array(record_json(content.manifest)),
            **arrays,
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
    try:
        with _opened(path) as opened:
            arrays = _read_arrays(opened)
        manifest = parse_json(str(arrays.pop("header")[()]), kind)
        names = tuple(arrays.pop("names").tolist())
        id_texts = tuple(arrays.pop("id_texts").tolist()) if "id_texts" in arrays else ()
        "".join((*names, *id_texts)).encode()  # half of a character is no name
        return make(FileContent(manifest, arrays, names, id_texts))
    except _NotEmbeddingsError as error:
        raise EmbeddingsError(f"{path} is not an embeddings file: {error}; {_FIX}") from error
    except SchemaError as error:
        raise EmbeddingsError(f"{path}: {error}; {_FIX}") from error
    except _DAMAGE as error:
        if isinstance(error, zipfile.BadZipFile) and path.suffix != EMBEDDINGS_SUFFIX:
            raise EmbeddingsError(
                f"{path} is not an embeddings file{what_it_is(path)}; {_FIX}"
            ) from error
        raise EmbeddingsError(f"{path} is corrupted ({error}); {_FIX}") from error


def _opened(path: Path) -> BinaryIO:
    """The file, open; an EmbeddingsError where that fails."""
    try:
        return open_regular(path)
    except FileNotFoundError as error:
        raise EmbeddingsError(f"no embeddings file {path}; {_FIX}") from error
    except NotAFileError as error:
        raise EmbeddingsError(f"{error}{what_it_is(path)}") from error
    except (OSError, ValueError) as error:
        raise EmbeddingsError(f"{path} cannot be opened ({error}); name a file of yours") from error


class _NotEmbeddingsError(Exception):
    """A whole file of something else."""


def _read_arrays(opened: BinaryIO) -> dict[str, NDArray[Any]]:
    """Every array of a file, its checksum compared; no room is made for more than the file has.

    Raises:
        _NotEmbeddingsError: its arrays are not those of an embeddings file.
        ValueError: one of them is damaged; and the other errors of `_DAMAGE`.
    """
    with zipfile.ZipFile(opened) as archive:
        members = archive.infolist()
        found = [member.filename.removesuffix(".npy") for member in members]
        if missing := [name for name in _NEEDED if name not in found]:
            raise _NotEmbeddingsError(f"it lacks {', '.join(missing)}")
        if unknown := [name for name in found if name not in _KNOWN]:
            raise _NotEmbeddingsError(f"it has the unknown {unknown[0]!r}")
        if len(set(found)) < len(found):
            raise ValueError("an array is there twice")
        if any(member.compress_type != zipfile.ZIP_STORED for member in members):
            raise ValueError("an array is compressed")
        _require_gapless(opened, members, archive.start_dir)
        return {
            name: _parse_array(name, _read_member(archive, member))
            for name, member in zip(found, members, strict=True)
        }


def _require_gapless(opened: BinaryIO, members: Sequence[zipfile.ZipInfo], end: int) -> None:
    """Refuse members that do not follow each other up to `end`: one may be lost, or too large."""
    at = 0
    for member in members:
        opened.seek(at + _LENGTHS_AT)
        name_bytes, extra_bytes = struct.unpack("<HH", opened.read(4))
        if member.header_offset != at:
            break
        at += _LENGTHS_AT + 4 + name_bytes + extra_bytes + member.file_size
    if at != end:
        raise ValueError(f"its arrays do not fill the {end:,} bytes before its list of arrays")


def _read_member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> NDArray[np.uint8]:
    """All bytes of a member, uint8 [n]."""
    content = np.empty(member.file_size, np.uint8)
    at = 0
    with archive.open(member) as stream:
        while chunk := stream.read(_CHUNK_BYTES):  # the last compares the checksum
            content[at : at + len(chunk)] = np.frombuffer(chunk, np.uint8)
            at += len(chunk)
    if at != len(content):
        raise ValueError(f"{member.filename} ends after {at:,} of {len(content):,} bytes")
    return content


def _parse_array(name: str, content: NDArray[np.uint8]) -> NDArray[Any]:
    """The array in the bytes of a .npy file, which it shares."""
    head = BytesIO(content[:_HEAD_BYTES].tobytes())
    try:
        if (version := np.lib.format.read_magic(head)) != (1, 0):
            raise ValueError(f"version {version}")
        shape, by_columns, dtype = np.lib.format.read_array_header_1_0(head)
    except Exception as error:  # NumPy evaluates the head, which can end in any way
        raise ValueError(f"the head of {name}: {error}") from error
    expected = (f"<U{dtype.itemsize // 4}",) if name in _TEXTS else _NUMBERS[name]
    dims = {"header": 0, "features": 2}.get(name, 1)
    values = content[head.tell() :]
    if dtype.str not in expected or len(shape) != dims or by_columns:
        raise ValueError(
            f"{name} is {dtype} {list(shape)}, expected {' or '.join(expected)} of {dims} sizes"
        )
    if math.prod(shape) * dtype.itemsize != len(values) or min(shape, default=0) < 0:
        raise ValueError(f"{name} is {dtype} {list(shape)}, which has not {len(values):,} bytes")
    if name in _TEXTS and (values.view("<u4") > sys.maxunicode).any():
        raise ValueError(f"{name} holds what is no character")
    return np.ndarray(shape, dtype, values)
