"""Boxes in lines of numbers: MOTChallenge, AI City tracks, YOLO.

MOTChallenge: frame,id,x,y,w,h,score,... with frames and pixels counted from 1.
AI City: camera,id,frame,x,y,w,h,... with frames counted from 1 and pixels from 0.
YOLO: a text file per image, class,cx,cy,w,h in shares of the image, then score and id where they
were written.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from mtml_deploy.data.detections.detection import Detection, number, track_text, whole
from mtml_deploy.data.text_files import numbered_lines
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

_GROUND_TRUTH: Final = 9
"""Columns of MOTChallenge files whose eighth is a class."""


def read_mot(path: Path, origin: float) -> Iterator[Detection]:
    """The boxes of a MOTChallenge file, see `Detection`."""
    for where, cells in _lines(path, least=6):
        yield Detection(
            where,
            whole(cells[0], "the frame", where),
            _corners(cells[2:6], origin, where),
            track=track_text(cells[1]),
            score=number(cells[6], "the score", where) if len(cells) > 6 else None,
            kind=str(whole(cells[7], "the class", where)) if len(cells) == _GROUND_TRUTH else "",
        )


def read_aicity(path: Path, origin: float) -> Iterator[Detection]:
    """The boxes of an AI City track file, see `Detection`."""
    for where, cells in _lines(path, least=7):
        yield Detection(
            where,
            whole(cells[2], "the frame", where),
            _corners(cells[3:7], origin, where),
            camera=cells[0],
            track=track_text(cells[1]),
        )


def read_yolo(path: Path, origin: float) -> Iterator[Detection]:
    """The boxes of a folder of YOLO files, or of one file, see `Detection`."""
    del origin  # shares have none
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    if not files:
        raise DataError(
            f"{printable(path)} has no file *.txt, expected one for each image; name the folder "
            "of labels"
        )
    lines = [(each.stem, where, cells) for each in files for where, cells in _lines(each, least=5)]
    sixth = _sixth(path, [cells[5] for _, _, cells in lines if len(cells) == 6])
    for stem, where, cells in lines:
        if len(cells) > 7:
            raise DataError(
                f"{where}: {len(cells)} numbers, expected class cx cy w h and at most score and "
                "id; outlines are not read: write boxes"
            )
        cx, cy, w, h = (number(cell, "the box", where) for cell in cells[1:5])
        scored = len(cells) == 7 or (len(cells) == 6 and sixth == "score")
        named = cells[-1] if len(cells) == 7 or (len(cells) == 6 and sixth == "id") else ""
        yield Detection(
            where,
            stem,
            (cx - w / 2, cy - h / 2, cx + w / 2, cy + h / 2),
            shares=True,
            track=track_text(named),
            score=number(cells[5], "the score", where) if scored else None,
            kind=str(whole(cells[0], "the class", where)),
        )


def _corners(cells: list[str], origin: float, where: str) -> tuple[float, float, float, float]:
    """Two corners of a box of x, y, width and height, pixels from 0."""
    x, y, w, h = (number(cell, "the box", where) for cell in cells)
    return x - origin, y - origin, x + w - origin, y + h - origin


def _sixth(path: Path, cells: list[str]) -> str:
    """What the sixth number of lines with six is: "score" or "id"; programs write either."""
    if not cells:
        return ""
    values = [number(cell, "the sixth number", printable(path)) for cell in cells]
    if all(0 <= value <= 1 for value in values) and not all(v.is_integer() for v in values):
        return "score"
    if all(value.is_integer() for value in values) and max(values) > 1:
        return "id"
    raise DataError(
        f"{printable(path)}: the sixth numbers of its lines are {min(values):g} to "
        f"{max(values):g}, which may be scores or ids; write both, score before id"
    )


def _lines(path: Path, *, least: int) -> Iterator[tuple[str, list[str]]]:
    """Place and cells of each line, between commas or white space."""
    for line, text in numbered_lines(path, what="the file of detections"):
        cells = text.replace(",", " ").split()
        where = f"{printable(path)} line {line}"
        if len(cells) < least:
            raise DataError(
                f"{where}: {len(cells)} numbers, expected {least} or more; say another format="
            )
        yield where, cells
