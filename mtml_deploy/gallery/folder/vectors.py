"""Files of vectors: a head that says whose they are, then raw rows, only appended to.

A gallery of int8 codes has a second file of each segment, which is written and read the same way.

A file may hold more than was promised (a writer was killed, or is at work): how many rows count is
in the record of rows alone. Rows are on disk before this module returns.
"""

from __future__ import annotations

import json
import os
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedRandom
from pathlib import Path
from typing import Final, Literal, cast

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.gallery.folder.int8 import coded_type
from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.regular_file import regular_handle
from mtml_deploy.write_error import write_error

HEAD_BYTES: Final = 4096
"""One page, so that mapped rows are aligned."""

_FOLDER: Final = "vectors"
_DIGITS: Final = 8
"""Of a segment's number in the name of its files."""

Layer = Literal["vectors", "codes"]
"""Which file of a segment: the vectors that decide, or codes of them that are scanned first."""

_SUFFIXES: Final[dict[Layer, str]] = {"vectors": ".bin", "codes": ".codes"}


@dataclass(frozen=True)
class FileState:
    """What is found where a vector file should be.

    Attributes:
        rows: whole rows in it; 0 where it is missing or foreign.
        fault: "missing", "foreign" (of another model, size or type) or "" where it is usable.
    """

    rows: int
    fault: Literal["", "missing", "foreign"]


def segment_path(gallery: Path, number: int, layer: Layer = "vectors") -> Path:
    """A file of segment `number`."""
    return gallery / _FOLDER / f"{number:0{_DIGITS}d}{_SUFFIXES[layer]}"


def layers(manifest: GalleryManifest) -> tuple[Layer, ...]:
    """The files that every segment of a gallery has."""
    return ("vectors", "codes") if manifest.dtype == "int8" else ("vectors",)


def require_folder(gallery: Path) -> None:
    """Refuse a gallery without its folder of vector files, or with something else in its place.

    Raises:
        GalleryError: no such folder; a link is none, since what is written and deleted in it would
            be somewhere else.
    """
    path = gallery / _FOLDER
    if path.is_symlink() or not path.is_dir():
        found = "is a link" if path.is_symlink() else "is missing or no folder"
        raise GalleryError(
            f"{path} {found}, expected the folder of the vector files; restore it from a backup"
        )


def make_folder(gallery: Path) -> None:
    """Make the folder of the vector files."""
    (gallery / _FOLDER).mkdir()


def crc32_of(vectors: NDArray[np.float32]) -> list[int]:
    """Checksum of the bytes of every row."""
    return [zlib.crc32(row.tobytes()) for row in vectors]


def create_segment(gallery: Path, number: int, manifest: GalleryManifest) -> None:
    """Make empty files, in place of those that a killed writer left."""
    with _told(gallery):
        for layer in layers(manifest):
            path = segment_path(gallery, number, layer)
            path.unlink(missing_ok=True)
            with path.open("xb") as file:
                file.write(_head(manifest, layer))
                file.flush()
                os.fsync(file.fileno())
        folder = os.open(gallery / _FOLDER, os.O_RDONLY)
        try:
            os.fsync(folder)  # the files' names, too, must survive a power cut
        finally:
            os.close(folder)


def write_rows(
    gallery: Path,
    number: int,
    manifest: GalleryManifest,
    *,
    first: int,
    rows: NDArray[np.float32] | NDArray[np.void],
    layer: Layer = "vectors",
) -> None:
    """Write rows and wait until they are on disk.

    Args:
        gallery: folder of the gallery.
        number: segment.
        manifest: of the gallery.
        first: slot of the first row; everything from there on is overwritten.
        rows: vectors float32 [n, D], or `coded_type` [n].
        layer: which file they belong in.
    """
    with _told(gallery), _opened(segment_path(gallery, number, layer), write=True) as file:
        file.seek(HEAD_BYTES + first * _row_bytes(manifest, layer))
        file.write(np.ascontiguousarray(rows).data)
        file.flush()
        os.fsync(file.fileno())


def cut_files(gallery: Path, manifest: GalleryManifest, committed: dict[int, int]) -> None:
    """Remove what a killed writer left behind; only the holder of the writer lock may.

    Args:
        gallery: folder of the gallery.
        manifest: of the gallery.
        committed: segment -> rows that count.
    """
    for layer in layers(manifest):
        sizes = {
            segment_path(gallery, number, layer): HEAD_BYTES + rows * _row_bytes(manifest, layer)
            for number, rows in committed.items()
        }
        # by the names of our own files: anything else that lies there is left alone
        with _told(gallery):
            for path in (gallery / _FOLDER).glob(f"{'[0-9]' * _DIGITS}{_SUFFIXES[layer]}"):
                mode = path.lstat()
                if path not in sizes:
                    path.unlink()
                elif stat.S_ISREG(mode.st_mode) and mode.st_size > sizes[path]:
                    os.truncate(path, sizes[path])


