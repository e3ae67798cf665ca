"""Which file shows a frame: the images of a folder by number and name, or a video.

In: the place that a user names for a camera. Out: the file, and the number in a video.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from mtml_deploy.data.formats import image_suffixes
from mtml_deploy.data.video import SUFFIXES as VIDEO_SUFFIXES
from mtml_deploy.errors import DataError
from mtml_deploy.path_kind import is_there
from mtml_deploy.text import printable

_NUMBER: Final = re.compile(r"(\d{1,12})\Z")


_MOST_SHOWN: Final = 200
"""Characters of a name that an error shows."""


class FrameIndex:
    """The frames of one camera.

    Attributes:
        place: the folder, the video or the one image.
        is_video: which of these.
    """

    def __init__(self, place: Path, *, first: int, offset: int) -> None:
        """List a folder.

        Args:
            place: folder of images, video or image.
            first: number of a video's first frame in the detections.
            offset: what is added to the number of a frame to give that of its image.

        Raises:
            DataError: there is no such place, or it holds no image.
        """
        self.place = place
        if not is_there(place):
            raise DataError(f"no frames at {_shown(place)}: no such folder or file; correct "
                            "frames=")  # fmt: skip
        self.is_video = place.suffix.lower() in VIDEO_SUFFIXES and place.is_file()
        self._first, self._offset = first, offset
        self._names: dict[str, Path] = {}
        self._numbers: dict[int, list[Path]] = {}
        if place.is_dir():
            known = image_suffixes()
            for path in sorted(place.iterdir()):
                if path.suffix.lower() in known and not path.name.startswith("."):
                    self._add(path)
            if not self._names:
                raise DataError(f"{printable(place)} holds no image, expected frames; name the "
                                "folder of frames, or a video")  # fmt: skip
        elif not place.is_file():
            raise DataError(f"{_shown(place)} is neither a folder nor a file of frames; correct "
                            "frames=")  # fmt: skip

    def find(self, frame: int | str, where: str) -> tuple[Path, int | None]:
        """The file of a frame, and its number in a video from 0.

        Args:
            frame: its number in the detections, or the name of its image.
            where: file and line, for errors.

        Raises:
            DataError: there is no such frame.
        """
        if self.is_video:
            at = self._number(frame, where) - self._first
            if at < 0:
                raise DataError(f"{where}: frame {frame} is before the first, {self._first}; say "
                                "first=N, the number of the first frame")  # fmt: skip
            return self.place, at
        if not self._names:
            return self.place, None  # one image for all
        if isinstance(frame, str):
            if frame in self._names:
                return self._names[frame], None
            below = self.place / frame
            if is_there(below) and below.is_file():
                return below, None
            raise DataError(f"{where}: no image {_shown(frame)} in {printable(self.place)}; "
                            "correct frames=")  # fmt: skip
        number = frame + self._offset
        found = self._numbers.get(number, [])
        if len(found) == 1:
            return found[0], None
        if found:
            raise DataError(f"{where}: {len(found)} images of {printable(self.place)} have the "
                            f"number {number}, such as {printable(found[1].name)}; move the others "
                            "away")  # fmt: skip
        if not self._numbers:
            raise DataError(f"{where}: frame {frame} is told by its number, and no name in "
                            f"{printable(self.place)} ends in one; rename the images")  # fmt: skip
        raise DataError(
            f"{where}: no image of {printable(self.place)} has the number {number}, they have "
            f"{min(self._numbers)} to {max(self._numbers)}; say offset=N, which is added to frame "
            f"{frame}"
        )

    def position(self, frame: int | str) -> int | None:
        """How many frames come before this one; None where its name tells no number."""
        if isinstance(frame, int):
            return frame - self._first
        found = _NUMBER.search(Path(frame).stem)
        return int(found[1]) - self._first if found else None

    def _number(self, frame: int | str, where: str) -> int:
        """The number of a frame of a video, which a name may end in."""
        if isinstance(frame, int):
            return frame
        found = _NUMBER.search(Path(frame).stem)
        if found is None:
            raise DataError(f"{where}: {_shown(frame)} tells no number of a frame, expected one "
                            f"of the video {printable(self.place)}")  # fmt: skip
        return int(found[1])

    def _add(self, path: Path) -> None:
        """Know an image by its name, with and without suffix, and by the number it ends in."""
        self._names[path.name] = path
        self._names.setdefault(path.stem, path)
        if found := _NUMBER.search(path.stem):
            self._numbers.setdefault(int(found[1]), []).append(path)


def _shown(name: Path | str) -> str:
    """A name as an error shows it."""
    text = printable(name)
    return text if len(text) <= _MOST_SHOWN else f"{text[:_MOST_SHOWN]}..."
