"""Images to choose from, and sets that were chosen, without a data set."""

from __future__ import annotations

import hashlib
from pathlib import Path

from mtml_deploy.data.records import ImageRecord
from mtml_deploy.precision.calibration_list import CalibrationImage, CalibrationSet


def image(name: str, vehicle: int, camera: int = -1, orientation: int = -1) -> CalibrationImage:
    """An image without a file, its hash made up from its name."""
    record = ImageRecord(Path("train") / name, vehicle, camera, orientation)
    return CalibrationImage(record, hashlib.sha256(name.encode()).hexdigest())


def on_disk(path: Path, vehicle: int, camera: int = 1, orientation: int = 0) -> CalibrationImage:
    """An image with the hash of its file."""
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    return CalibrationImage(ImageRecord(path, vehicle, camera, orientation), sha256)


def chosen(paths: list[Path], *, heldout: int) -> CalibrationSet:
    """Files as a set: the last `heldout` are of vehicle 2, the others of vehicle 1."""
    split = len(paths) - heldout
    return CalibrationSet(
        source="veri:somewhere",
        seed=7,
        heldout_fraction=0.25,
        calibration=tuple(on_disk(path, 1) for path in paths[:split]),
        heldout=tuple(on_disk(path, 2) for path in paths[split:]),
    )
