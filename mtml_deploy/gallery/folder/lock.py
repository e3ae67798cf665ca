"""One writer at a time: a file lock that the kernel gives back when its process ends, however."""

from __future__ import annotations

import fcntl
import os
from datetime import UTC, datetime
from pathlib import Path
from socket import gethostname
from typing import Final

from mtml_deploy.gallery.values import GalleryError
from mtml_deploy.regular_file import regular_handle
from mtml_deploy.text import printable

LOCK_FILE: Final = "writer.lock"

_MOST_BYTES: Final = 200
"""Of what a lock file says of its holder."""


class WriterLock:
    """Held from construction to `close`."""

    def __init__(self, path: Path) -> None:
        """Take the lock or say who has it.

        Args:
            path: the lock file, made where it does not exist; it is never deleted, since a second
                process could then lock a new file of the same name.

        Raises:
            GalleryError: another writer holds it, or the folder cannot be written.
        """
        try:
            self._handle = regular_handle(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        except OSError as error:
            raise GalleryError(
                f"{path.parent} cannot be written ({error}); check its permissions"
            ) from error
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            found = os.read(self._handle, _MOST_BYTES).decode("utf-8", "replace")
            holder = printable(" ".join(found.split()) or "unknown")
            os.close(self._handle)
            raise GalleryError(
                f"{path.parent} is being written by another process (number {holder}), expected "
                "one writer at a time; this one did not wait: start it again when that one has "
                "ended, reading is possible"
            ) from error
        os.truncate(self._handle, 0)
        since = datetime.now(UTC).isoformat(timespec="seconds")
        os.pwrite(self._handle, f"{os.getpid()} on {gethostname()} since {since}\n".encode(), 0)

    def close(self) -> None:
        """Give the lock back; closing twice is allowed."""
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1
