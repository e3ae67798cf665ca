"""One box of a detector, whatever file it comes from."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from mtml_deploy.errors import DataError

_PLAIN: Final = re.compile(r"[\x20-\x5e\x60-\x7e]+")
"""What may stand in a text that is a number, "_" left out."""

_MOST_SHOWN: Final = 100
"""Characters of a value that an error shows."""


@dataclass(frozen=True, slots=True)
class Detection:
    """One box.

    Attributes:
        where: file and line, for errors.
        frame: number of its frame as the file counts, or the name of its image.
        box: x1, y1, x2, y2, in pixels, or in shares of the frame's sizes.
        shares: whether the box is in shares.
        camera: as the file names it; "" where it does not.
        track: likewise.
        score: how sure the detector is; None where it does not tell.
        kind: class of the object, "" where the file does not tell.
    """

    where: str
    frame: int | str
    box: tuple[float, float, float, float]
    shares: bool = False
    camera: str = ""
    track: str = ""
    score: float | None = None
    kind: str = ""


Reader: TypeAlias = Callable[[Path, float], Iterator[Detection]]
"""A file and the coordinate of its first pixel -> its boxes."""


def number(text: object, what: str, where: str) -> float:
    """A number that a file holds; NaN and infinity are read, and refused with their box later.

    Raises:
        DataError: it is none.
    """
    try:
        # Python's own float would take "1_0" and other scripts' digits
        if isinstance(text, bool) or (isinstance(text, str) and not _PLAIN.fullmatch(text)):
            raise ValueError(text)
        return float(text)  # type: ignore[arg-type]  # what is no number raises
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(
            f"{where}: {what} is {shown(text)}, expected a number; correct it"
        ) from error


def whole(text: object, what: str, where: str) -> int:
    """A whole number that a file holds, as 12 or 12.0.

    Raises:
        DataError: it is none.
    """
    value = number(text, what, where)
    if not value.is_integer():
        raise DataError(f"{where}: {what} is {shown(text)}, expected a whole number; correct it")
    return int(value)


def told_text(value: object, what: str, where: str) -> str:
    """A name or number of a record as a text; "" where it is null.

    Raises:
        DataError: it is neither.
    """
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"{where}: {what} is {shown(value)}, expected a name or number; correct it")
    return str(value)


def shown(value: object) -> str:
    """A value of a file as an error shows it."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."


def track_text(text: str) -> str:
    """A track as the file names it; "" for -1 and none."""
    text = text.strip()
    return "" if text in ("", "-1", "-1.0", "None", "nan", "null") else text.removesuffix(".0")
