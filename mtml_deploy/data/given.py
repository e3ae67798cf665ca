"""What a caller gives to embed -> an image set.

In: a source text, paths, encoded bytes, Pillow images, arrays, or one image with boxes. Out: an
`ImageSet`. Nothing is written to disk, no pixel of an array is copied, and nothing is guessed: the
order of an array's channels is said, not looked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal, TypeAlias, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from PIL import Image

from mtml_deploy.data.decode import decode_whole
from mtml_deploy.data.memory_image import MemoryImage
from mtml_deploy.data.records import ImageRecord, ImageSet
from mtml_deploy.data.source import load_source
from mtml_deploy.user_path import user_path

Channels = Literal["RGB", "BGR", "GRAY"]
"""What an array holds: uint8 [H, W, 3] in this order (OpenCV reads BGR), or [H, W] gray."""

Picture: TypeAlias = "str | Path | bytes | bytearray | memoryview | Image.Image | NDArray[np.uint8]"
"""One image."""

Images: TypeAlias = "ImageSet | Picture | Sequence[Picture]"
"""What can be embedded."""

_ENCODED: Final = (bytes, bytearray, memoryview)
_ACCEPTED: Final = (
    "a source text, a path, encoded bytes, a Pillow image, a uint8 array [H, W, 3], or a list of "
    "these"
)


def image_set(
    images: Images, *, boxes: ArrayLike | None = None, channels: Channels = "RGB"
) -> ImageSet:
    """The images that a caller gives.

    Args:
        images: an image set, a source text ("veri:DIR#query", a folder, a file), a path, a list of
            paths of image files, encoded bytes, a Pillow image, a uint8 array [H, W, 3] of any
            size, or a list of such images, sizes mixed.
        boxes: regions [N, 4] of one image to take in its place, x1, y1, x2, y2 in pixels, x to the
            right, y down; lists and any kind of number will do. Every pixel that a box touches is
            taken; what lies outside the image is cut off. A box with NaN or without area is a bad
            image.
        channels: what arrays hold: "RGB", "BGR" (as OpenCV reads) or "GRAY" for [H, W].

    Returns:
        The set, with names "image 0", "image 1", ... or "box 0", "box 1", ... where the images are
        in memory.

    Raises:
        ValueError: an array that is not uint8 [H, W, 3] or [H, W] as `channels` says, boxes that
            are not [N, 4] or of several images, or `channels` without an array.
        TypeError: something that is no image.
        DataError: see `load_source`.
        ImageError: boxes of an image that cannot be decoded.
    """
    if channels not in get_args(Channels):
        raise ValueError(f"channels is one of {', '.join(get_args(Channels))}, found {channels!r}")
    if boxes is not None:
        return _boxes(images, boxes, channels)
    if isinstance(images, ImageSet | str | Path):
        _require_rgb(channels, images)
        return images if isinstance(images, ImageSet) else load_source(str(images))
    given = _listed(images)
    if given and all(isinstance(each, str | Path) for each in given):
        _require_rgb(channels, given[0])
        return _files([user_path(each) for each in given if isinstance(each, str | Path)])
    if given and not any(isinstance(each, np.ndarray) for each in given):
        _require_rgb(channels, given[0])
    memory = [_picture(each, f"image {n}", channels) for n, each in enumerate(given)]
    plural = "" if len(memory) == 1 else "s"
    return _in_memory(f"{len(memory)} image{plural} in memory", memory)


def _listed(images: Picture | Sequence[Picture]) -> Sequence[Picture]:
    """One or several images as a list."""
    if isinstance(images, (*_ENCODED, Image.Image)):
        return [images]
    if isinstance(images, np.ndarray):
        if images.ndim == 4 and images.shape[3] != 3 and images.shape[1] == 3:
            raise ValueError(
                f"images are {images.dtype} {list(images.shape)}, channels first; expected "
                "[B, H, W, 3]: pass images.transpose(0, 2, 3, 1)"
            )
        return list(images) if images.ndim == 4 else [images]
    if isinstance(images, Sequence) and not isinstance(images, _ENCODED):
        return images
    raise TypeError(f"images are a {type(images).__name__}, expected {_ACCEPTED}")


def _files(paths: Sequence[Path]) -> ImageSet:
    """Image files, in their order."""
    paths = [path.absolute() for path in paths]
    root = Path(os.path.commonpath([path.parent for path in paths]))
    plural = "" if len(paths) == 1 else "s"
    records = tuple(ImageRecord(path) for path in paths)
    return ImageSet(f"{len(paths)} file{plural} of {root}", root, records)


def _in_memory(source: str, memory: Sequence[MemoryImage]) -> ImageSet:
    """Images under their names."""
    records = tuple(ImageRecord(Path(image.name)) for image in memory)
    return ImageSet(source, Path(), records, memory=tuple(memory))


def _picture(image: Picture, name: str, channels: Channels) -> MemoryImage:
    """One image of a list."""
    if isinstance(image, np.ndarray):
        return MemoryImage(name, _checked(image, name, channels), bgr=channels == "BGR")
    if isinstance(image, _ENCODED):
        return MemoryImage(name, bytes(image))
    if isinstance(image, Image.Image):
        return MemoryImage(name, image)
    if isinstance(image, str | Path):
        raise TypeError(f"{name} is a path beside images in memory; pass one kind in a call")
    raise TypeError(f"{name} is a {type(image).__name__}, expected {_ACCEPTED}")


def _checked(image: NDArray[np.uint8], name: str, channels: Channels) -> NDArray[np.uint8]:
    """The array, if it is [H, W, 3] or gray [H, W] as was said."""
    found = f"{name} is {image.dtype} {list(image.shape)}"
    if image.dtype != np.uint8:
        whole = np.issubdtype(image.dtype, np.integer)
        fix = (
            "image.astype(np.uint8) if its values are 0..255"
            if whole
            else "(image * 255).round().astype(np.uint8) if its values are 0..1"
        )
        raise ValueError(f"{found}, expected uint8 [H, W, 3]; pass {fix}")
    if channels == "GRAY":
        if image.ndim != 2:
            raise ValueError(f"{found}, expected [H, W] with channels='GRAY'; pass image[:, :, 0]")
    elif image.ndim == 2:
        raise ValueError(f"{found}, expected [H, W, 3]; say channels='GRAY' if it is a gray image")
    elif image.ndim != 3 or image.shape[2] != 3:
        fix = "pass one image, or a list of images"
        if image.ndim == 3:
            fix = {
                image.shape[0] == 3: "channels are last: pass image.transpose(1, 2, 0)",
                image.shape[2] == 4: "pass image[:, :, :3]",
                image.shape[2] == 1: "pass image[:, :, 0] and channels='GRAY'",
            }.get(True, "say what its channels are by making three of them")
        raise ValueError(f"{found}, expected [H, W, 3]; {fix}")
    if not image.size:
        raise ValueError(f"{found}, expected at least one pixel")
    return image


def _boxes(images: Images, boxes: ArrayLike, channels: Channels) -> ImageSet:
    """Regions of one image."""
    pixels = _frame(images, channels)
    regions = _regions(boxes)
    height, width = pixels.shape[:2]
    memory = []
    for n, region in enumerate(regions):
        x1, y1, x2, y2 = np.clip(region, 0, [width, height, width, height]).tolist()
        problem, crop = "", pixels[:0]
        if not np.isfinite(region).all():
            problem = "holds a value that is not finite, expected pixels"
        elif x1 >= x2 or y1 >= y2:
            problem = f"has no area inside the image of {width} x {height} pixels"
        else:
            crop = pixels[int(y1) : -int(-y2 // 1), int(x1) : -int(-x2 // 1)]
        if problem:
            corners = ", ".join(f"{number:g}" for number in region)
            problem = f"[{corners}] {problem}; leave it out, or let bad images be skipped"
        memory.append(MemoryImage(f"box {n}", crop, channels == "BGR", problem))
    plural = "" if len(memory) == 1 else "es"
    return _in_memory(f"{len(memory)} box{plural} of an image in memory", memory)


def _frame(images: Images, channels: Channels) -> NDArray[np.uint8]:
    """Pixels of the one image that boxes are of, uint8 [H, W, 3] or [H, W]."""
    if isinstance(images, np.ndarray):
        return _checked(images, "the image", channels)
    _require_rgb(channels, images)
    if isinstance(images, str | Path):
        return decode_whole(user_path(images))
    if isinstance(images, (*_ENCODED, Image.Image)):
        return decode_whole(_picture(images, "the image", channels))
    raise ValueError(
        f"boxes are of one image, found a {type(images).__name__}; call once for each image"
    )


def _regions(boxes: ArrayLike) -> NDArray[np.float64]:
    """Boxes float64 [N, 4]."""
    try:
        regions = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"boxes must be numbers [N, 4], found others ({error})") from error
    if regions.size == 0:
        return regions.reshape(0, 4)
    if regions.ndim != 2 or regions.shape[1] != 4:
        fix = "; pass [box] for one box" if regions.shape == (4,) else ""
        raise ValueError(
            f"boxes must be [N, 4] of x1, y1, x2, y2, found {list(regions.shape)}{fix}"
        )
    return regions


def _require_rgb(channels: Channels, image: object) -> None:
    """Refuse a channel order where there is no array."""
    if channels != "RGB":
        raise ValueError(
            f"channels={channels!r} is for arrays; a {type(image).__name__} says itself what its "
            "channels are: leave channels out"
        )
