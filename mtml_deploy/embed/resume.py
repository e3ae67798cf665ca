"""Rows of an embedding run that is under way: a folder that survives a kill at any moment.

In: batches of rows as they are computed. Out: the rows so far, in order, for the next attempt.

The folder holds `header.json` (whose rows they are), `rows.f32` (raw float32 rows, only appended
to) and `batches.jsonl` (one line per finished batch, written after its rows, with what is known of
their images only once they are decoded, and the checksum of it all).
A batch counts only if its line is whole and its checksum right; anything after the last such batch
is cut off on resume.
"""

from __future__ import annotations

import zlib
from contextlib import suppress
from pathlib import Path
from typing import Final

import numpy as np
from msgspec.structs import replace
from numpy.typing import NDArray

from mtml_deploy.closing import Closing
from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.files import atomic_folder, write_text
from mtml_deploy.record_file import Count, Record, parse_json, record_json
from mtml_deploy.regular_file import RECORD_BYTES, open_regular, read_regular
from mtml_deploy.write_error import writing

_HEADER: Final = "header.json"
_ROWS: Final = "rows.f32"
_BATCHES: Final = "batches.jsonl"
_FIX: Final = "start from the first image with --overwrite, or choose another --out"


class RowsManifest(Record, frozen=True):
    """Whose rows they are; a run is continued only by one with an equal manifest.

    Attributes:
        model: the model that makes the rows.
        source: what the user asked to embed.
        root: folder of the images, absolute.
        images_sha256: hash of the ordered names and labels of the images.
    """

    model: ModelIdentity
    source: str
    root: str
    images_sha256: str


class _Batch(Record, frozen=True):
    """One line of `batches.jsonl`.

    Attributes:
        crc32: checksum of the bytes of this batch's rows and of the fields below.
        pixels: for each row, the pixels of its image before resizing.
        position: images of the list before this position are dealt with.
        bad: (position, reason) of images left out, reported with this batch.
    """

    crc32: Count
    pixels: tuple[Count, ...]
    position: Count
    bad: tuple[tuple[int, str], ...]


class PartialRows(Closing):
    """The folder, open for appending; a context manager.

    Attributes:
        folder: where it is.
        count: rows so far.
        position: images of the list before this position are dealt with.
        bad: (position, reason) of the images that were left out, ascending.
    """

    def __init__(self, folder: Path, manifest: RowsManifest, *, resume: bool) -> None:
        """Start in a new folder, or continue in one that exists.

        Args:
            folder: where to keep the rows.
            manifest: whose rows they are.
            resume: continue where an earlier run stopped; a folder that does not exist is begun.

        Raises:
            OutputExistsError: the folder exists and `resume` is false.
            EmbeddingsError: the folder belongs to another model, source or list of images, or is
                not one of these folders.
        """
        self.folder = folder
        self.count = 0
        self.position = 0
        self.bad: tuple[tuple[int, str], ...] = ()
        self._manifest = manifest
        self._pixels: list[int] = []
        if resume and folder.exists():
            self._continue()
        else:
            with atomic_folder(folder) as temporary:
                write_text(temporary / _HEADER, record_json(manifest, indent=2) + "\n")
                (temporary / _ROWS).touch()
                (temporary / _BATCHES).touch()
        self._rows_file = (folder / _ROWS).open("ab")
        self._batches_file = (folder / _BATCHES).open("ab")

    def append(
        self,
        rows: NDArray[np.float32],
        *,
        pixels: NDArray[np.int32],
        position: int,
        bad: tuple[tuple[int, str], ...],
    ) -> None:
        """Add one finished batch.

        Args:
            rows: float32 [B, D], B may be 0.
            pixels: int32 [B], pixels of each row's image before resizing.
            position: images of the list before this position are dealt with.
            bad: (position, reason) of images left out since the last call; one at or after
                `position` is met again by a run that continues from here.
        """
        content = rows.tobytes()
        batch = _Batch(0, tuple(pixels.tolist()), position, bad)
        batch = replace(batch, crc32=_checksum(content, batch))
        with writing(self.folder):
            # the rows first: a line must never promise rows that are not there
            self._rows_file.write(content)
            self._rows_file.flush()
            self._batches_file.write(record_json(batch).encode() + b"\n")
            self._batches_file.flush()
        self.count += len(rows)
        self._pixels += batch.pixels
        self.position = position
        self.bad += bad

    def rows(self) -> NDArray[np.float32]:
        """All rows so far, float32 [N, D], read from the file as they are used."""
        shape = (self.count, self._manifest.model.dim)
        if not self.count:
            return np.empty(shape, dtype=np.float32)  # an empty file cannot be mapped
        return np.memmap(self.folder / _ROWS, dtype=np.float32, mode="r", shape=shape)

    def pixels(self) -> NDArray[np.int32]:
        """Pixels of each row's image before resizing, int32 [N]."""
        return np.array(self._pixels, dtype=np.int32)

    def remove(self) -> None:
        """Close and delete the folder."""
        self.close()
        remove_partial_rows(self.folder)

    def close(self) -> None:
        """Close the files, keeping them."""
        for file in (self._rows_file, self._batches_file):
            with suppress(OSError):  # the rest of a batch that could not be written
                file.close()

    def _continue(self) -> None:
        """Check the manifest, find the last whole batch and cut both files there."""
        try:
            _require_same(self.folder, self._manifest)
            row_bytes = np.dtype(np.float32).itemsize * self._manifest.model.dim
            batches, lines_bytes = _whole_batches(self.folder, row_bytes)
            self._pixels = [count for batch in batches for count in batch.pixels]
            self.count = len(self._pixels)
            with (self.folder / _ROWS).open("r+b") as rows:
                rows.truncate(self.count * row_bytes)
            with (self.folder / _BATCHES).open("r+b") as lines:
                lines.truncate(lines_bytes)
        except (OSError, ValueError) as error:
            raise EmbeddingsError(
                f"{self.folder} is not an interrupted embedding run ({error}); {_FIX}"
            ) from error
        self.position = batches[-1].position if batches else 0
        self.bad = tuple(
            image for batch in batches for image in batch.bad if image[0] < self.position
        )


