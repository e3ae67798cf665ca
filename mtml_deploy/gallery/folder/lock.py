"""One writer at a time: a file lock that the kernel gives back when its process ends, however."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from mtml_deploy.gallery.values import GalleryBusyError, GalleryError
from mtml_deploy.lock import give_back, holder_of, sign, take
from mtml_deploy.regular_file import regular_handle
from mtml_deploy.write_error import write_error

LOCK_FILE: Final = "writer.lock"


class WriterLock:
    """Held from construction to `close`."""

    def __init__(self, path: Path) -> None:
        """Take the lock or say who has it.

        Args:
            path: the lock file, made where it does not exist; it is never deleted, since a second
                process could then lock a new file of the same name.

        Raises:
            GalleryBusyError: another writer holds it.
            GalleryError: the folder cannot be written.
        """
        try:
            self._handle = regular_handle(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW)
        except OSError as error:
            raise GalleryError(
                f"{path.parent} cannot be written ({error}); check its permissions"
            ) from error
        taken = take(self._handle)
        if taken is False:
            holder = holder_of(self._handle)
            os.close(self._handle)
            raise GalleryBusyError(
                f"{path.parent} is being written by another process (number {holder}), expected "
                "one writer at a time; this one did not wait: start it again when that one has "
                "ended, reading is possible"
            )
        if taken is None:
            give_back(self._handle)
            raise GalleryError(
                f"{path.parent} is on a file system without locks, expected one where two writers "
                "cannot meet; move the gallery to a local disk"
            )
        try:
            sign(self._handle)
        except OSError as error:
            give_back(self._handle)
            raise write_error(path, error, error.errno) from error

    def close(self) -> None:
        """Give the lock back; closing twice is allowed."""
        if self._handle >= 0:
            give_back(self._handle)
            self._handle = -1
