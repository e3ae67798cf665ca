"""Whole files or none: write beside the target, then rename.

What is temporary is locked by its writer, so that what a killed one left can be told from what is
in work, and removed by the next writer of the same output.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from mtml_deploy.errors import OutputExistsError
from mtml_deploy.lock import give_back, is_free, one_writer, take
from mtml_deploy.write_error import making, writing

logger = logging.getLogger(__name__)

_NO_LINKS: Final = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS)
"""What file systems without hard links say."""

_MARK: Final = "mtml-"
"""In the names of all that is temporary, so that no other program's file is taken for ours."""

_UNFINISHED: Final = ".tmp"
"""End of the name of what is not whole yet."""

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
def atomic_file(path: Path, *, keep_first: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; renamed onto it on success, removed on error.

    Args:
        path: the file to write; its folder is created.
        keep_first: replace nothing: of several processes, also of several machines, that write it
            at once, the first one's file stays, and the others' are dropped.

    Yields:
        Path of an empty file in the same folder, so that the rename is atomic.

    Raises:
        WriteError: the machine refuses; what was at `path` is as it was.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        temporary, handle = _claimed(path, folder=False)
    try:
        with writing(path, temporary=temporary):
            yield temporary
            # mkstemp makes 0600 files; results are meant to be read like any other file
            temporary.chmod(0o666 & ~_umask())
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
            if keep_first:
                _link(temporary, path)
            else:
                temporary.replace(path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()
        give_back(handle)


@contextmanager
def scratch_folder(path: Path) -> Iterator[Path]:
    """Yield a folder beside an output, for what is needed on the way to it; removed at the end.

    Args:
        path: the output; the next command that writes it removes what a killed one left.

    Yields:
        Path of an empty folder.

    Raises:
        WriteError: the machine refuses.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        sweep(path)
        temporary, handle = _claimed(path, folder=True)
    try:
        yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        give_back(handle)


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
        OutputBusyError: another process is writing `path`.
        WriteError: the machine refuses.
    """
    restore_folder(path)
    allow(path)
    with one_writer(path), scratch_folder(path) as temporary:
        replaced = temporary.with_suffix(_REPLACED)
        try:
            with making(path, temporary):
                yield temporary
            allow(path)
            with writing(path, temporary=temporary):
                temporary.chmod(0o777 & ~_umask())
                if path.exists():
                    _sync(temporary)
                    path.rename(replaced)
                    # a kill here leaves the earlier folder whole; `restore_folder` names it again
                temporary.rename(path)
                if replaced.exists():
                    replaced.rename(temporary)  # from here on it is not wanted back
        finally:
            _restore(path)


def restore_folder(path: Path) -> None:
    """Give a folder its name back that a killed command was about to replace.

    Args:
        path: its name; nothing is done where it is taken, no such folder lies beside it, or a
            command is replacing it now.
    """
    if not os.path.lexists(path) and _left(path, _REPLACED) and is_free(path):
        _restore(path)


def sweep(path: Path) -> None:
    """Remove what killed writers of an output left beside it.

    Only what has a name that no other program gives, and whose writer is certainly gone.

    Args:
        path: the output.
    """
    for left in (*_left(path, _UNFINISHED), *(_left(path, _REPLACED) if path.exists() else ())):
        try:
            handle = os.open(left, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError:
            continue  # somebody else's, or gone
        taken = take(handle)
        if taken:
            if stat.S_ISDIR(os.fstat(handle).st_mode):
                shutil.rmtree(left, ignore_errors=True)
            else:
                with suppress(OSError):
                    left.unlink()
        if taken is False:
            os.close(handle)
        else:
            give_back(handle)


def write_text(path: Path, text: str, *, keep_first: bool = False) -> None:
    """Write `text` as UTF-8 to `path`, whole or not at all; `keep_first` as of `atomic_file`."""
    with atomic_file(path, keep_first=keep_first) as temporary:
        # file names that are not UTF-8 never reach here (they are refused), but be total
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def _link(temporary: Path, path: Path) -> None:
    """Give a file its name, unless something has it: unlike a rename, a link replaces nothing."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        return
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        logger.warning(
            "%s is on a file system without hard links: start the command that writes it alone, "
            "and others when it is there",
            path,
        )
        if not os.path.lexists(path):
            temporary.replace(path)


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


def _claimed(path: Path, *, folder: bool) -> tuple[Path, int]:
    """A new temporary file or folder for an output, and a handle that has its lock."""
    how: dict[str, Any] = {"prefix": f".{path.name}.{_MARK}", "suffix": _UNFINISHED}
    while True:
        if folder:
            temporary = Path(tempfile.mkdtemp(dir=path.parent, **how))
            handle = os.open(temporary, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        else:
            handle, name = tempfile.mkstemp(dir=path.parent, **how)
            temporary = Path(name)
        # another process that sweeps may have been here before the lock
        if take(handle) is False:
            os.close(handle)
        elif temporary.exists():
            return temporary, handle
        else:
            give_back(handle)


def _left(path: Path, end: str) -> list[Path]:
    """What lies beside an output under a name of ours."""
    name = re.compile(rf"\.{re.escape(path.name)}\.{_MARK}[a-z0-9_]{{8}}{re.escape(end)}")
    try:
        return [Path(each.path) for each in os.scandir(path.parent) if name.fullmatch(each.name)]
    except OSError:  # no such folder, or one that may not be looked into
        return []


def _restore(path: Path) -> None:
    """See `restore_folder`; only for the one that writes `path`."""
    for replaced in _left(path, _REPLACED):
        if not os.path.lexists(path):
            with suppress(OSError):
                replaced.rename(path)
