"""Paths as people write them into lists and tables: quoted, with back slashes, as patterns.

In: the text of a path and the folder it is relative to. Out: the path; what can mean only one file
is read and counted, anything else is refused by its cause.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Final

from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

_ADDRESS: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
_DRIVE: Final = re.compile(r"[A-Za-z]:[\\/]")
_QUOTES: Final = ("'", '"')
_SUSPICIOUS: Final = re.compile(r"""^["'~]|\\|://|[*?]|^[A-Za-z]:""")

_READ: Final = {
    "quotes": "paths in quotes, read without them",
    "back slashes": "paths with back slashes, read with /",
}


class ListedPaths:
    """Reads the paths of one list or table, and counts what it had to change."""

    def __init__(self, folder: Path) -> None:
        """Nothing is read yet.

        Args:
            folder: what relative paths are relative to.
        """
        self._folder = folder
        self._changed: Counter[str] = Counter()

    def read(self, text: str, *, where: str) -> Path:
        """The file that a text names; a plain path is not looked for on disk.

        Args:
            text: the path.
            where: file and line, for errors.

        Returns:
            The path, below the folder or absolute.

        Raises:
            DataError: an address, a pattern or a path of Windows; or back slashes of which no
                reading is a file.
        """
        path = self._folder / text
        if not _SUSPICIOUS.search(text) or _exists(path):
            return path
        if len(text) > 2 and text[0] == text[-1] and text[0] in _QUOTES:
            self._changed["quotes"] += 1
            return self.read(text[1:-1], where=where)
        if text.startswith("~/"):
            return Path(text).expanduser()
        if reason := not_a_path(text):
            raise DataError(f"{where}: {printable(text)} {reason}")
        if "\\" in text:
            turned = self._folder / text.replace("\\", "/")
            if not _exists(turned):
                raise DataError(
                    f"{where}: no file {printable(text)}, nor {printable(turned)} with / for its "
                    "back slashes; correct the path"
                )
            self._changed["back slashes"] += 1
            return turned
        return path

    def notes(self) -> tuple[str, ...]:
        """What was changed, one counted sentence each."""
        return tuple(f"{_READ[what]}: {count}" for what, count in sorted(self._changed.items()))


def not_a_path(text: str) -> str:
    """Why a text that names no file here cannot name one, as the end of a sentence; "" if it can.

    Args:
        text: what stands where a path is expected; no file has this name.
    """
    if _ADDRESS.match(text):
        return "is an address, expected a file; download it and name the file"
    if _DRIVE.match(text):
        return "is a path of Windows, expected one of this machine; write it relative"
    if "*" in text or "?" in text:
        return (
            "is a pattern, expected one file or folder; name the folder, or write a list: "
            "ls PATTERN > LIST.txt"
        )
    return ""


def why_missing(path: Path) -> str:
    """What to say of a file that is not there: its cause as far as the folder shows it.

    Args:
        path: no file has this name.

    Returns:
        The end of a sentence, from the cause to the fix.
    """
    if reason := not_a_path(str(path)):
        return f"no such file: it {reason}"
    if "\\" in path.name:
        return "no such file; its name holds a back slash: write folders with /"
    names = _names_by_case(path.parent)
    if names is None:
        return f"no such file, because there is no folder {printable(path.parent)}; check the path"
    if there := names.get(path.name.casefold()):
        return (
            f"no such file, but {printable(there)}, which differs in upper and lower case; rename "
            "the files, or correct the list"
        )
    return "no such file; check the list or the folder"


def _names_by_case(folder: Path) -> Mapping[str, str] | None:
    """Names in a folder by what they are without upper case; None where there is no folder."""
    try:
        return _listed(folder, folder.stat().st_mtime_ns)
    except (OSError, ValueError):
        return None


@lru_cache(maxsize=8)
def _listed(folder: Path, _: int) -> Mapping[str, str]:
    """The names of a folder that was changed then: thousands of missing files list it once."""
    return MappingProxyType({entry.name.casefold(): entry.name for entry in folder.iterdir()})


def _exists(path: Path) -> bool:
    """Whether there is such a file or link."""
    try:
        return path.exists() or path.is_symlink()
    except (OSError, ValueError):
        return False
