"""What the files of a data set hold: hash, format, whether they decode, which are equal."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.data.batches import iterate_batches
from mtml_deploy.data.formats import FORMATS, HEAD_BYTES, content_format
from mtml_deploy.regular_file import open_regular

_DECODE_SIZE: Final = 32  # pixels; the whole file is decoded, only the result is small
_DECODE_BATCH: Final = 64


@dataclass(frozen=True)
class FileFacts:
    """One file, not decoded.

    Attributes:
        path: the file.
        sha256: 64 hexadecimal digits; "" where it could not be read.
        format: such as "JPEG", by its first bytes; None for what is not read.
        fault: why it cannot be an image; "" where it can.
    """

    path: Path
    sha256: str
    format: str | None
    fault: str


def read_files(
    paths: Sequence[Path], *, threads: int, done: Callable[[int], None]
) -> dict[Path, FileFacts]:
    """Hash and first bytes of every file.

    Args:
        paths: the files.
        threads: reading threads; 0 means a few per CPU.
        done: called with the number of files read so far.

    Returns:
        Facts by path; a file that cannot be read is a fact too.
    """
    files = {}
    pool = ThreadPoolExecutor(threads or None)
    try:
        for count, file in enumerate(pool.map(_read_file, paths), start=1):
            files[file.path] = file
            done(count)
    finally:
        pool.shutdown(cancel_futures=True)  # an interrupted check must not read on to the end
    return files


def decode_files(
    paths: Sequence[Path], *, threads: int, done: Callable[[int], None]
) -> dict[Path, str]:
    """Reasons why files cannot be decoded, by path; files that can are not in it.

    Args:
        paths: the files.
        threads: decoding threads; 0 means one per CPU.
        done: called with the number of files tried so far.
    """
    faults: dict[Path, str] = {}
    count = 0
    for batch in iterate_batches(
        paths,
        height=_DECODE_SIZE,
        width=_DECODE_SIZE,
        batch_size=_DECODE_BATCH,
        threads=threads,
        skip_bad=True,
    ):
        faults |= {bad.path: bad.reason for bad in batch.bad}
        count += len(batch.indices) + len(batch.bad)
        done(count)
    return faults


def identical_files(
    files: Iterable[FileFacts], *, copies: Mapping[Path, Path]
) -> tuple[tuple[Path, ...], ...]:
    """Groups of two or more files with equal bytes.

    Args:
        files: the files to compare.
        copies: files that are meant to be copies, each with its original; a file whose original is
            in the same group is not counted.

    Returns:
        The groups, sorted.
    """
    groups: dict[str, dict[Path, None]] = defaultdict(dict)
    for file in files:
        groups[file.sha256][file.path] = None
    distinct = (
        tuple(path for path in group if copies.get(path) not in group) for group in groups.values()
    )
    return tuple(sorted(group for group in distinct if len(group) > 1))


def _read_file(path: Path) -> FileFacts:
    """Hash and first bytes of one file."""
    try:
        with open_regular(path) as file:
            name = content_format(file.read(HEAD_BYTES))
            file.seek(0)
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return FileFacts(path, "", None, f"cannot be read ({error.strerror or error})")
    return FileFacts(path, digest, name, "" if name else f"not a {FORMATS}")
