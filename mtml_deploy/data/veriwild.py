"""VERI-Wild (Lou et al. 2019): images by vehicle, lists of images, and what is known of each.

Layout as fast-reid and the loaders of the later release read it: `images/VEHICLE/IMAGE.jpg`; below
`train_test_split` the lists train_list.txt, test_3000_query.txt, test_3000.txt and so on (or
train_list_start0.txt, test_3000_id_query.txt, test_3000_id.txt), each line VEHICLE/IMAGE with or
without suffix, then in some releases a class and the camera; and vehicle_info.txt, whose lines are
VEHICLE/IMAGE;camera;time;model;type;colour below a header. The vehicle is that of the folder: the
class in train_list_start0.txt is another number. Model, type and colour are not used.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.data.clock import read_time
from mtml_deploy.data.records import UNKNOWN, ImageRecord, ImageSet, unknown_notes
from mtml_deploy.data.text_files import (
    SPLITS,
    Split,
    SplitFiles,
    numbered_lines,
    parse_id,
    require_distinct,
)
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

FILES: Final = dict.fromkeys(SPLITS, SplitFiles("images"))
SIZES: Final = (3000, 5000, 10000)
"""Vehicles of the published test sets: small, medium, large."""

_INFO: Final = "vehicle_info.txt"


@dataclass(frozen=True)
class _Known:
    """What vehicle_info.txt tells of an image."""

    camera_id: int
    time: str


def load_veriwild(root: Path, split: Split, *, size: int) -> ImageSet:
    """One split of VERI-Wild, in the order of its list.

    Args:
        root: folder with images and train_test_split.
        split: "train", "query" or "gallery".
        size: of the test set, one of `SIZES`.

    Returns:
        One record per line, with camera and time where they are told.

    Raises:
        DataError: a missing folder or list, or a line that breaks its format.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {printable(root)}; give the data set's own folder")
    folder = root / FILES[split].folder
    if not folder.is_dir():
        raise DataError(f"no image folder {printable(folder)}; copy the data set again")
    path = _listing(root / "train_test_split", split, size)
    info = root / "train_test_split" / _INFO
    notes: list[str] = []
    known: dict[str, _Known] = {}
    if info.exists():
        known = _read_info(info)
    else:
        notes.append(f"{_INFO}: absent, cameras come from {path.name}, and no time is known")
    names: list[str] = []
    records = []
    unread = 0
    for line, text in numbered_lines(path, what=f"the list of the {split} images"):
        name, vehicle, camera = _entry(text, f"{printable(path)} line {line}")
        told = known.get(name, _Known(camera, ""))
        try:
            time_us = read_time(told.time) if told.time else None
        except ValueError:
            unread, time_us = unread + 1, None
        names.append(name)
        records.append(
            ImageRecord(
                folder / f"{name}.jpg",
                vehicle,
                camera if told.camera_id == UNKNOWN else told.camera_id,
                time_us=time_us,
            )
        )
    if not records:
        raise DataError(f"{printable(path)} is empty, expected one image per line")
    require_distinct(names, path)
    if unread:
        notes.append(f"{_INFO}: {unread} times cannot be read and are not known")
    notes += unknown_notes(records, "vehicle_id", "camera_id")
    return ImageSet(f"{source_name(size)}:{root}#{split}", root, tuple(records), tuple(notes))


def source_name(size: int) -> str:
    """What the user types before the colon for a test set; the smallest needs no number."""
    return "veriwild" if size == SIZES[0] else f"veriwild-{size}"


def _listing(folder: Path, split: Split, size: int) -> Path:
    """The list of a split: the first of its names that is there."""
    names = {
        "train": ("train_list.txt", "train_list_start0.txt"),
        "query": (f"test_{size}_query.txt", f"test_{size}_id_query.txt"),
        "gallery": (f"test_{size}.txt", f"test_{size}_id.txt"),
    }[split]
    for name in names:
        if (folder / name).is_file():
            return folder / name
    raise DataError(
        f"the list of the {split} images is missing: no file {printable(folder / names[0])} and no "
        f"{names[1]}; copy the data set again"
    )


def _entry(text: str, where: str) -> tuple[str, int, int]:
    """Image without suffix, vehicle and camera of a line; -1 for a camera that is not told."""
    words = text.split()
    vehicle, slash, image = words[0].partition("/")
    image = image.removesuffix(".jpg")
    try:
        if not slash or "/" in image or "\\" in image or image in ("", ".", "..") or "\0" in image:
            raise ValueError("not VEHICLE/IMAGE")
        camera_id = parse_id(words[2]) if len(words) > 2 else UNKNOWN
        return f"{vehicle}/{image}", parse_id(vehicle), camera_id
    except ValueError as error:
        raise DataError(
            f"{where}: {printable(text)!r} ({error}), expected a vehicle and its image such as "
            "00001/000017.jpg; copy the data set again"
        ) from error


def _read_info(path: Path) -> dict[str, _Known]:
    """What vehicle_info.txt tells, by image."""
    known = {}
    for line, text in numbered_lines(path, what="what is known of the images"):
        name, *fields = (field.strip() for field in text.split(";"))
        try:
            known[name.removesuffix(".jpg")] = _Known(parse_id(fields[0]), fields[1])
        except (ValueError, IndexError) as error:
            if line == 1:  # the header
                continue
            raise DataError(
                f"{printable(path)} line {line}: {printable(text)!r}, expected "
                "VEHICLE/IMAGE;camera;time and more; copy the data set again"
            ) from error
    return known
