"""What is known of one image and of a set of images, whichever file format it came from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from mtml_deploy.data.frame_crop import FrameCrop
from mtml_deploy.data.ids import UNKNOWN as UNKNOWN
from mtml_deploy.data.memory_image import MemoryImage
from mtml_deploy.errors import DataError

ORIENTATIONS: Final = (
    "front",
    "rear",
    "left",
    "left front",
    "left rear",
    "right",
    "right front",
    "right rear",
)
"""Orientation classes 0..7 (Wang et al. 2017)."""

FLIPPED_ORIENTATION: Final = (0, 1, 5, 6, 7, 2, 3, 4)
"""Class that orientation i becomes under a horizontal flip: left and right swap."""


@dataclass(frozen=True, slots=True)
class ImageRecord:
    """One labelled image.

    Attributes:
        path: the image file.
        vehicle_id: 0 or more, or a `NamedId`; -1 unknown (a junk image in the Market protocol).
        camera_id: likewise; -1 unknown.
        orientation: 0..7, index into `ORIENTATIONS`; -1 unknown.
        tracklet_id: likewise, images of one pass of one vehicle before one camera; -1 unknown.
        time_us: when it was taken, microseconds since 1970 UTC; None unknown.
    """

    path: Path
    vehicle_id: int = UNKNOWN
    camera_id: int = UNKNOWN
    orientation: int = UNKNOWN
    tracklet_id: int = UNKNOWN
    time_us: int | None = None

    def __post_init__(self) -> None:
        """Refuse labels outside their range.

        Raises:
            ValueError: an id below -1, or an orientation outside -1..7.
        """
        least = min(self.vehicle_id, self.camera_id, self.tracklet_id)
        if least < UNKNOWN:
            raise ValueError(f"ids are -1 (unknown) or more, found {least} for {self.path}")
        if not UNKNOWN <= self.orientation < len(ORIENTATIONS):
            raise ValueError(f"orientation is -1..7, found {self.orientation} for {self.path}")


@dataclass(frozen=True)
class ImageSet:
    """An ordered set of images with one root folder.

    Attributes:
        source: what the user asked for, for example "veri:DIR#gallery".
        root: folder that every path is under; names in results are relative to it.
        records: the images, in the order of the data set's own list.
        notes: what was tolerated while reading, one counted sentence each.
        memory: [N] the images themselves where they are no files; the paths are their names then.
        crops: [N] regions of frames where the images are such; the paths are their names then.
    """

    source: str
    root: Path
    records: tuple[ImageRecord, ...]
    notes: tuple[str, ...] = ()
    memory: tuple[MemoryImage, ...] | None = None
    crops: tuple[FrameCrop, ...] | None = None

    def __post_init__(self) -> None:
        """Refuse pictures that are not those of the records.

        Raises:
            ValueError: another number of them.
        """
        for pictures in (self.memory, self.crops):
            if pictures is not None and len(pictures) != len(self.records):
                raise ValueError(f"{len(pictures)} pictures of {len(self.records)} records")

    def take(self, rows: Sequence[int]) -> ImageSet:
        """Some of the images, in the order asked for."""
        return replace(
            self,
            records=tuple(self.records[row] for row in rows),
            memory=None if self.memory is None else tuple(self.memory[row] for row in rows),
            crops=None if self.crops is None else tuple(self.crops[row] for row in rows),
        )

    @property
    def pictures(self) -> tuple[Path | FrameCrop | MemoryImage, ...]:
        """What is decoded, in order: files, regions of frames, or images in memory."""
        if self.crops is not None:
            return self.crops
        if self.memory is not None:
            return self.memory
        return tuple(record.path for record in self.records)

    def names(self) -> tuple[str, ...]:
        """Paths of the images relative to `root`, with forward slashes."""
        return tuple(record.path.relative_to(self.root).as_posix() for record in self.records)


def require_files(images: ImageSet, what: str) -> None:
    """Refuse regions of frames where each image must be a file.

    Args:
        images: what was read.
        what: who needs files, for the error.

    Raises:
        DataError: they are regions.
    """
    if images.crops is not None:
        raise DataError(
            f"{images.source} holds regions of frames, and {what} needs a file for each image; cut "
            "them out first, and name the folder or a table of them"
        )


def unknown_notes(records: Sequence[ImageRecord], *labels: str) -> tuple[str, ...]:
    """One sentence for each label, a field such as "vehicle_id", that some images lack."""
    counts = {name: sum(getattr(record, name) == UNKNOWN for record in records) for name in labels}
    return tuple(
        f"{count} of {len(records)} images have no {name.replace('_', ' ')}"
        for name, count in counts.items()
        if count
    )
