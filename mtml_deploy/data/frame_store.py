"""Frames of folders and videos, each decoded once for all its boxes.

In: a frame's file, or a video and a number. Out: the frame, RGB. The last few are kept, so that
threads which cut boxes of one frame share it.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import Future
from pathlib import Path
from threading import Lock
from typing import Final

from PIL import Image

from mtml_deploy.data.video import Video
from mtml_deploy.regular_file import open_regular

_KEPT: Final = 16
"""Frames that are kept: 6 MB each in full HD. Threads ask for the next few out of order."""


class FrameStore:
    """Where the crops of one set find their frames; used by many threads."""

    def __init__(self, wanted: Mapping[Path, Collection[int]] | None = None) -> None:
        """Nothing is opened yet.

        Args:
            wanted: video -> the frames that will be asked for, which are kept when they pass.
        """
        self._wanted = wanted or {}
        self._kept: OrderedDict[tuple[Path, int | None], Future[Image.Image]] = OrderedDict()
        self._hashes: dict[Path, str] = {}
        self._videos: dict[Path, Video] = {}
        self._lock = Lock()

    def image(
        self, path: Path, number: int | None, decode: Callable[[Path], Image.Image]
    ) -> Image.Image:
        """A frame, RGB.

        Args:
            path: image file or video.
            number: of the frame in the video, from 0; None for an image file.
            decode: reads an image file.

        Raises:
            ImageError: it cannot be read.
            MissingExtraError: videos cannot be read here.
        """
        key = (path, number)
        with self._lock:
            found = self._kept.get(key)
            if found is not None:
                self._kept.move_to_end(key)
            else:
                mine = self._kept[key] = Future()
                while len(self._kept) > _KEPT:
                    self._kept.popitem(last=False)
        if found is None:
            found = mine
            try:
                frame = decode(path) if number is None else self._video(path).frame(number)
                frame.load()
                found.set_result(frame)
            except BaseException as error:
                found.set_exception(error)
        return found.result()

    def sha256(self, path: Path) -> str:
        """Hash of a file's bytes, computed once.

        Raises:
            OSError: it cannot be read.
        """
        if path not in self._hashes:
            with open_regular(path) as file:
                self._hashes[path] = hashlib.file_digest(file, "sha256").hexdigest()
        return self._hashes[path]

    def _video(self, path: Path) -> Video:
        """The video, opened when it is first asked for a frame."""
        with self._lock:
            if path not in self._videos:
                self._videos[path] = Video(path, self._wanted.get(path, ()))
            return self._videos[path]
