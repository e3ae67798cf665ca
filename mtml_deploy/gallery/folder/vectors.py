"""Files of vectors: a head that says whose they are, then raw rows, only appended to.

A gallery of int8 codes has a second file of each segment, which is written and read the same way.

A file may hold more than was promised (a writer was killed, or is at work): how many rows count is
in the record of rows alone. Rows are on disk before this module returns.
"""

from __future__ import annotations

import json
import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.gallery.folder.int8 import coded_type
from mtml_deploy.gallery.folder.manifest import GalleryManifest
from mtml_deploy.gallery.values import GalleryError

HEAD_BYTES: Final = 4096
"""One page, so that mapped rows are aligned."""

_FOLDER: Final = "vectors"

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
    return gallery / _FOLDER / f"{number:08d}{_SUFFIXES[layer]}"


def layers(manifest: GalleryManifest) -> tuple[Layer, ...]:
    """The files that every segment of a gallery has."""
    return ("vectors", "codes") if manifest.dtype == "int8" else ("vectors",)


def make_folder(gallery: Path) -> None:
    """Make the folder of the vector files."""
    (gallery / _FOLDER).mkdir()


def crc32_of(vectors: NDArray[np.float32]) -> list[int]:
    """Checksum of the bytes of every row."""
    return [zlib.crc32(row.tobytes()) for row in vectors]


def create_segment(gallery: Path, number: int, manifest: GalleryManifest) -> None:
    """Make empty files, in place of those that a killed writer left."""
    for layer in layers(manifest):
        with segment_path(gallery, number, layer).open("wb") as file:
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
    with segment_path(gallery, number, layer).open("r+b") as file:
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
        for path in (gallery / _FOLDER).glob(f"*{_SUFFIXES[layer]}"):
            if path not in sizes:
                path.unlink()
            elif path.stat().st_size > sizes[path]:
                os.truncate(path, sizes[path])


def segment_state(
    gallery: Path, number: int, manifest: GalleryManifest, layer: Layer = "vectors"
) -> FileState:
    """What is found where a file of segment `number` should be; reads no vectors."""
    path = segment_path(gallery, number, layer)
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return FileState(0, "missing")
    if head != _head(manifest, layer):
        return FileState(0, "foreign")
    return FileState((size - HEAD_BYTES) // _row_bytes(manifest, layer), "")


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
    path = _checked_path(gallery, number, manifest, "vectors", rows)
    shape = (rows, manifest.model.dim)
    # a plain array over the map: the subclass would slow down every small operation
    return np.asarray(np.memmap(path, np.float32, "r", offset=HEAD_BYTES, shape=shape))


def map_codes(gallery: Path, number: int, manifest: GalleryManifest, rows: int) -> NDArray[np.void]:
    """The codes of the first `rows` vectors of a segment, read from the file as they are used.

    Returns:
        `coded_type` [rows].

    Raises:
        EmbeddingsError: they are of another model.
        GalleryError: the file is missing or too short.
    """
    path = _checked_path(gallery, number, manifest, "codes", rows)
    row_type = coded_type(manifest.model.dim)
    return np.asarray(np.memmap(path, row_type, "r", offset=HEAD_BYTES, shape=(rows,)))


def _checked_path(
    gallery: Path, number: int, manifest: GalleryManifest, layer: Layer, rows: int
) -> Path:
    """A file of a segment that is this gallery's and holds `rows` rows."""
    state = segment_state(gallery, number, manifest, layer)
    path = segment_path(gallery, number, layer)
    fix = f"run mtml-deploy gallery verify {gallery}, and restore the file from a backup"
    if state.fault == "foreign":
        raise EmbeddingsError(
            f"{path} does not begin as a vector file of this gallery's model and type must; {fix}"
        )
    if state.rows < rows:
        raise GalleryError(
            f"{path} {state.fault or f'holds {state.rows} rows'}, expected {rows} rows; {fix}"
        )
    return path


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
