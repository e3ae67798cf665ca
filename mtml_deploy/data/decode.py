"""One image to uint8 RGB pixels, or a refusal that names the file and the fix.

In: a file, or an image in memory. Out: pixels, upright, by one way for all.

Formats are told by content, never by name. The header is judged before any pixel is decoded.
Of several frames or pages the first is taken; transparency is dropped. Images of more than 8 bits
per channel are refused: a file does not tell which of its bits the picture uses.
"""

from __future__ import annotations

import logging
import os
import stat
import struct
import zlib
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from threading import Event, Lock
from typing import BinaryIO, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, TiffImagePlugin

from mtml_deploy.data.formats import (
    ALIASES,
    FORMATS,
    HEAD_BYTES,
    READERS,
    content_format,
)
from mtml_deploy.data.frame_crop import FrameCrop
from mtml_deploy.data.listed_path import why_missing
from mtml_deploy.data.memory_image import MemoryImage
from mtml_deploy.errors import ImageError
from mtml_deploy.regular_file import open_regular
from mtml_deploy.text import printable

PIXEL_CAP: Final = 16_000_000
"""Images with more pixels are refused from their header, before any pixel is decoded."""

_EIGHT_BIT: Final = frozenset(
    {"1", "L", "LA", "La", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "LAB", "HSV"}
)
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What undoes each value of the EXIF tag Orientation (1: upright already)."""

_TURNED: Final = frozenset({5, 6, 7, 8})
"""Those that exchange width and height."""

Picture: TypeAlias = Path | FrameCrop | MemoryImage
"""What is decoded."""

_LOADING: Final = Lock()
_FRAMES_TOLD: Final = Event()
"""Set once it was said that only the first of several frames is taken."""

logger = logging.getLogger(__name__)

_DAMAGE: Final = (
    # Pillow names no single kind for a damaged file; these are what its readers and decoders raise
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    ArithmeticError,
    AttributeError,
    RuntimeError,
    struct.error,
    zlib.error,
)


class RefusedImageError(ImageError):
    """One image cannot be used.

    Attributes:
        path: the file.
        reason: what was found, what was expected, what to do; without the file's name.
    """

    def __init__(self, path: Path, reason: str) -> None:
        """Name the file in a form that any terminal can show."""
        self.path = path
        self.reason = reason
        super().__init__(f"{printable(path)}: {reason}")


def decode_into(target: NDArray[np.uint8], image: Picture) -> int:
    """Write an image into `target`, upright, resized, RGB.

    Pillow frees the interpreter lock while it decodes and resizes, so threads run side by side.

    Args:
        target: uint8 [H, W, 3], overwritten; H and W at least 1.
        image: a file of a format that is read, a region of a frame, or an image in memory.

    Returns:
        Pixels of the image itself, width times height before resizing; of one that is decoded at
        most `PIXEL_CAP`.

    Raises:
        RefusedImageError: the file is missing, not an image, truncated, deeper than 8 bits per
            channel or larger than `PIXEL_CAP`, or its name is not UTF-8; `target` is untouched.
    """
    height, width, _ = target.shape
    rgb = _rgb(image)
    target[...] = np.asarray(rgb.resize((width, height), Image.Resampling.BILINEAR))
    return rgb.width * rgb.height


def decode_whole(image: Picture) -> NDArray[np.uint8]:
    """An image, upright, RGB, in its own size.

    Args:
        image: a file, or an image in memory.

    Returns:
        uint8 [H, W, 3].

    Raises:
        RefusedImageError: see `decode_into`.
    """
    return np.asarray(_rgb(image))


def _rgb(image: Picture) -> Image.Image:
    """The whole image, upright, RGB."""
    if isinstance(image, Path):
        _require_regular_file(image)
        return _decoded(image, image)
    if isinstance(image, FrameCrop):
        return _cut(image)
    path = Path(image.name)
    if image.problem:
        raise RefusedImageError(path, image.problem)
    if isinstance(image.content, np.ndarray):
        return _of_array(image.content, bgr=image.bgr)
    return _decoded(path, image.content)


def _cut(crop: FrameCrop) -> Image.Image:
    """A region of a frame, RGB; the frame is upright, as a file of it would be."""
    if crop.problem:
        raise RefusedImageError(crop.name, f"{crop.problem}; leave it out, or say --skip-bad")
    try:
        frame = crop.frames.image(crop.path, crop.number, _rgb)
    except RefusedImageError as error:
        raise RefusedImageError(crop.name, f"its frame: {error.reason}") from error
    except ImageError as error:
        raise RefusedImageError(crop.name, str(error)) from error
    box = crop.clipped(frame.width, frame.height)
    if box is None:
        raise RefusedImageError(
            crop.name,
            f"the box lies outside the frame of {frame.width} x {frame.height} pixels; leave it "
            "out, or say --skip-bad",
        )
    return frame.crop(box)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of an image file, upright, from its header.

    Raises:
        RefusedImageError: see `decode_into`.
    """
    _require_regular_file(path)
    try:
        with open_regular(path) as file:
            image = _open(path, file)
            if image.getexif().get(ExifTags.Base.Orientation, 1) in _TURNED:
                return image.height, image.width
            return image.size
    except _DAMAGE as error:
        raise RefusedImageError(path, f"its header is damaged ({error}); copy it again") from error


def _of_array(pixels: NDArray[np.uint8], *, bgr: bool) -> Image.Image:
    """An array [H, W, 3] or [H, W] as an image, RGB."""
    height, width = pixels.shape[:2]
    mode, order = ("L", "L") if pixels.ndim == 2 else ("RGB", "BGR" if bgr else "RGB")
    # Pillow turns BGR around while it copies, several times faster than NumPy does
    raw = np.ascontiguousarray(pixels)
    return _as_rgb(Image.frombuffer(mode, (width, height), raw, "raw", order, 0, 1))


