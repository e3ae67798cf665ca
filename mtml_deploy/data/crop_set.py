"""Boxes of a detector or tracker as an image set: each is cut out of its frame when it is decoded.

In: a file of detections and where its frames are. Out: one record per box, with camera, track and
time. A crop has the pixels that the box touches: what a hand would cut and save without loss.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Final, TypeAlias

from mtml_deploy.data.clock import FIRST_US, LAST_US, read_time
from mtml_deploy.data.crop_options import FORMATS
from mtml_deploy.data.decode import image_size
from mtml_deploy.data.detections.detection import Detection, Reader
from mtml_deploy.data.detections.table_formats import read_coco, read_supervision
from mtml_deploy.data.detections.text_formats import read_aicity, read_mot, read_yolo
from mtml_deploy.data.frame_crop import Box, FrameCrop
from mtml_deploy.data.frame_index import FrameIndex
from mtml_deploy.data.frame_store import FrameStore
from mtml_deploy.data.ids import UNKNOWN, read_id
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.data.video import frame_rate, frame_size
from mtml_deploy.errors import DataError
from mtml_deploy.text import printable

_READERS: Final[Mapping[str, tuple[Reader, int, int]]] = {
    # format -> reader, number of the first frame, coordinate of the first pixel
    "mot": (read_mot, 1, 1),
    "aicity": (read_aicity, 1, 0),
    "coco": (read_coco, 0, 0),
    "yolo": (read_yolo, 0, 0),
    "supervision": (read_supervision, 0, 0),
}
_CAMERA: Final = re.compile(r"\{camera(?::0(\d)d)?\}")
_MICROSECONDS: Final = 1_000_000
_FARTHEST: Final = 100_000_000
"""Pixels: no frame is so large, and the name of a crop has room for it."""

Key: TypeAlias = tuple[Path, "int | None", Box, str]
"""What makes a box the same as another: frame, region, track."""


def load_crops(path: Path, options: Mapping[str, str]) -> ImageSet:
    """The boxes of a file.

    Args:
        path: the file, or a folder of YOLO files.
        options: see docs/crops.md; frames and format are needed.

    Returns:
        One record per box, in the order of the file.

    Raises:
        DataError: an option or line that cannot be read, a frame that is not there, or no box.
        MissingExtraError: the frames are a video, and PyAV is not installed.
    """
    return _CropReader(path, options).read()


class _CropReader:
    """Reads one file; what lines need of each other is kept here."""

    def __init__(self, path: Path, options: Mapping[str, str]) -> None:
        self._path, self._options = path, options
        for name in ("frames", "format"):
            if name not in options:
                raise DataError(
                    f"crops:{printable(path)} says no {name}=, expected "
                    "crops:FILE@frames=FOLDER-OR-VIDEO,format="
                    f"{'|'.join(FORMATS)}"
                )
        if options["format"] not in _READERS:
            raise DataError(f"format={options['format']} is none, expected {', '.join(FORMATS)}; "
                            "correct it")  # fmt: skip
        if options.get("ids", "tracklet") not in ("tracklet", "vehicle"):
            raise DataError(f"ids={options['ids']} is none, expected tracklet or vehicle; say what "
                            "the ids of the file stand for")  # fmt: skip
        self._read, first, origin = _READERS[options["format"]]
        self._origin = self._real("origin", origin)
        self._first = self._whole("first", first)
        self._offset = self._whole("offset", 0)
        self._least = self._real("min_score", -math.inf)
        self._kinds = frozenset(options["classes"].split("+")) if "classes" in options else None
        self._start = None if "start" not in options else self._time(options["start"])
        self._cameras: dict[str, FrameIndex] = {}
        self._rates: dict[Path, Fraction] = {}
        self._sizes: dict[Path, tuple[int, int]] = {}

    def read(self) -> ImageSet:
        """See `load_crops`."""
        found: dict[Key, tuple[Detection, FrameIndex, str]] = {}
        dropped = again = 0
        for each in self._read(self._path, self._origin):
            if (each.score is not None and each.score < self._least) or (
                self._kinds is not None and each.kind not in self._kinds
            ):
                dropped += 1
                continue
            index = self._index(each)
            file, number = index.find(each.frame, each.where)
            box = self._pixels(each, file, number)
            key = (file, number, box or (0, 0, 0, 0), each.track)
            again += key in found
            found.setdefault(key, (each, index, _problem(each, box)))
        if not found:
            less = f", {dropped} were left out" if dropped else ""
            raise DataError(
                f"{printable(self._path)} tells no box{less}, expected one or more; check format=, "
                "min_score= and classes="
            )
        wanted: dict[Path, set[int]] = {}
        for file, number, _, _ in found:
            if number is not None:
                wanted.setdefault(file.absolute(), set()).add(number)
        store = FrameStore(wanted)
        crops = tuple(
            FrameCrop(store, file.absolute(), number, box, problem)
            for (file, number, box, _), (_, _, problem) in found.items()
        )
        records = tuple(
            self._record(crop, each, index)
            for crop, (each, index, _) in zip(crops, found.values(), strict=True)
        )
        notes = []
        if dropped:
            notes.append(f"boxes left out by min_score= or classes=: {dropped}")
        if again:
            notes.append(f"boxes told twice, taken once: {again}")
        root = Path(os.path.commonpath({crop.path.parent.absolute() for crop in crops}))
        text = ",".join(f"{name}={value}" for name, value in self._options.items())
        return ImageSet(f"crops:{self._path}@{text}", root, records, tuple(notes), crops=crops)

    def _record(self, crop: FrameCrop, each: Detection, index: FrameIndex) -> ImageRecord:
        """What the file tells of a box."""
        camera_text = self._options.get("camera") or each.camera
        try:
            camera = read_id(camera_text) if camera_text else UNKNOWN
            track = tracklet = read_id(each.track) if each.track else UNKNOWN
            if track != UNKNOWN and camera_text:  # trackers count from 1 before every camera
                tracklet = read_id(f"{camera_text}/{each.track}")
        except ValueError as error:
            raise DataError(f"{each.where}: {error}; correct it") from error
        vehicle = track if self._options.get("ids") == "vehicle" else UNKNOWN
        return ImageRecord(
            crop.name, vehicle, camera, tracklet_id=tracklet, time_us=self._moment(each, index)
        )

    def _index(self, each: Detection) -> FrameIndex:
        """The frames of the camera of a box."""
        camera = each.camera or self._options.get("camera", "")
        if camera not in self._cameras:
            place = self._options["frames"]
            if _CAMERA.search(place) and not camera:
                raise DataError(f"{each.where}: frames= names {{camera}}, and no camera is told; "
                                "say camera=ID")  # fmt: skip
            place = _CAMERA.sub(lambda found: camera.zfill(int(found[1] or 0)), place)
            self._cameras[camera] = FrameIndex(
                Path(place).expanduser(), first=self._first, offset=self._offset
            )
        return self._cameras[camera]

    def _pixels(self, each: Detection, file: Path, number: int | None) -> Box | None:
        """The whole pixels that a box touches; None where it is not of this world."""
        box = each.box
        if not all(abs(value) < _FARTHEST for value in box):  # also NaN
            return None
        if each.shares:
            if file not in self._sizes:
                self._sizes[file] = image_size(file) if number is None else frame_size(file)
            width, height = self._sizes[file]
            # to a thousandth: shares are written in decimals, and 0.3 x 80 is not quite 24
            x1, x2 = (round(share * width, 3) for share in box[::2])
            y1, y2 = (round(share * height, 3) for share in box[1::2])
            box = (x1, y1, x2, y2)
        if not all(abs(value) < _FARTHEST for value in box):
            return None
        x1, y1, x2, y2 = box
        return math.floor(x1), math.floor(y1), math.ceil(x2), math.ceil(y2)

    def _moment(self, each: Detection, index: FrameIndex) -> int | None:
        """When the frame of a box was taken, microseconds since 1970 UTC."""
        if self._start is None:
            return None
        at = index.position(each.frame)
        if at is None:
            raise DataError(f"{each.where}: {each.frame} tells no number, so start= gives it no "
                            "time; leave start= out")  # fmt: skip
        moment = self._start + round(at * _MICROSECONDS / self._rate(index, each.where))
        if not FIRST_US <= moment <= LAST_US:
            raise DataError(f"{each.where}: start=, fps= and the number of its frame give a time "
                            "outside the years 1 to 9999; correct them")  # fmt: skip
        return moment

    def _rate(self, index: FrameIndex, where: str) -> Fraction:
        """Frames per second."""
        if index.place not in self._rates:
            told = self._options.get("fps")
            rate = None
            if told is not None:
                rate = Fraction(self._real("fps", 0)).limit_denominator(100_000)
            elif index.is_video:
                rate = frame_rate(index.place)
            if rate is None or rate <= 0:
                raise DataError(f"{where}: start= is said, and not how many frames a second; say "
                                "fps=25")  # fmt: skip
            self._rates[index.place] = rate
        return self._rates[index.place]

    def _real(self, name: str, default: float) -> float:
        """An option that is a number."""
        text = self._options.get(name)
        try:
            value = default if text is None else float(text)
        except ValueError as error:
            raise DataError(f"{name}={text} is no number; correct it") from error
        if text is not None and not math.isfinite(value):
            raise DataError(f"{name}={text} is no number; correct it")
        return value

    def _whole(self, name: str, default: int) -> int:
        """An option that is a whole number."""
        value = self._real(name, default)
        if not value.is_integer() if isinstance(value, float) else False:
            raise DataError(f"{name}={self._options[name]} is no whole number; correct it")
        return int(value)

    @staticmethod
    def _time(text: str) -> int:
        """The time that start= tells."""
        try:
            return read_time(text)
        except ValueError as error:
            raise DataError(f"start={error}; correct it") from error


def _problem(each: Detection, box: Box | None) -> str:
    """Why a box cannot be cut, whatever its frame."""
    if box is None:
        return (f"{each.where}: the box holds a value that is not finite, or too large for any "
                "frame, expected pixels")  # fmt: skip
    if box[0] >= box[2] or box[1] >= box[3]:
        return f"{each.where}: the box has no area"
    return ""
