"""Whole files or none: write beside the target, then rename."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mtml_deploy.errors import OutputExistsError


def require_absent(path: Path, *, overwrite: bool) -> None:
    """Refuse to write over an existing file or folder unless told to.

    Args:
        path: what will be written.
        overwrite: the user's `--overwrite`.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
    """
    # a link that leads nowhere is somebody's, too
    if not overwrite and (path.exists() or path.is_symlink()):
        raise OutputExistsError(
            f"{path} exists already and was left as it is; choose another name or add --overwrite"
        )


@contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; renamed onto it on success, removed on error.

    Args:
        path: the file to write; its folder is created.

    Yields:
        Path of an empty file in the same folder, so that the rename is atomic.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        # mkstemp makes 0600 files; results are meant to be read like any other file
        temporary.chmod(0o666 & ~_umask())
        with temporary.open("rb") as written:
            os.fsync(written.fileno())
        temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


@contextmanager
def atomic_folder(path: Path, *, overwrite: bool = False) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it becomes `path` on success, is removed on error.

    Args:
        path: the folder to make.
        overwrite: replace an existing folder; it stays whole until the new one is complete.

    Yields:
        Path of an empty folder beside `path`.

    Raises:
        OutputExistsError: `path` exists and `overwrite` is false.
    """
    require_absent(path, overwrite=overwrite)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    replaced = temporary.with_suffix(".old")
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        if path.exists():
            path.rename(replaced)
        temporary.rename(path)
        shutil.rmtree(replaced, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all."""
    with atomic_file(path) as temporary:
        # file names that are not UTF-8 never reach here (they are refused), but be total
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _umask() -> int:
    """The process's file creation mask (reading it means setting it)."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
