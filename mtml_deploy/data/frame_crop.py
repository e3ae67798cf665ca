"""A region of a frame, named like a file: FRAME#xywh=X,Y,W,H, or VIDEO#frame=N&xywh=X,Y,W,H.

In: a frame's file or a video, and a box. Out: one value that is decoded where files are. Nothing is
read before that, and the frame of many boxes is decoded once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

if TYPE_CHECKING:  # what names images must not need Pillow
    from PIL import Image

_NAME: Final = re.compile(
    r"(?P<file>.+)#(?:frame=(?P<frame>\d{1,12})&)?"
    r"xywh=(?P<x>-?\d{1,9}),(?P<y>-?\d{1,9}),(?P<w>\d{1,9}),(?P<h>\d{1,9})",
    re.DOTALL,
)

Box = tuple[int, int, int, int]
"""x1, y1, x2, y2 in whole pixels of the frame, the last two behind the last pixel."""


class Frames(Protocol):
    """Where pixels of frames come from."""

    def image(
        self, path: Path, number: int | None, decode: Callable[[Path], Image.Image]
    ) -> Image.Image:
        """A frame, RGB; `decode` reads that of an image file, for a video it is not used."""
        ...

    def sha256(self, path: Path) -> str:
        """Hash of a file's bytes."""
        ...


@dataclass(frozen=True, eq=False)
class FrameCrop:
    """One region.

    Attributes:
        frames: what reads the frame.
        path: the frame's image file, or the video.
        number: of the frame in the video, from 0; None for an image file.
        box: the region; it may reach beyond the frame, where it is cut off.
        problem: why it cannot be used; empty where it can.
    """

    frames: Frames
    path: Path
    number: int | None
    box: Box
    problem: str = ""

    @property
    def name(self) -> Path:
        """The region as a path, which `parse_name` reads back."""
        x1, y1, x2, y2 = self.box
        frame = "" if self.number is None else f"frame={self.number}&"
        return self.path.with_name(f"{self.path.name}#{frame}xywh={x1},{y1},{x2 - x1},{y2 - y1}")

    def content(self) -> str:
        """What tells the pixels: the hash of the file, the frame and the region."""
        at = "" if self.number is None else f"{self.number}:"
        return f"crop:{self.frames.sha256(self.path)}:{at}{','.join(map(str, self.box))}"

    def clipped(self, width: int, height: int) -> Box | None:
        """The part of the region that a frame of this size has; None where it has none."""
        x1, y1, x2, y2 = self.box
        x1, x2 = max(0, x1), min(width, x2)
        y1, y2 = max(0, y1), min(height, y2)
        return (x1, y1, x2, y2) if x1 < x2 and y1 < y2 else None


def parse_name(name: Path) -> tuple[Path, int | None, Box] | None:
    """File, frame and box that the name of a crop tells; None for a name of a file."""
    found = _NAME.fullmatch(str(name))
    if found is None or name.exists():
        return None
    x, y, w, h = (int(found[each]) for each in "xywh")
    number = None if found["frame"] is None else int(found["frame"])
    return Path(found["file"]), number, (x, y, x + w, y + h)
