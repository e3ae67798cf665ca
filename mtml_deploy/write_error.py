"""What a machine refuses to write, from whichever library the news come, as one error.

In: errors of the system, of SQLite, safetensors and NumPy. Out: what was being written,
where, why not, how much room there is, and what to do.
"""

from __future__ import annotations

import errno
import os
import resource
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from mtml_deploy.errors import MtmlError
from mtml_deploy.text import printable

_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NOT_ALLOWED: Final = (errno.EROFS, errno.EACCES, errno.EPERM)
_KNOWN: Final = (*_NO_ROOM, *_NOT_ALLOWED, errno.EIO, errno.EMFILE, errno.ENFILE)
_SQLITE: Final = {
    "SQLITE_FULL": errno.ENOSPC,
    "SQLITE_IOERR": errno.EIO,
    "SQLITE_READONLY": errno.EROFS,
    "SQLITE_CANTOPEN": errno.EACCES,
}
"""Beginnings of the names of its errors, which do not have the system's number."""


class WriteError(MtmlError, OSError):
    """A file or folder could not be written; what was there before is as it was.

    It is an OSError as well, because that is what callers of writers expect.
    """


@contextmanager
def writing(path: Path, *, temporary: Path | None = None) -> Iterator[None]:
    """Say in one way that a file or folder cannot be written, around what only writes.

    Args:
        path: what is being written, as the user knows it.
        temporary: where it is until it is whole.

    Raises:
        WriteError: the machine refuses.
    """
    try:
        yield
    except MtmlError:
        raise
    except Exception as error:
        number = number_of(error)
        if number is None and not isinstance(error, OSError):
            raise
        raise write_error(path, error, number, temporary=temporary) from error


@contextmanager
def making(path: Path, temporary: Path) -> Iterator[None]:
    """The same around work that reads as well: only what cannot be meant otherwise is told so.

    Args:
        path: the folder that is being made.
        temporary: where it is until it is whole.

    Raises:
        WriteError: the machine refuses.
    """
    try:
        yield
    except WriteError as error:  # of a file in it, by a name that the user does not know
        raise write_error(path, error, error.errno, temporary=temporary) from error
    except MtmlError:
        raise
    except Exception as error:
        number = number_of(error)
        name = getattr(error, "filename", None)
        inside = number is not None and isinstance(error, sqlite3.Error)
        inside |= isinstance(name, str) and Path(name).is_relative_to(temporary)
        if number not in (*_NO_ROOM, errno.EROFS) and not inside:
            raise
        raise write_error(path, error, number, temporary=temporary) from error


def number_of(error: Exception) -> int | None:
    """The system's number of an error that was met while writing; None for another error.

    Args:
        error: an OSError, or a library's own error, which has the number in its words.
    """
    if isinstance(error, OSError):
        return error.errno
    if isinstance(error, sqlite3.Error):
        name = getattr(error, "sqlite_errorname", "")
        return next((number for begin, number in _SQLITE.items() if name.startswith(begin)), None)
    words = str(error)
    for number in _KNOWN:
        if os.strerror(number) in words or f"os error {number})" in words:
            return number
    return None


def write_error(
    path: Path, error: Exception, number: int | None, *, temporary: Path | None = None
) -> WriteError:
    """The error for a file or folder that cannot be written.

    Args:
        path: what was being written.
        error: what happened.
        number: of `number_of`; None where the system was not heard.
        temporary: where it was until it is whole.
    """
    why = os.strerror(number) if number else printable(str(error) or type(error).__name__)
    text = f"{printable(path)} cannot be written: {why}{_progress(path, number, temporary)}; "
    found = WriteError(f"{text}what was there before is as it was; {_advice(number)}")
    found.errno = number
    return found


def _progress(path: Path, number: int | None, temporary: Path | None) -> str:
    """How far it came, and how much room there is for it."""
    if number not in (None, errno.EIO, *_NO_ROOM):
        return ""
    done = 0 if temporary is None else _size(temporary)
    written = f" after {shown_bytes(done)} of it" if done else ""
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
    if number == errno.EFBIG and limit != resource.RLIM_INFINITY:
        return f"{written}, and no file may be larger than {shown_bytes(limit)} here"
    free = _free(path)
    return written if free is None else f"{written}, its disk has {shown_bytes(free + done)} free"


def _advice(number: int | None) -> str:
    """What to do."""
    if number == errno.EFBIG:
        return "raise the limit (ulimit -f), or name a place on another disk"
    if number in _NOT_ALLOWED:
        return "allow writing there, or name another place"
    if number in (errno.EMFILE, errno.ENFILE):
        return "raise the limit of open files (ulimit -n)"
    return "make room there, or name a place on another disk, and run the command again"


def _free(path: Path) -> int | None:
    """Bytes that are free where a path is or will be; None where that cannot be found."""
    for folder in (path, *path.absolute().parents):
        try:
            return shutil.disk_usage(folder).free
        except FileNotFoundError:
            continue
        except OSError:
            return None
    return None


def _size(path: Path) -> int:
    """Bytes of a file, or of all files of a folder."""
    try:
        if path.is_dir():
            return sum(each.lstat().st_size for each in path.rglob("*") if each.is_file())
        return path.lstat().st_size
    except OSError:
        return 0


def shown_bytes(count: int) -> str:
    """A number of bytes for people: "512 bytes", "1.5 MB"."""
    for unit, size in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"