def remove_partial_rows(folder: Path) -> None:
    """Delete the folder of a `PartialRows`; does nothing where there is none.

    Args:
        folder: the folder.

    Raises:
        EmbeddingsError: it holds files of others, which are left alone.
    """
    if not folder.exists():
        return
    try:
        others = {path.name for path in folder.iterdir()} - {_HEADER, _ROWS, _BATCHES}
        if others:
            raise EmbeddingsError(
                f"{folder} holds {min(others)!r}, which no embedding run wrote; "
                "move it away or choose another --out"
            )
        for name in (_BATCHES, _ROWS, _HEADER):  # the manifest last: until then it can be resumed
            with suppress(FileNotFoundError):
                (folder / name).unlink()
        folder.rmdir()
    except OSError as error:
        raise EmbeddingsError(f"{folder} cannot be removed: {error}; move it away") from error


def _require_same(folder: Path, wanted: RowsManifest) -> None:
    """Refuse a folder with another manifest; ValueError where it holds none."""
    found = parse_json(read_regular(folder / _HEADER, most_bytes=RECORD_BYTES), RowsManifest)
    names = RowsManifest.__struct_fields__
    if others := [name for name in names if getattr(found, name) != getattr(wanted, name)]:
        raise EmbeddingsError(
            f"{folder} holds an interrupted run with another {', '.join(others)}, expected the "
            f"one of this run; {_FIX}"
        )


def _whole_batches(folder: Path, row_bytes: int) -> tuple[list[_Batch], int]:
    """The finished batches, and the bytes of their lines in `batches.jsonl`."""
    batches: list[_Batch] = []
    lines_bytes = 0
    with open_regular(folder / _ROWS) as rows, open_regular(folder / _BATCHES) as lines:
        while line := lines.readline(RECORD_BYTES):
            batch = _parse_batch(line)
            if batch is None:
                break
            content = rows.read(len(batch.pixels) * row_bytes)
            if _checksum(content, batch) != batch.crc32:
                break
            batches.append(batch)
            lines_bytes += len(line)
    return batches, lines_bytes


def _checksum(content: bytes, batch: _Batch) -> int:
    """CRC-32 of a batch's rows and then of its line, the checksum itself as 0."""
    line = record_json(replace(batch, crc32=0)).encode()
    return zlib.crc32(line, zlib.crc32(content))


def _parse_batch(line: bytes) -> _Batch | None:
    """One line of `batches.jsonl`; None where it was cut off by a kill or damaged."""
    if not line.endswith(b"\n"):
        return None
    try:
        return parse_json(line, _Batch)
    except ValueError:
        return None
