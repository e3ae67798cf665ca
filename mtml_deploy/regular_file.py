"""Files opened for reading: regular ones only, so that nothing waits or never ends.

A pipe makes whoever opens it wait, a link to /dev/zero never ends, a folder has no bytes. Every
image, list, table and record that a user names is opened here.
"""

from __future__ import annotations

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path
from typing import Final

from mtml_deploy.errors import MtmlError
from mtml_deploy.text import printable

MOST_BYTES: Final = 1 << 30
"""Of a file that is read into memory at once, unless its reader says less."""

RECORD_BYTES: Final = 1 << 26
"""Of a record such as a manifest (64 MiB): all that are written are far below."""

_KINDS: Final = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFSOCK: "a socket",
}


class NotAFileError(MtmlError, OSError):
    """A name leads to a folder, a pipe, a device or a socket, or to a file that is too large.

    It is an OSError as well, because that is what readers of files expect and put in their words.
    """


def open_regular(path: Path) -> BufferedReader:
    """A regular file, or a link to one, open for reading; never waits.

    Args:
        path: the file.

    Returns:
        The open file; close it, or use it in a `with` statement.

    Raises:
        NotAFileError: it is something else.
        OSError: it is missing or may not be read.
        ValueError: no file can have this name.
    """
    return os.fdopen(regular_handle(path, os.O_RDONLY), "rb")


def regular_handle(path: Path, flags: int) -> int:
    """A handle of a regular file; never waits.

    Args:
        path: the file.
        flags: of `os.open`; O_NOFOLLOW refuses a link.

    Returns:
        The handle; close it.

    Raises:
        NotAFileError: it is something else.
        OSError: it is missing or may not be used so.
        ValueError: no file can have this name.
    """
    # without O_NONBLOCK the opening of a pipe waits for its other end
    try:
        handle = os.open(path, flags | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC, 0o666)
    except OSError as error:
        if flags & os.O_NOFOLLOW and path.is_symlink():
            raise NotAFileError(_refusal(path, "a link")) from error
        if error.errno == errno.ENXIO:  # a socket cannot be opened at all, nor a missing device
            raise NotAFileError(_refusal(path, _kind(path.stat().st_mode))) from error
        raise
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise NotAFileError(_refusal(path, _kind(mode)))
    return handle


def read_regular(path: Path, *, most_bytes: int = MOST_BYTES) -> bytes:
    """All bytes of a regular file.

    Args:
        path: the file.
        most_bytes: a larger file is refused before it is read.

    Raises:
        NotAFileError: it is something else, or larger.
        OSError: it is missing or may not be read.
        ValueError: no file can have this name.
    """
    with open_regular(path) as file:
        size = os.fstat(file.fileno()).st_size
        if size > most_bytes:
            raise NotAFileError(
                f"{printable(path)} has {size:,} bytes, expected at most {most_bytes:,}; name "
                "another file, or divide it"
            )
        return file.read()


def _kind(mode: int) -> str:
    """What something is, in words."""
    return _KINDS.get(stat.S_IFMT(mode), "no regular file")


def _refusal(path: Path, kind: str) -> str:
    """Why something is not opened."""
    return (
        f"{printable(path)} is {kind}, expected a regular file; name a file, or copy the content "
        "into one"
    )
