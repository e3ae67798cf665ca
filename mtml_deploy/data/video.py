"""Frames of a video by their numbers, counted from 0 in the order they are shown.

Frames are decoded one after the other: a video has no exact index, and a number that is off by one
would cut every box of the wrong picture.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterator
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from mtml_deploy.errors import ImageError, MissingExtraError
from mtml_deploy.text import printable

if TYPE_CHECKING:
    from fractions import Fraction

    from PIL import Image

SUFFIXES: Final = frozenset({".mp4", ".avi", ".mkv", ".mov", ".m4v", ".webm", ".ts", ".mpg"})
"""Names of videos."""

_PASSED: Final = 16
"""Frames kept that were passed on the way to a later one."""


class Video:
    """One file, read forward; going back begins again."""

    def __init__(self, path: Path, wanted: Collection[int]) -> None:
        """Nothing is opened yet.

        Args:
            path: the file.
            wanted: frames that will be asked for.
        """
        self._path = path
        self._wanted = frozenset(wanted)
        self._passed: OrderedDict[int, Image.Image] = OrderedDict()
        self._frames: Iterator[Any] | None = None
        self._next = 0
        self._lock = Lock()

    def frame(self, number: int) -> Image.Image:
        """A frame, RGB.

        Raises:
            ImageError: the video ends before it, or cannot be decoded.
            MissingExtraError: PyAV is not installed.
        """
        with self._lock:
            if number in self._passed:
                return self._passed.pop(number)
            if self._frames is None or number < self._next:
                self._frames, self._next = _decoded(self._path), 0
            for decoded in self._frames:
                at, self._next = self._next, self._next + 1
                if at == number:
                    image: Image.Image = decoded.to_image()
                    return image
                if at in self._wanted:
                    self._passed[at] = decoded.to_image()
                    while len(self._passed) > _PASSED:
                        self._passed.popitem(last=False)
            count, self._frames, self._next = self._next, None, 0
        raise ImageError(
            f"{printable(self._path)} has {count} frames, and number {number}, counted from 0, was "
            "asked for; say first=N, the number of the first frame in the detections"
        )


def frame_rate(path: Path) -> Fraction | None:
    """Frames per second that a video tells; None where it tells none.

    Raises:
        ImageError: it cannot be opened.
        MissingExtraError: PyAV is not installed.
    """
    container, stream = _opened(path)
    rate: Fraction | None = stream.average_rate
    container.close()
    return rate


def frame_size(path: Path) -> tuple[int, int]:
    """Width and height of a video's frames; errors as of `frame_rate`."""
    container, stream = _opened(path)
    size = int(stream.width), int(stream.height)
    container.close()
    return size


def _opened(path: Path) -> tuple[Any, Any]:
    """The container and its first video stream."""
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("reading frames of a video needs av", "video") from error
    try:
        container = av.open(str(path))
        stream = container.streams.video[0]
    except (OSError, IndexError, ValueError) as error:
        raise ImageError(
            f"{printable(path)} cannot be read as a video ({error}); name a video, or a folder of "
            "frames"
        ) from error
    return container, stream


def _decoded(path: Path) -> Iterator[Any]:
    """Its frames in order."""
    container, stream = _opened(path)
    stream.thread_type = "AUTO"
    try:
        yield from container.decode(stream)
    except (OSError, ValueError) as error:
        raise ImageError(f"{printable(path)} is damaged ({error}); copy it again") from error
    finally:
        container.close()
