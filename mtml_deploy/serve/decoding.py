"""Images of clients to what the model takes, by threads, with the decoder that files go through.

In: encoded images, or one with boxes. Out: uint8 [N, H, W, 3].
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.decode import RefusedImageError, decode_into
from mtml_deploy.data.given import image_set
from mtml_deploy.data.memory_image import MemoryImage
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.body import Upload

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Decoded:
    """Images that the model can take.

    Attributes:
        names: [N] of the images.
        images: uint8 [N, H, W, 3].
        pixels: int32 [N], of each before resizing.
    """

    names: tuple[str, ...]
    images: NDArray[np.uint8]
    pixels: NDArray[np.int32]


async def decode(
    uploads: Sequence[Upload],
    boxes: Sequence[Box],
    pool: ThreadPoolExecutor,
    *,
    height: int,
    width: int,
) -> Decoded:
    """The images of a request, or the boxes of its one image.

    Args:
        uploads: the images, one or more.
        boxes: regions of the one image; none takes the images as they are.
        pool: threads that decode.
        height: rows of the model's images.
        width: columns of them.

    Raises:
        RefusedImageError: an image or a box cannot be used; it is named.
        ApiError: boxes and several images.
    """
    loop = asyncio.get_running_loop()
    pictures: Sequence[MemoryImage]
    if boxes:
        if len(uploads) != 1:
            raise ApiError(
                422,
                f"boxes were given with {len(uploads)} images, expected one; send a request for "
                "each image",
            )
        frame = uploads[0]
        pictures = await loop.run_in_executor(pool, _regions, frame, boxes)
        names = tuple(f"{frame.name} {picture.name}" for picture in pictures)
    else:
        pictures = [MemoryImage(upload.name, upload.content) for upload in uploads]
        names = tuple(upload.name for upload in uploads)
    images = np.empty((len(pictures), height, width, 3), dtype=np.uint8)
    work = [
        loop.run_in_executor(pool, decode_into, target, picture)
        for target, picture in zip(images, pictures, strict=True)
    ]
    try:
        pixels = [await each for each in work]
    finally:
        for each in work:
            each.cancel()
    return Decoded(names, images, np.array(pixels, np.int32))


def _regions(frame: Upload, boxes: Sequence[Box]) -> Sequence[MemoryImage]:
    """The boxes of an image."""
    try:
        regions = image_set(frame.content, boxes=boxes).memory or ()
    except RefusedImageError as error:  # it names no file
        raise RefusedImageError(Path(frame.name), error.reason) from error
    return regions
