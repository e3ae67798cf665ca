"""The images of all joined data sets under one classifier.

In: training splits of one or more data sets. Out: a `TrainSet`; identities are disjoint classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.ids import in_order, shown_id
from mtml_deploy.data.records import UNKNOWN, ImageSet
from mtml_deploy.errors import DataError
from mtml_train.data.fingerprint import SetFingerprint, fingerprint


@dataclass(frozen=True)
class TrainSet:
    """Images of all joined data sets with class labels.

    Attributes:
        paths: [N] image files, as text.
        classes: int64 [N], 0..C-1.
        orientations: int64 [N], 0..7, -1 unknown.
        cameras: int64 [N], camera id, -1 unknown.
        groups: int64 [N], which data set an image is of.
        identities: [C] (data set, vehicle id) of each class, the id a number or the text that it
            is; classes of two data sets are disjoint.
        sets: what each data set holds.
    """

    paths: tuple[str, ...]
    classes: NDArray[np.int64]
    orientations: NDArray[np.int64]
    cameras: NDArray[np.int64]
    groups: NDArray[np.int64]
    identities: tuple[tuple[int, int | str], ...]
    sets: tuple[SetFingerprint, ...]

    def __len__(self) -> int:
        """Number of images."""
        return len(self.paths)


def join_training_sets(sets: Sequence[ImageSet]) -> TrainSet:
    """All images of `sets` under one classifier (paper, section 3.2: I_1 and I_2).

    Args:
        sets: training splits; images of unknown identity are refused.

    Returns:
        The joined set; classes are numbered by data set, then by vehicle id, numbers before texts.

    Raises:
        DataError: an image without vehicle id, or fewer than two identities.
    """
    keys: list[tuple[int, int]] = []
    paths: list[str] = []
    orientations: list[int] = []
    cameras: list[int] = []
    for group, images in enumerate(sets):
        for record in images.records:
            if record.vehicle_id == UNKNOWN:
                raise DataError(
                    f"{record.path} of {images.source} has no vehicle id; training needs one for "
                    "every image: leave it out of the list or label it, for example in a table "
                    "(csv:FILE@id=COLUMN) or by a folder per vehicle (folders:DIR); a data set is "
                    "named with its format, for example veri:DIR"
                )
            keys.append((group, record.vehicle_id))
            paths.append(str(record.path))
            orientations.append(record.orientation)
            cameras.append(record.camera_id)
    ordered = [
        (group, vehicle)
        for group, images in enumerate(sets)
        for vehicle in in_order(record.vehicle_id for record in images.records)
    ]
    if len(ordered) < 2:
        raise DataError(f"found {len(ordered)} vehicle identities; training needs at least 2")
    index = {key: position for position, key in enumerate(ordered)}
    return TrainSet(
        paths=tuple(paths),
        classes=np.array([index[key] for key in keys], dtype=np.int64),
        orientations=np.array(orientations, dtype=np.int64),
        cameras=np.array(cameras, dtype=np.int64),
        groups=np.array([group for group, _ in keys], dtype=np.int64),
        identities=tuple((group, shown_id(vehicle)) for group, vehicle in ordered),
        sets=tuple(fingerprint(images) for images in sets),
    )
