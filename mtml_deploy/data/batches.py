"""Images to uint8 batches: the one way images reach a model, in training and in serving.

In: files, or images in memory. Out: uint8 [B, H, W, 3], RGB, resized by Pillow's antialiased
bilinear filter straight to H x W (the aspect is squashed, as is usual in re-identification).
Everything after that, such as normalisation, is inside the model.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.data.decode import Picture, RefusedImageError, decode_into

_BLOCKS_AHEAD: Final = 2
"""Batches being decoded beyond the one the consumer holds; a second hides uneven image sizes."""


@dataclass(frozen=True)
class BadImage:
    """An image that was left out.

    Attributes:
        index: its position in the list that was asked for.
        path: the file.
        reason: what was found, what was expected, what to do; without the file's name.
    """

    index: int
    path: Path
    reason: str


@dataclass(frozen=True)
class ImageBatch:
    """Decoded images and which ones they are.

    Attributes:
        indices: int64 [B], ascending, position of each row in the list that was asked for.
        images: uint8 [B, H, W, 3], RGB; the consumer's own, never written again.
        pixels: int32 [B], width times height of each image before resizing.
        bad: images left out since the batch before, ascending; only with `skip_bad`.
    """

    indices: NDArray[np.int64]
    images: NDArray[np.uint8]
    pixels: NDArray[np.int32]
    bad: tuple[BadImage, ...] = ()


def decode_image(path: Path, *, height: int, width: int) -> NDArray[np.uint8]:
    """One image, upright, resized, RGB.

    Args:
        path: a file of a format that is read (`FORMATS`), recognised by its content.
        height: rows of the result, 1 or more.
        width: columns of the result, 1 or more.

    Returns:
        uint8 [height, width, 3].

    Raises:
        ImageError: the file is missing, not an image, truncated, deeper than 8 bits per channel or
            larger than `PIXEL_CAP`, or its name is not UTF-8; the text names the file.
    """
    image: NDArray[np.uint8] = decode_images([path], height=height, width=width)[0]
    return image


def decode_images(
    paths: Sequence[Picture], *, height: int, width: int, threads: int = 1
) -> NDArray[np.uint8]:
    """Images in the order of `paths`, all in memory.

    Args:
        paths: B image files, regions of frames, or images in memory.
        height: rows of each image in the result, 1 or more.
        width: columns of each image in the result, 1 or more.
        threads: decoding threads; 1 is the calling thread, 0 one per CPU this process may use.

    Returns:
        uint8 [B, height, width, 3].

    Raises:
        ImageError: see `decode_image`; the first bad one.
        ValueError: a number outside its range.
    """
    _require_positive(height=height, width=width)
    images = np.empty((len(paths), height, width, 3), dtype=np.uint8)
    workers = _workers(threads, len(paths))
    if workers == 1:
        for target, path in zip(images, paths, strict=True):
            decode_into(target, path)
        return images
    with ThreadPoolExecutor(workers, thread_name_prefix="decode") as pool:
        jobs = [pool.submit(decode_into, *each) for each in zip(images, paths, strict=True)]
        try:
            for job in jobs:
                job.result()
        finally:
            pool.shutdown(cancel_futures=True)
    return images


def iterate_batches(
    paths: Sequence[Picture],
    *,
    height: int,
    width: int,
    batch_size: int,
    threads: int = 0,
    skip_bad: bool = False,
) -> Iterator[ImageBatch]:
    """Batches in the order of `paths`; threads decode the next ones while one is used.

    Memory is bounded: a few batches, whatever the length of `paths`. Closing the iterator stops
    the threads.

    Args:
        paths: image files, regions of frames, or images in memory.
        height: rows of each image, 1 or more.
        width: columns of each image, 1 or more.
        batch_size: images per batch, 1 or more.
        threads: decoding threads; 0 means one per CPU this process may use.
        skip_bad: leave out images that cannot be used and report them in `ImageBatch.bad`.

    Returns:
        Iterator of batches. All but the last hold `batch_size` images, also when some are left
        out; the last may be empty if it only reports bad ones.

    Raises:
        ImageError: see `decode_image`; on reaching the first bad image, after those before it.
        ValueError: a number outside its range.
    """
    _require_positive(height=height, width=width, batch_size=batch_size)
    workers = _workers(threads, len(paths))
    if len(paths) == 1:  # starting a thread takes longer than a crop
        return _single(paths[0], height, width, skip_bad)
    blocks = _decoded_blocks(paths, height, width, batch_size, workers, skip_bad)
    return _refilled(blocks, batch_size)


def _workers(threads: int, images: int) -> int:
    """Threads that have work, 1 or more."""
    if threads < 0:
        raise ValueError(f"threads is 0 (one per CPU) or more, found {threads}")
    return max(1, min(threads or _usable_cpus(), images))


def _single(path: Picture, height: int, width: int, skip_bad: bool) -> Iterator[ImageBatch]:
    """The batch of one image, decoded by the calling thread."""
    images = np.empty((1, height, width, 3), dtype=np.uint8)
    pixels = 0
    bad: tuple[BadImage, ...] = ()
    try:
        pixels = decode_into(images[0], path)
    except RefusedImageError as error:
        if not skip_bad:
            raise
        bad = (BadImage(0, error.path, error.reason),)
    good = slice(0 if bad else 1)
    yield ImageBatch(
        np.zeros(1, dtype=np.int64)[good], images[good], np.full(1, pixels, np.int32)[good], bad
    )


def _decoded_blocks(
    paths: Sequence[Picture],
    height: int,
    width: int,
    size: int,
    threads: int,
    skip_bad: bool,
) -> Generator[ImageBatch, None, None]:
    """Batches of up to `size` consecutive paths each, short where images were left out."""
    # blocks smaller than the pool must not leave threads without work
    ahead = max(_BLOCKS_AHEAD, -(-2 * threads // size))
    starts = iter(range(0, len(paths), size))
    waiting: deque[tuple[int, NDArray[np.uint8], list[Future[int]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="decode")

    def submit_next() -> None:
        start = next(starts, None)
        if start is not None:
            part = paths[start : start + size]
            images = np.empty((len(part), height, width, 3), dtype=np.uint8)
            jobs = [
                pool.submit(decode_into, target, path)
                for target, path in zip(images, part, strict=True)
            ]
            waiting.append((start, images, jobs))

    try:
        for _ in range(ahead):
            submit_next()
        while waiting:
            start, images, jobs = waiting.popleft()
            pixels = np.zeros(len(images), dtype=np.int32)
            bad: list[BadImage] = []
            for offset, job in enumerate(jobs):
                try:
                    pixels[offset] = job.result()
                except RefusedImageError as error:
                    if not skip_bad:
                        raise
                    bad.append(BadImage(start + offset, error.path, error.reason))
            # only now: the block just awaited is done, so `ahead` blocks stay in flight
            submit_next()
            indices = np.arange(start, start + len(images), dtype=np.int64)
            if bad:
                good = np.delete(indices, [image.index - start for image in bad])
                rows = good - start
                yield ImageBatch(good, images[rows], pixels[rows], tuple(bad))
            else:
                yield ImageBatch(indices, images, pixels)
    finally:
        pool.shutdown(cancel_futures=True)


def _refilled(blocks: Generator[ImageBatch, None, None], size: int) -> Iterator[ImageBatch]:
    """The same images in full batches; blocks that are full already pass through uncopied."""
    held: ImageBatch | None = None
    with closing(blocks):  # closing this iterator closes that one, which stops the threads
        for block in blocks:
            held = block if held is None else _joined(held, block)
            if len(held.indices) >= size:
                yield _rows(held, slice(size), held.bad)
                rest = _rows(held, slice(size, None), ())
                held = rest if len(rest.indices) else None
        if held is not None:
            yield held


def _rows(batch: ImageBatch, part: slice, bad: tuple[BadImage, ...]) -> ImageBatch:
    """Some rows of a batch, not copied."""
    return ImageBatch(batch.indices[part], batch.images[part], batch.pixels[part], bad)


def _joined(first: ImageBatch, second: ImageBatch) -> ImageBatch:
    """One batch of both, in a new array."""
    return ImageBatch(
        np.concatenate((first.indices, second.indices)),
        np.concatenate((first.images, second.images)),
        np.concatenate((first.pixels, second.pixels)),
        first.bad + second.bad,
    )


def _require_positive(**numbers: int) -> None:
    """Refuse sizes below 1."""
    for name, number in numbers.items():
        if number < 1:
            raise ValueError(f"{name} is 1 or more, found {number}")


def _usable_cpus() -> int:
    """CPUs this process may run on (fewer than the machine has in a container or a cpuset)."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
