"""How a batch of any length is run on an engine with a batch profile: cut, and padded to buckets.

In: a number of images and a profile. Out: pieces, each of a batch size that the engine keeps a CUDA
graph for. Pure arithmetic, so it is tested without a GPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from mtml_deploy.engine.options import BatchProfile


@dataclass(frozen=True)
class Piece:
    """Consecutive images that run together.

    Attributes:
        start: first image.
        count: images.
        bucket: batch size of the run, `count` or more; the rest is padding.
    """

    start: int
    count: int
    bucket: int


def buckets(profile: BatchProfile) -> tuple[int, ...]:
    """Batch sizes that are run, ascending: at most a third of a run is padding, from 3 images on.

    Args:
        profile: what the engine accepts.

    Returns:
        Powers of two and three quarters of them, within the profile, with its three sizes.

    Example:
        >>> buckets(BatchProfile(1, 8, 20))
        (1, 2, 3, 4, 6, 8, 12, 16, 20)
    """
    sizes = {profile.min, profile.opt, profile.max}
    power = 1
    while power <= profile.max:
        sizes |= {power, power * 3 // 4}
        power *= 2
    return tuple(sorted(size for size in sizes if profile.min <= size <= profile.max))


def cut(count: int, profile: BatchProfile) -> tuple[Piece, ...]:
    """The pieces of a batch.

    Pieces are what the engine was tuned for, so that a long batch becomes several whose copies and
    computation overlap.

    Args:
        count: images, 1 or more.
        profile: what the engine accepts.

    Returns:
        Pieces in order that cover every image once.

    Example:
        >>> [(p.start, p.count, p.bucket) for p in cut(21, BatchProfile(1, 16, 64))]
        [(0, 16, 16), (16, 5, 6)]
    """
    sizes = buckets(profile)
    pieces = []
    for start in range(0, count, profile.opt):
        length = min(profile.opt, count - start)
        bucket = next(size for size in sizes if size >= length)
        pieces.append(Piece(start, length, bucket))
    return tuple(pieces)