def _as_rgb(image: Image.Image) -> Image.Image:
    """The image in RGB, itself where it is: convert copies even what needs no conversion."""
    if image.mode == "P" and isinstance(image.info.get("transparency"), bytes):
        # Pillow warns of one step from a palette with transparency, and not of two
        image = image.convert("RGBA")
    return image if image.mode == "RGB" else image.convert("RGB")


def _decoded(path: Path, content: Path | bytes | Image.Image) -> Image.Image:
    """A file, its bytes or a Pillow image, upright, RGB; `path` names it in errors."""
    try:
        with ExitStack() as stack:
            if isinstance(content, Image.Image):
                image = content
                _require_known(path, image)
                _require_usable(path, image)
                with _LOADING:  # one image may be given several times
                    image.load()
            else:
                file: BinaryIO = (
                    BytesIO(content) if isinstance(content, bytes) else open_regular(content)
                )
                image = _open(path, stack.enter_context(file))
                # asked before the pixels, because a GIF is read on to answer
                if getattr(image, "is_animated", False) and not _FRAMES_TOLD.is_set():
                    _FRAMES_TOLD.set()
                    logger.warning(
                        "%s holds several frames; of such files the first frame is taken",
                        printable(path),
                    )
                image.load()
            # after load: a PNG may hold its EXIF block behind the pixels
            upright = _UPRIGHT.get(image.getexif().get(ExifTags.Base.Orientation, 1))
            turned = image if upright is None else image.transpose(upright)
            return _as_rgb(turned)
    except PermissionError as error:
        raise RefusedImageError(path, "may not be read; give yourself read permission") from error
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise RefusedImageError(path, _too_large("more than Pillow opens")) from error
    except _DAMAGE as error:
        raise RefusedImageError(
            path,
            f"truncated or damaged ({type(error).__name__}: {error}), expected a whole "
            f"{FORMATS}; copy the file again or leave it out",
        ) from error


def _open(path: Path, file: BinaryIO) -> ImageFile.ImageFile:
    """The image with its header read and accepted, no pixel decoded."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    if not head:
        raise RefusedImageError(path, "0 bytes, expected an image; copy it again or leave it out")
    name = content_format(head)
    if name is None:
        raise RefusedImageError(
            path, f"not an image of a known format, expected {FORMATS}; convert it to one of these"
        )
    image = READERS[name](file)
    _require_usable(path, image)
    return image


def _require_known(path: Path, image: Image.Image) -> None:
    """Refuse a Pillow image of a file that is not read here: loading an EPS runs another program.

    One that is no file any more, because it was converted, has no format.
    """
    name = image.format
    if name is not None and ALIASES.get(name, name) not in READERS:
        raise RefusedImageError(
            path, f"a Pillow image of a {name} file, expected {FORMATS}; pass image.convert('RGB')"
        )


def _require_usable(path: Path, image: Image.Image) -> None:
    """Refuse an image by its header: too many pixels, or more than 8 bits per channel."""
    if image.width * image.height > PIXEL_CAP:
        size = f"{image.width} x {image.height} = {image.width * image.height:,}"
        raise RefusedImageError(path, _too_large(size))
    deep = _has_deep_tile(image)
    if deep or image.mode not in _EIGHT_BIT:
        raise RefusedImageError(
            path,
            f"more than 8 bits per channel (mode {'16 bits' if deep else image.mode}), expected 8; "
            "convert it to 8 bits",
        )


def _has_deep_tile(image: Image.Image) -> bool:
    """Whether Pillow would cut 16 bits down to the high 8 without a word, as it does of colours.

    What is still to be decoded tells it: the layout of the raw pixels, such as "RGB;16B".
    """
    if isinstance(image, TiffImagePlugin.TiffImageFile):  # its channels may lie apart, as "R"
        bits = image.tag_v2.get(TiffImagePlugin.BITSPERSAMPLE, 8)
        return any(count > 8 for count in (bits if isinstance(bits, tuple) else (bits,)))
    for tile in getattr(image, "tile", ()):
        layout = tile[3][0] if isinstance(tile[3], tuple) and tile[3] else tile[3]
        if isinstance(layout, str) and ";16" in layout:
            return True
    return False


def _too_large(found: str) -> str:
    """Reason why an image with too many pixels is refused."""
    return f"{found} pixels, expected at most {PIXEL_CAP:,}; crop or shrink it"


def _require_regular_file(path: Path) -> None:
    """Refuse what cannot be named, cannot be opened, or would block when read (a pipe)."""
    try:
        os.fspath(path).encode("utf-8")
        mode = path.stat().st_mode
    except UnicodeEncodeError as error:
        # results hold names as UTF-8 text, and must lead back to the file
        reason = "file name is not UTF-8; rename the file"
        if not any("\ud800" <= char <= "\udfff" for char in path.name):
            reason = "the name of a folder above it is not UTF-8; rename that folder"
        raise RefusedImageError(path, reason) from error
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RefusedImageError(path, why_missing(path)) from error
    except (OSError, ValueError) as error:
        raise RefusedImageError(path, f"cannot be opened ({error}); check its name") from error
    if stat.S_ISDIR(mode):
        raise RefusedImageError(path, "is a folder, expected an image file; name a file in it")
    if not stat.S_ISREG(mode):
        raise RefusedImageError(path, "is not a regular file; save the image to a file first")
