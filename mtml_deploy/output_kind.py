"""Kinds of files and folders that commands write, each told from others by its content."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.record_file import parse_plain
from mtml_deploy.regular_file import open_regular, read_regular

_HEAD_BYTES: Final = 1 << 16
"""Of a text in which its mark must be."""

_LEFT_BEHIND: Final = re.compile(r"\..+\.mtml-[a-z0-9_]{8}\.tmp\Z")
"""Names of files that `atomic_file` leaves where it is killed."""


@dataclass(frozen=True)
class FileKind:
    """One kind of file that commands write.

    Attributes:
        name: with its article, such as "an embeddings file".
        known: whether a file's content is of this kind; an OSError, ValueError or MtmlError means
            that it is not.
    """

    name: str
    known: Callable[[Path], bool]


@dataclass(frozen=True)
class FolderKind:
    """One kind of folder that commands write as a whole.

    Attributes:
        name: with its article, such as "an exported model".
        require: raises OSError or ValueError, which says why, where a folder is of another kind.
        foreign: names, below a folder of this kind, of what never came with one.
        products: in words, what was made later and is in the folder; empty where nothing is.
    """

    name: str
    require: Callable[[Path], object]
    foreign: Callable[[Path], Sequence[str]]
    products: Callable[[Path], str] = lambda _: ""


def json_kind(name: str, *keys: str, may_be_empty: bool = False) -> FileKind:
    """A JSON file whose object, or each object of whose list, has some keys.

    Args:
        name: see `FileKind`.
        keys: that every file of this kind has.
        may_be_empty: whether an empty list is one of this kind, too.
    """

    def known(path: Path) -> bool:
        found = parse_plain(read_regular(path))
        each = found if isinstance(found, list) else [found]
        ours = [isinstance(one, dict) and one.keys() >= set(keys) for one in each]
        return all(ours) and (bool(ours) or may_be_empty)

    return FileKind(name, known)


def text_kind(name: str, mark: str) -> FileKind:
    """A text that has a mark near its beginning.

    Args:
        name: see `FileKind`.
        mark: a regular expression that is looked for in the first 64 KiB; ^ is the start of a line.
    """

    def known(path: Path) -> bool:
        with open_regular(path) as file:
            head = file.read(_HEAD_BYTES).decode("utf-8", "replace")
        return re.search(mark, head, re.MULTILINE) is not None

    return FileKind(name, known)


def left_behind(path: Path) -> bool:
    """Whether a file was left by a writer that was killed."""
    return _LEFT_BEHIND.match(path.name) is not None
