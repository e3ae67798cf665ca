"""Boxes in records: COCO results, and the CSV and JSON files of supervision.

COCO: a list of image_id, bbox [x, y, w, h], score, category_id; or a whole data set, whose images
name their files. supervision: x_min, y_min, x_max, y_max, class_id, confidence, tracker_id, and a
column of the user's own for the frame.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from mtml_deploy.data.detections.detection import Detection, number, told_text, track_text, whole
from mtml_deploy.data.text_files import read_text
from mtml_deploy.errors import DataError
from mtml_deploy.record_file import parse_plain
from mtml_deploy.text import printable

_CORNERS: Final = ("x_min", "y_min", "x_max", "y_max")
_FRAMES: Final = ("frame", "frame_number", "frame_index", "frame_idx", "frame_id", "image_id")
_NAMES: Final = ("image", "image_name", "image_path", "file_name", "filename")


def read_coco(path: Path, origin: float) -> Iterator[Detection]:
    """The boxes of a COCO file, see `Detection`."""
    content = _json(path)
    files: dict[object, str] = {}
    rows = content
    if isinstance(content, dict):
        rows = content.get("annotations")
        images = content.get("images")
        for image in images if isinstance(images, list) else []:
            if not isinstance(image, dict) or not isinstance(image.get("file_name"), str):
                continue
            if isinstance(image.get("id"), int | str):
                files[image["id"]] = image["file_name"]
    if not isinstance(rows, list):
        raise DataError(f"{printable(path)} holds no list of boxes, expected COCO results; "
                        "say another format=")  # fmt: skip
    for at, row in enumerate(rows):
        where = f"{printable(path)} box {at}"
        box = row.get("bbox") if isinstance(row, dict) else None
        if not isinstance(box, list) or len(box) != 4 or "image_id" not in row:
            raise DataError(f"{where}: no image_id or bbox [x, y, w, h]; correct it")
        x, y, w, h = (number(each, "bbox", where) for each in box)
        image = row["image_id"]
        frame = files.get(image, image) if not isinstance(image, list | dict) else image
        score = row.get("score")
        yield Detection(
            where,
            frame if isinstance(frame, str) else whole(frame, "image_id", where),
            (x - origin, y - origin, x + w - origin, y + h - origin),
            track=track_text(told_text(row.get("track_id"), "track_id", where)),
            score=None if score is None else number(score, "score", where),
            kind=told_text(row.get("category_id"), "category_id", where),
        )


def read_supervision(path: Path, origin: float) -> Iterator[Detection]:
    """The boxes of a file that supervision wrote, see `Detection`."""
    for where, row in _rows(path):
        missing = [name for name in _CORNERS if name not in row]
        if missing:
            raise DataError(f"{where}: no {missing[0]}, expected {', '.join(_CORNERS)}; correct it")
        x1, y1, x2, y2 = (number(row[name], name, where) - origin for name in _CORNERS)
        score = row.get("confidence")
        yield Detection(
            where,
            _frame(row, where),
            (x1, y1, x2, y2),
            track=track_text(told_text(row.get("tracker_id"), "tracker_id", where)),
            score=None if score in (None, "") else number(score, "confidence", where),
            kind=track_text(told_text(row.get("class_id"), "class_id", where)),
        )


def _frame(row: Mapping[str, object], where: str) -> int | str:
    """The frame that a column of the user's names."""
    for name in _FRAMES:
        if name in row:
            return whole(row[name], name, where)
    for name in _NAMES:
        if name in row:
            return told_text(row[name], name, where)
    raise DataError(
        f"{where}: no column tells the frame, expected one of {', '.join((*_FRAMES, *_NAMES))}; "
        "write it: sink.append(detections, custom_data={'frame_index': index})"
    )


def _rows(path: Path) -> Iterator[tuple[str, Mapping[str, object]]]:
    """Place and cells of each row of a CSV or JSON file."""
    if path.suffix.lower() == ".json":
        content = _json(path)
        for at, row in enumerate(content if isinstance(content, list) else [None]):
            if not isinstance(row, dict):
                raise DataError(f"{printable(path)} box {at}: no record, expected a list of them")
            yield f"{printable(path)} box {at}", row
        return
    reader = csv.DictReader(
        io.StringIO(read_text(path, what="the file of detections"), newline=""), strict=True
    )
    try:
        for row in reader:
            if None in row or None in row.values():
                raise DataError(f"{printable(path)} line {reader.line_num}: another number of "
                                "cells than the header has; correct it")  # fmt: skip
            yield f"{printable(path)} line {reader.line_num}", row
    except csv.Error as error:
        raise DataError(
            f"{printable(path)} line {reader.line_num}: not CSV ({error}); write it again"
        ) from error


def _json(path: Path) -> object:
    """What a JSON file holds."""
    text = read_text(path, what="the file of detections")
    try:
        return parse_plain(text)
    except ValueError as error:
        raise DataError(f"{printable(path)} is not JSON ({error}); say another format=") from error
