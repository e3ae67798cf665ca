"""Which column of a table is what: by its name, in any case, or as the user says.

In: the first line of a table. Out: how its cells are told apart and what each column holds. Only
names with one meaning are known; what cannot be told is an error that says how to tell it.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final

from mtml_deploy.data.formats import image_suffixes
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

NAMES: Final[Mapping[str, tuple[str, ...]]] = {
    "path": ("path", "image_path", "img_path", "filepath", "file_path", "filename", "file_name",
             "image", "img", "file"),
    "vehicle_id": ("vehicle_id", "vehicleid", "vehicle", "vid", "pid", "label", "identity"),
    "camera_id": ("camera_id", "cameraid", "camera", "cam_id", "camid", "cam"),
    "orientation": ("orientation",),
    "tracklet_id": ("tracklet_id", "trackletid", "tracklet", "track_id", "trackid", "track"),
    "split": ("split",),
    "time": ("time", "timestamp"),
    "is_query": ("is_query",),
    "is_gallery": ("is_gallery",),
}  # fmt: skip
"""What a column can hold -> the names that say so; the first is how this program writes it."""

SHORT: Final[Mapping[str, str]] = {"id": "vehicle_id"}
"""What a user may write for a name of `NAMES` in a choice."""

_SEPARATORS: Final = {",": "commas", ";": "semicolons", "\t": "tabs"}
_BOXES: Final = frozenset({"x_1", "x_2", "y_1", "y_2", "x1", "x2", "y1", "y2"})


@dataclass(frozen=True)
class Columns:
    """How the lines of a table are read.

    Attributes:
        separator: between cells.
        meanings: [columns] a name of `NAMES` for each, "" for one that is not used.
        unused: names of the columns that are not used, as they are written.
    """

    separator: str
    meanings: tuple[str, ...]
    unused: tuple[str, ...]


def parse_choice(text: str) -> dict[str, str] | None:
    """Columns that the user names: "id=plate,camera=cam" -> what -> name of the column.

    Returns:
        The choice; None for a text that is none.
    """
    choice = {}
    for part in text.split(","):
        what, sign, name = (each.strip() for each in part.partition("="))
        meaning = SHORT.get(what.lower()) or _meaning(what)
        if not sign or not meaning or meaning in choice:
            return None
        choice[meaning] = name
    return choice


def choice_text(choice: Mapping[str, str]) -> str:
    """A text that `parse_choice` reads as the same."""
    return ",".join(f"{what}={name}" for what, name in choice.items())


def read_header(line: str, choice: Mapping[str, str], where: str) -> Columns:
    """The columns of a table.

    Args:
        line: its first line.
        choice: columns that the user named; a name of "" says that none is used.
        where: file and line, for errors.

    Returns:
        The columns, with a path among them.

    Raises:
        DataError: no column is the path, two are the same thing, one that was named is not there,
            or boxes in whole images.
    """
    found = {sign: _cells(line, sign) for sign in _SEPARATORS}
    known = {sign: _meanings(names, choice, where) for sign, names in found.items()}
    separator = max(known, key=lambda sign: ("path" in known[sign], len(set(known[sign]))))
    names, meanings = found[separator], known[separator]
    if "path" not in meanings:
        raise DataError(_no_path(line, found, where))
    for meaning, name in choice.items():
        if name and meaning not in meanings:
            raise DataError(
                f"{where}: no column is called {name!r}, expected one of {', '.join(names)}; "
                "correct the name behind @"
            )
    boxes = [name for name in names if _plain(name) in _BOXES]
    if boxes:
        raise DataError(
            f"{where}: the columns {', '.join(boxes)} are boxes in larger images, expected one "
            "image file per row; cut the images out first, then leave these columns out"
        )
    unused = tuple(
        name or "(no name)" for name, meaning in zip(names, meanings, strict=True) if not meaning
    )
    return Columns(separator, meanings, unused)


def _cells(line: str, separator: str) -> list[str]:
    """The names in a header."""
    try:
        (cells,) = csv.reader([line], delimiter=separator, strict=True)
    except (csv.Error, ValueError):
        return [line]
    return [cell.strip() for cell in cells]


def _plain(name: str) -> str:
    """A column's name in the form of `NAMES`."""
    return "_".join(name.lower().replace("-", " ").replace("_", " ").split())


def _meaning(name: str) -> str:
    """What a name says; "" where it is not known."""
    plain = _plain(name)
    return next((meaning for meaning, names in NAMES.items() if plain in names), "")


def _meanings(
    names: Sequence[str], choice: Mapping[str, str], where: str
) -> tuple[str, ...]:  # fmt: skip
    """What each column holds."""
    chosen = {name: meaning for meaning, name in choice.items() if name}
    meanings = []
    for name in names:
        meaning = chosen.get(name) or _meaning(name)
        # a column that the user named is the one, and one that was named as nothing is none
        meanings.append("" if meaning in choice and name != choice[meaning] else meaning)
    for meaning in set(meanings) - {""}:
        columns = [n for n, name in enumerate(names) if meanings[n] == meaning]
        exact = [n for n in columns if names[n] == meaning]
        if len(columns) > 1 and len(exact) != 1:
            alike = ", ".join(names[n] for n in columns)
            raise DataError(
                f"{where}: the header has the columns {alike}, each of which can be the "
                f"{meaning}, expected one; name it, for example csv:FILE@{meaning}="
                f"{names[columns[0]]}, or rename the others"
            )
        if exact:
            meanings = [m if m != meaning or n == exact[0] else "" for n, m in enumerate(meanings)]
    return tuple(meanings)


def _no_path(line: str, found: Mapping[str, Sequence[str]], where: str) -> str:
    """Why no column is the path."""
    separator = max(found, key=lambda sign: len(found[sign]))
    cells = found[separator]
    if any(PurePosixPath(cell).suffix.lower() in image_suffixes() for cell in cells):
        return (
            f"{where}: {printable(line.strip()[:80])!r} names an image, expected the names of the "
            "columns; add a first line such as path,vehicle_id,camera_id"
        )
    named = ", ".join(repr(printable(cell)) for cell in cells[:8])
    if len(cells) > 1:
        named += f" (between {_SEPARATORS[separator]})"
    return (
        f"{where}: the header is {named}, expected path among the columns, and beside it any of "
        f"{', '.join(list(NAMES)[1:7])}, between commas, semicolons or tabs; correct the first "
        f"line, or name the column of the paths: csv:FILE@path={printable(cells[0])}"
    )
