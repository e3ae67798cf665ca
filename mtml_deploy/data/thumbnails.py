"""Small pictures for pages: one JPEG each.

In: an image file. Out: a JPEG, made anew from its pixels, and the size at which to show it.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import ExifTags, Image

from mtml_deploy.data.batches import decode_image
from mtml_deploy.data.decode import decode_whole
from mtml_deploy.data.frame_crop import FrameCrop, parse_name
from mtml_deploy.data.frame_store import FrameStore
from mtml_deploy.errors import ImageError
from mtml_deploy.regular_file import open_regular

_DECODED: Final = 224
"""Side, in pixels, of the square that is decoded before the true proportions are restored."""

_QUALITY: Final = 82
"""JPEG quality: about 4 kB for 112 px, no visible blocks."""


@dataclass(frozen=True)
class Thumbnail:
    """One small picture.

    Attributes:
        jpeg: the file.
        width: pixels.
        height: pixels.
    """

    jpeg: bytes
    width: int
    height: int

    @property
    def address(self) -> str:
        """As text that can stand inside a page: "data:image/jpeg;base64,..."."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode('ascii')}"


def make_thumbnail(path: Path, *, side: int) -> Thumbnail | None:
    """The image of `path`, upright, its longer side `side` pixels.

    Args:
        path: an image file, or the name of a region of one (see `frame_crop`). Regions of a video
            are not shown: each would decode it from its beginning.
        side: pixels, 1 or more.

    Returns:
        The thumbnail; None if the file cannot be shown (the caller says so on the page).
    """
    crop = parse_name(path)
    if crop is not None:
        file, number, box = crop
        if number is not None:
            return None
        return _small(FrameCrop(FrameStore(), file, None, box), side)
    try:
        pixels = decode_image(path, height=_DECODED, width=_DECODED)
    except ImageError:
        return None
    # accepted by decode_image, so this header is small and sound
    with open_regular(path) as opened, Image.open(opened) as header:
        width, height = header.size
        # stored on its side; a damaged file may say anything, which decoding passes over, too
        if header.getexif().get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8):
            width, height = height, width
    return _encoded(Image.fromarray(pixels), width, height, side)


def _small(crop: FrameCrop, side: int) -> Thumbnail | None:
    """The thumbnail of a region."""
    try:
        pixels = decode_whole(crop)
    except ImageError:
        return None
    height, width = pixels.shape[:2]
    return _encoded(Image.fromarray(pixels), width, height, side)


def _encoded(image: Image.Image, width: int, height: int, side: int) -> Thumbnail:
    """An image in the proportions of `width` and `height`, as a JPEG."""
    scale = side / max(width, height)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    file = io.BytesIO()
    image.resize(size, Image.Resampling.LANCZOS).save(file, "JPEG", quality=_QUALITY, optimize=True)
    return Thumbnail(file.getvalue(), *size)