def segment_state(
    gallery: Path, number: int, manifest: GalleryManifest, layer: Layer = "vectors"
) -> FileState:
    """What is found where a file of segment `number` should be; reads no vectors."""
    try:
        with _opened(segment_path(gallery, number, layer)) as file:
            return _state(file, manifest, layer)
    except OSError:  # also something else of that name
        return FileState(0, "missing")


def map_rows(
    gallery: Path, number: int, manifest: GalleryManifest, rows: int
) -> NDArray[np.float32]:
    """The first `rows` vectors of a segment, read from the file as they are used.

    Returns:
        float32 [rows, D].

    Raises:
        EmbeddingsError: they are of another model.
        GalleryError: the file is missing or too short.
    """
    shape = (rows, manifest.model.dim)
    with _checked_file(gallery, number, manifest, "vectors", rows) as file:
        # a plain array over the map: the subclass would slow down every small operation
        return np.asarray(np.memmap(file, np.float32, "r", offset=HEAD_BYTES, shape=shape))


def map_codes(gallery: Path, number: int, manifest: GalleryManifest, rows: int) -> NDArray[np.void]:
    """The codes of the first `rows` vectors of a segment, read from the file as they are used.

    Returns:
        `coded_type` [rows].

    Raises:
        EmbeddingsError: they are of another model.
        GalleryError: the file is missing or too short.
    """
    row_type = coded_type(manifest.model.dim)
    with _checked_file(gallery, number, manifest, "codes", rows) as file:
        return np.asarray(np.memmap(file, row_type, "r", offset=HEAD_BYTES, shape=(rows,)))


def _checked_file(
    gallery: Path, number: int, manifest: GalleryManifest, layer: Layer, rows: int
) -> BufferedRandom:
    """A file of a segment that is this gallery's and holds `rows` rows, open."""
    path = segment_path(gallery, number, layer)
    fix = f"run mtml-deploy gallery verify {gallery}, and restore the file from a backup"
    try:
        file = _opened(path)
    except OSError as error:
        found = "missing" if isinstance(error, FileNotFoundError) else f"cannot be read ({error})"
        raise GalleryError(f"{path} {found}, expected {rows} rows; {fix}") from error
    state = _state(file, manifest, layer)
    if not state.fault and state.rows >= rows:
        return file
    file.close()
    if state.fault:
        raise EmbeddingsError(
            f"{path} does not begin as a vector file of this gallery's model and type must; {fix}"
        )
    raise GalleryError(f"{path} holds {state.rows} rows, expected {rows} rows; {fix}")


@contextmanager
def _told(gallery: Path) -> Iterator[None]:
    """What the system says about writing, as GalleryError."""
    try:
        yield
    except OSError as error:
        told = write_error(gallery, error, error.errno)
        raise GalleryError(f"the vectors of {told}") from error


def _opened(path: Path, *, write: bool = False) -> BufferedRandom:
    """A vector file, open; OSError where there is none, or something else of that name."""
    handle = regular_handle(path, (os.O_RDWR if write else os.O_RDONLY) | os.O_NOFOLLOW)
    return cast(BufferedRandom, os.fdopen(handle, "r+b" if write else "rb"))


def _state(file: BufferedRandom, manifest: GalleryManifest, layer: Layer) -> FileState:
    """What an open file holds."""
    if file.read(HEAD_BYTES) != _head(manifest, layer):
        return FileState(0, "foreign")
    size = os.fstat(file.fileno()).st_size
    return FileState((size - HEAD_BYTES) // _row_bytes(manifest, layer), "")


def _row_bytes(manifest: GalleryManifest, layer: Layer) -> int:
    """Bytes of one row of a file."""
    return manifest.row_bytes if layer == "vectors" else coded_type(manifest.model.dim).itemsize


def _head(manifest: GalleryManifest, layer: Layer) -> bytes:
    """The first bytes of every file of a gallery."""
    values = {
        "magic": f"mtml gallery {layer} 1",
        "dtype": manifest.dtype,
        "dim": manifest.model.dim,
        "model_sha256": manifest.model.model_sha256,
        "fingerprint": manifest.fingerprint,
    }
    return json.dumps(values).encode().ljust(HEAD_BYTES - 1) + b"\n"
