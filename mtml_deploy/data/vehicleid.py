"""PKU VehicleID (Liu et al. 2016): one folder of images, and lists of images with their vehicles.

Layout as fast-reid and TransReID read it: `image/NAME.jpg`, `train_test_split/train_list.txt` and
`test_list_800.txt` and so on, each line an image's name without suffix and its vehicle. No camera
is told. A test list is not divided: protocol vehicleid draws one image of each vehicle as gallery
from all of them. So that every use has a gallery, the first listed image of each vehicle is the
gallery here and the others are the queries; the protocol draws from both together.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from mtml_deploy.data.records import ImageRecord, ImageSet, unknown_notes
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

FILES: Final = dict.fromkeys(SPLITS, SplitFiles("image"))
SIZES: Final = (800, 1600, 2400, 3200, 6000, 13164)
"""Vehicles of the published test lists."""


def load_vehicleid(root: Path, split: Split, *, size: int) -> ImageSet:
    """The training images of VehicleID, or a part of one of its test lists.

    Args:
        root: folder with image and train_test_split.
        split: "train"; "gallery", the first image of each vehicle of the test list; "query", the
            others.
        size: of the test list, one of `SIZES`.

    Returns:
        One record per line, without camera.

    Raises:
        DataError: a missing folder or list, or a line that is not an image and its vehicle.
    """
    if not root.is_dir():
        raise DataError(f"no such folder: {printable(root)}; give the data set's own folder")
    listing = "train_list.txt" if split == "train" else f"test_list_{size}.txt"
    path = root / "train_test_split" / listing
    folder = root / FILES[split].folder
    if not folder.is_dir():
        raise DataError(f"no image folder {printable(folder)}; copy the data set again")
    names: list[str] = []
    records = []
    for line, text in numbered_lines(path, what="the list of images and their vehicles"):
        words = text.split()
        try:
            name, vehicle = words
            vehicle_id = parse_id(vehicle)
        except ValueError as error:
            raise DataError(
                f"{printable(path)} line {line}: {printable(text)!r}, expected an image without "
                "suffix and its vehicle, such as 0000123 41; copy the data set again"
            ) from error
        if "/" in name or "\\" in name or name in (".", "..") or "\0" in name:
            raise DataError(f"{printable(path)} line {line}: {printable(name)!r} is not the bare "
                            "name of an image; copy the data set again")  # fmt: skip
        names.append(name)
        records.append(ImageRecord(folder / f"{name}.jpg", vehicle_id))
    if not records:
        raise DataError(f"{printable(path)} is empty, expected an image and its vehicle per line")
    require_distinct(names, path)
    if split != "train":
        first = {record.vehicle_id: record.path for record in reversed(records)}
        in_gallery = split == "gallery"
        records = [r for r in records if (first[r.vehicle_id] == r.path) == in_gallery]
    if not records:
        raise DataError(
            f"{printable(path)} has one image of each vehicle, expected more to look for; copy the "
            "data set again"
        )
    return ImageSet(
        f"{source_name(size)}:{root}#{split}",
        root,
        tuple(records),
        unknown_notes(records, "vehicle_id", "camera_id"),
    )


def source_name(size: int) -> str:
    """What the user types before the colon for a test list; the smallest needs no number."""
    return "vehicleid" if size == SIZES[0] else f"vehicleid-{size}"
