"""Whole files or none: write beside the target, then rename."""

from __future__ import annotations

import glob
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from mtml_deploy.errors import OutputExistsError

_REPLACED: Final = ".old"
"""End of the name of a folder that is being replaced."""


def require_absent(path: Path) -> None:
    """Refuse to write where something is, for what never replaces anything.

    Args:
        path: what will be written.

    Raises:
        OutputExistsError: `path` exists.
    """
    # a link that leads nowhere is somebody's, too
    if path.exists() or path.is_symlink():
        raise OutputExistsError(f"{path} exists already and was left as it is; choose another name")


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
def atomic_folder(
    path: Path, *, allow: Callable[[Path], object] = require_absent
) -> Iterator[Path]:
    """Yield a temporary folder beside `path`; it becomes `path` on success, is removed on error.

    What is there before stays whole until the new one is complete and on disk.

    Args:
        path: the folder to make.
        allow: raises where what is at `path` may not be replaced; asked before and after the work.

    Yields:
        Path of an empty folder beside `path`.

    Raises:
        OutputExistsError: `path` exists, or what `allow` raises.
    """
    restore_folder(path)
    allow(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
    replaced = temporary.with_suffix(_REPLACED)
    try:
        yield temporary
        temporary.chmod(0o777 & ~_umask())
        allow(path)
        if path.exists():
            _sync(temporary)
            path.rename(replaced)
            # a kill here leaves the earlier folder whole; `restore_folder` gives it its name back
        temporary.rename(path)
        if replaced.exists():
            replaced.rename(temporary)  # from here on it is not wanted back
    finally:
        restore_folder(path)
        shutil.rmtree(temporary, ignore_errors=True)


def restore_folder(path: Path) -> None:
    """Give a folder its name back that a killed command was about to replace.

    Args:
        path: its name; nothing is done where it is taken, or no such folder lies beside it.
    """
    if os.path.lexists(path) or not path.name:
        return
    for replaced in path.parent.glob(f".{glob.escape(path.name)}.*{_REPLACED}"):
        with suppress(OSError):  # another process was faster
            replaced.rename(path)
            return


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


def _sync(folder: Path) -> None:
    """Wait until every file below a folder is on disk."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as written:
                os.fsync(written.fileno())
