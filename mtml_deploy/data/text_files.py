"""Text files of data sets, read strictly: every complaint names the file and the line.

In: a path, or a data set's root and where its splits are. Out: text, lines, names, ids.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.errors import DataError
from mtml_deploy.regular_file import read_regular
from mtml_deploy.text import printable

Split = Literal["train", "query", "gallery"]
SPLITS: Final[tuple[Split, ...]] = ("train", "query", "gallery")

LARGEST_ID: Final = 2**31 - 1
"""Ids are stored as int32."""


def read_text(path: Path, *, what: str) -> str:
    """A whole UTF-8 text file, a byte order mark at its start left out.

    Args:
        path: the file.
        what: what the file is for, for the error ("the list of gallery images").

    Returns:
        The text, line ends as they are.

    Raises:
        DataError: missing, unreadable, or bytes that are not UTF-8 (the line is named).
    """
    data = read_bytes(path, what=what)
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = 1 + data[: error.start].count(b"\n")
        raise DataError(
            f"{printable(path)} line {line}: byte 0x{data[error.start]:02x} is not UTF-8; "
            "save the file as UTF-8"
        ) from error


def read_bytes(path: Path, *, what: str) -> bytes:
    """A whole file.

    Args:
        path: the file.
        what: what the file is for, for the error.

    Returns:
        Its bytes.

    Raises:
        DataError: missing or unreadable.
    """
    try:
        return read_regular(path)
    except FileNotFoundError as error:
        raise DataError(
            f"{what} is missing: no file {printable(path)}; check the name, or copy the data set "
            "again"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{what} cannot be read: {printable(path)} ({error})") from error


def numbered_lines(path: Path, *, what: str) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, without surrounding white space.

    Args:
        path: the file.
        what: what the file is for, for the error.

    Yields:
        Line number from 1, and text.

    Raises:
        DataError: see `read_text`.
    """
    for number, line in enumerate(read_text(path, what=what).split("\n"), start=1):
        if text := line.strip():
            yield number, text


def read_names(path: Path, *, what: str) -> tuple[str, ...]:
    """The file names of a name list, in its order, repeats included.

    Args:
        path: the list, one bare file name per line.
        what: what the file is for, for the error.

    Returns:
        One or more names.

    Raises:
        DataError: missing, empty, not UTF-8, or a line that is not a bare file name.
    """
    names = []
    for number, text in numbered_lines(path, what=what):
        if "/" in text or "\\" in text or "\0" in text or text in (".", ".."):
            raise DataError(
                f"{printable(path)} line {number}: {text!r} is not a bare file name; "
                "name the file without its folder"
            )
        names.append(text)
    if not names:
        raise DataError(f"{printable(path)} is empty, expected one file name per line")
    return tuple(names)


def repeated(names: Sequence[str]) -> tuple[str, ...]:
    """The names that occur more than once, in order of first occurrence."""
    return tuple(name for name, count in Counter(names).items() if count > 1)


def require_distinct(names: Sequence[str], path: Path) -> None:
    """Refuse a list that names an image twice: each would count as a match of its own.

    Args:
        names: the names in `path`.
        path: the list, for the error.

    Raises:
        DataError: a name occurs more than once.
    """
    if twice := repeated(names):
        raise DataError(
            f"{printable(path)} names {len(twice)} images more than once, the first is "
            f"{twice[0]}; remove the repeats"
        )


def parse_id(text: str) -> int:
    """A vehicle, camera or tracklet number.

    Args:
        text: decimal digits, or -1 for unknown.

    Returns:
        -1 or more, fits int32.

    Raises:
        ValueError: anything else (Python's own `int` would take "1_0" and other scripts' digits).
    """
    digits = text[1:] if text.startswith("-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= 10):
        raise ValueError(f"{text!r} is not an integer")
    number = int(text)
    if not -1 <= number <= LARGEST_ID:
        raise ValueError(f"{number} is outside -1..{LARGEST_ID}")
    return number


def shortened(names: Sequence[str], limit: int = 3) -> str:
    """The first few names and how many more there are, for a note."""
    more = f" and {len(names) - limit} more" if len(names) > limit else ""
    return ", ".join(names[:limit]) + more


@dataclass(frozen=True)
class SplitFiles:
    """Names of one split's files below the data set's root; "" where the format has none.

    Attributes:
        folder: the images.
        names: the list of bare file names that gives their order.
        labels: ids and cameras (XML).
        orientations: orientation labels.
        tracks: tracklets.
    """

    folder: str
    names: str = ""
    labels: str = ""
    orientations: str = ""
    tracks: str = ""


def listed_names(root: Path, files: SplitFiles) -> tuple[str, ...]:
    """Image names of a split, in the list's order.

    Args:
        root: the data set's folder.
        files: the split's files.

    Returns:
        One or more distinct names.

    Raises:
        DataError: the root or the image folder is missing; see `read_names`; a repeated name.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {printable(root)}; give the data set's own folder")
    path = root / files.names
    if not path.exists():
        near = [folder for folder in (*_subfolders(root), root.absolute().parent)
                if (folder / files.names).is_file()]  # fmt: skip
        if near:
            raise DataError(
                f"no file {printable(path)}, but {printable(near[0] / files.names)}; give the data "
                f"set's own folder: {printable(near[0])}"
            )
    names = read_names(path, what=f"the list of the images in {files.folder}")
    require_distinct(names, path)
    if not (root / files.folder).is_dir():
        raise DataError(
            f"no image folder {printable(root / files.folder)}; copy the data set again"
        )
    return names


def _subfolders(root: Path) -> list[Path]:
    """The folders in a folder, by name."""
    return sorted(path for path in root.iterdir() if path.is_dir())


def chosen_part(
    source: str, parts: Sequence[Split], named: Split | None, default: Split | None
) -> Split | None:
    """The part to read; None for a folder that is not divided.

    Args:
        source: what the user typed, without the part.
        parts: those that have a folder.
        named: what was named.
        default: likewise, where there are parts.

    Raises:
        DataError: there are parts, and none was named.
    """
    chosen = named or (default if parts else None)
    if parts and chosen is None:
        raise DataError(
            f"{source.partition(':')[2]} has the parts {', '.join(parts)}, and none was named; "
            f"write {source}#{parts[0]}"
        )
    return chosen
