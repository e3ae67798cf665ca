"""The image formats that are read: those that Pillow decodes itself and that a file's start tells.

In: the first bytes of a file, or nothing. Out: a format, what reads it, the suffixes of its files.

Left out on purpose: what is a program for another program (EPS, PDF, WMF), what is no picture
(HDF5, GRIB), and formats whose files have no mark at their start (TGA), since a name is only a
name.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Final

from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    Jpeg2KImagePlugin,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    QoiImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

HEAD_BYTES: Final = 32
"""How much of a file `content_format` needs to see."""

READERS: Final[Mapping[str, type[ImageFile.ImageFile]]] = MappingProxyType(
    {
        # the classes, not Image.open: that one tries every format, and warns about large images
        # through the process-wide warning filters, which no thread can silence for itself
        "JPEG": JpegImagePlugin.JpegImageFile,
        "PNG": PngImagePlugin.PngImageFile,
        "WEBP": WebPImagePlugin.WebPImageFile,
        "BMP": BmpImagePlugin.BmpImageFile,
        "GIF": GifImagePlugin.GifImageFile,
        "TIFF": TiffImagePlugin.TiffImageFile,
        "AVIF": AvifImagePlugin.AvifImageFile,
        "JPEG2000": Jpeg2KImagePlugin.Jpeg2KImageFile,
        "PPM": PpmImagePlugin.PpmImageFile,
        "QOI": QoiImagePlugin.QoiImageFile,
    }
)
"""What reads each format, by Pillow's name of it."""

FORMATS: Final = "JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF, JPEG 2000, PPM or QOI"
"""All of them, for errors."""

ALIASES: Final[Mapping[str, str]] = MappingProxyType({"MPO": "JPEG"})
"""Formats that begin as another one does, and are read as that one."""

_STARTS: Final = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n\x1a\n": "PNG",
    b"BM": "BMP",
    b"GIF87a": "GIF",
    b"GIF89a": "GIF",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",  # with 64-bit offsets
    b"MM\0+": "TIFF",
    b"\xff\x4f\xff\x51": "JPEG2000",  # a bare codestream
    b"\0\0\0\x0cjP  \r\n\x87\n": "JPEG2000",
    b"qoif": "QOI",
}
_AVIF_BRANDS: Final = (b"avif", b"avis")


def content_format(head: bytes) -> str | None:
    """Format a file has by its first bytes, whatever its name says.

    Args:
        head: the first `HEAD_BYTES` bytes or more.

    Returns:
        A key of `READERS`; None for anything else.
    """
    for start, name in _STARTS.items():
        if head.startswith(start):
            return name
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        # the brand of the file, then those it is compatible with; HEIC has neither
        brands = (head[8:12], *(head[at : at + 4] for at in range(16, HEAD_BYTES, 4)))
        return "AVIF" if any(brand in _AVIF_BRANDS for brand in brands) else None
    if head[:1] == b"P" and head[1:2] in b"123456f" and head[2:3].isspace():
        return "PPM"
    return None


@cache
def suffixes() -> Mapping[str, tuple[str, ...]]:
    """The suffixes (lower case, with the dot) that files of each format have, by Pillow's list."""
    found: dict[str, list[str]] = defaultdict(list)
    for suffix, registered in Image.registered_extensions().items():
        name = ALIASES.get(registered, registered)
        if name in READERS:
            found[name].append(suffix)
    return MappingProxyType({name: tuple(sorted(found[name])) for name in READERS})


@cache
def image_suffixes() -> frozenset[str]:
    """All of `suffixes`."""
    return frozenset(suffix for each in suffixes().values() for suffix in each)
