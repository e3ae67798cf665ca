"""Locks that the kernel gives back when their process ends, however it ends.

In: an open file, or the path of an output. Out: whether another process is at work on it, and who.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from typing import Final

from mtml_deploy.errors import MtmlError, OutputBusyError
from mtml_deploy.regular_file import regular_handle
from mtml_deploy.text import printable
from mtml_deploy.write_error import writing

logger = logging.getLogger(__name__)

_MOST_BYTES: Final = 200
"""Of what a lock file says of its holder."""

_held: set[int] = set()
"""Handles of all locks of this process."""


def take(handle: int) -> bool | None:
    """Take the lock of an open file for this process alone, without waiting.

    Args:
        handle: of the file; `give_back` closes it, unless another has the lock.

    Returns:
        True where the lock is taken, False where another has it, None where files have no locks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return False
        _held.add(handle)
        return None
    _held.add(handle)
    return True


def give_back(handle: int) -> None:
    """Close a handle of `take`, and with it its lock; a forked process has it no more."""
    if handle in _held:
        _held.remove(handle)
        with suppress(OSError):
            os.close(handle)


def holder_of(handle: int) -> str:
    """What a lock file says of who has it."""
    found = os.pread(handle, _MOST_BYTES, 0).decode("utf-8", "replace")
    return printable(" ".join(found.split()) or "unknown")


def sign(handle: int) -> None:
    """Write into a lock file who has it."""
    os.truncate(handle, 0)
    since = datetime.now(UTC).isoformat(timespec="seconds")
    os.pwrite(handle, f"{os.getpid()} on {gethostname()} since {since}\n".encode(), 0)


@contextmanager
def one_writer(path: Path) -> Iterator[bool]:
    """Be the only process that writes an output; a lock file lies beside it meanwhile.

    Args:
        path: the output; its folder is made, and removed again where nothing was written.

    Yields:
        Whether it is certain; False where the file system has no locks, which is logged.

    Raises:
        OutputBusyError: another process is writing it.
    """
    lock = path.with_name(f".{path.name}.lock")
    made = [folder for folder in path.parents if not folder.exists()]
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _locked(path, lock)
    if handle is None:
        logger.warning(
            "%s is on a file system without locks: see to it that no other command writes it", path
        )
        yield False
        return
    try:
        with writing(path):
            sign(handle)
        yield True
    finally:
        if handle in _held:
            with suppress(OSError):
                lock.unlink()  # before the lock is given back: nobody else's can be deleted
            give_back(handle)
        with suppress(OSError):  # not empty
            for folder in made:
                folder.rmdir()


def is_free(path: Path) -> bool:
    """Whether certainly no process is writing an output."""
    try:
        with one_writer(path) as certain:
            return certain
    except (MtmlError, OSError):
        return False


def _locked(path: Path, lock: Path) -> int | None:
    """The handle of a lock file, locked; None where files have no locks."""
    while True:
        handle = regular_handle(lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        taken = take(handle)
        if taken is False:
            holder = holder_of(handle)
            os.close(handle)
            raise OutputBusyError(
                f"{path} is being written by another process (number {holder}), expected one at a "
                "time; this one did not wait: name another output, or run it again when that one "
                "has ended"
            )
        if taken is None:
            give_back(handle)
            return None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), lock.stat()):
                return handle
        give_back(handle)  # the file of one that has just ended, and is deleted


def _forget() -> None:
    """In a forked process: leave the locks to the parent, or they would outlive it."""
    for handle in tuple(_held):
        give_back(handle)


os.register_at_fork(after_in_child=_forget)
