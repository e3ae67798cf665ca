"""The approximate index that earlier versions kept in the folder of a gallery; no longer used."""

from __future__ import annotations

import logging
import re
from contextlib import suppress
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

_FOLDER: Final = "index"
_FILE: Final = re.compile(r"card\.json|\w{1,64}\.(faiss|npy)", re.ASCII)
"""Names of our own files: anything else that lies there is left alone."""

_told: Final[set[Path]] = set()


def tell_of_old_index(gallery: Path) -> None:
    """Say once in a process that a gallery has one."""
    if gallery not in _told and _files(gallery):
        _told.add(gallery)
        logger.warning(
            "%s holds an approximate index of an earlier version, which is no longer used: a "
            "folder is searched exactly; mtml-deploy gallery compact %s deletes it",
            gallery,
            gallery,
        )


def drop_old_index(gallery: Path) -> None:
    """Delete it; the caller holds the writer lock."""
    for path in _files(gallery):
        path.unlink(missing_ok=True)
    with suppress(OSError):  # none there, a link, or files of others in it
        (gallery / _FOLDER).rmdir()


def _files(gallery: Path) -> list[Path]:
    """Its files, none where the folder is a link."""
    folder = gallery / _FOLDER
    if folder.is_symlink() or not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if _FILE.fullmatch(path.name) and path.is_file()]
