"""Whether two models, or one model on two runs, give the same embeddings.

In: embeddings of the same images. Out: numbers to judge by, and a `ParityError` that names what
failed. Relative distance means |a - b| / |a|, which unlike the cosine also sees a wrong scale.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.errors import ParityError

MIN_COSINE_FP32: Final = 0.99999
"""Same network, same precision: only the order of additions differs."""

MAX_RELATIVE_FP32: Final = 2e-3
"""Matches the cosine bound; catches a wrong scale, which a cosine does not see."""

MAX_ROW_DIFFERENCE: Final = 1e-4
"""Relative distance of one image's embedding alone and at any row of a batch. Kernels for other
batch sizes add in another order (measured: about 1e-6); mixed-up rows differ by 1e-2 and more."""

MIN_SPREAD: Final = 1e-3
"""Relative distance of the closest two different images. A dead or constant branch gives 0."""


_BLOCK_VALUES: Final = 1 << 22
"""float64 values compared at once (32 MiB): a whole gallery of 8192 values would take gigabytes."""


@dataclass(frozen=True)
class Agreement:
    """How well two sets of embeddings of the same N images agree.

    Attributes:
        cosine_min: cosine similarity of the worst image.
        cosine_p1: 1st percentile over the images.
        cosine_mean: mean over the images.
        max_abs: largest difference of one value.
        max_relative: largest relative distance.
    """

    cosine_min: float
    cosine_p1: float
    cosine_mean: float
    max_abs: float
    max_relative: float


def agreement(reference: NDArray[np.float32], candidate: NDArray[np.float32]) -> Agreement:
    """Compare embeddings row by row, in float64.

    Args:
        reference: float32 [N, D], N >= 1.
        candidate: float32 [N, D] of the same images.

    Returns:
        The agreement. A row of zeros has cosine 1 with zeros and 0 with anything else.

    Raises:
        ValueError: the shapes differ.
    """
    if reference.shape != candidate.shape or not len(reference):
        raise ValueError(f"cannot compare {reference.shape} with {candidate.shape}")
    parts = []
    step = max(1, _BLOCK_VALUES // max(1, reference.shape[1]))
    for start in range(0, len(reference), step):
        rows = slice(start, start + step)
        parts.append(_row_agreement(reference[rows], candidate[rows]))
    cosine, largest, relative = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Agreement(
        cosine_min=float(cosine.min()),
        cosine_p1=float(np.percentile(cosine, 1)),
        cosine_mean=float(cosine.mean()),
        max_abs=float(largest.max()),
        max_relative=float(relative.max()),
    )


def _row_agreement(
    reference: NDArray[np.float32], candidate: NDArray[np.float32]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Cosine, largest difference of a value and relative distance of each row, float64 [n]."""
    left, right = reference.astype(np.float64), candidate.astype(np.float64)
    norms = np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1)
    product = norms[0] * norms[1]
    both_zero = (norms[0] == 0) & (norms[1] == 0)
    dot = np.einsum("nd,nd->n", left, right)
    cosine = np.where(both_zero, 1.0, dot / np.where(product == 0, 1.0, product))
    return cosine, np.abs(left - right).max(axis=1), relative_distances(left, right)


def branch_slices(branches: tuple[str, ...], dim: int) -> Mapping[str, slice]:
    """Where each branch's feature stands in a fused embedding of length `dim`."""
    width = dim // len(branches)
    return {name: slice(i * width, (i + 1) * width) for i, name in enumerate(branches)}


def row_difference(
    run: Callable[[NDArray[np.uint8]], NDArray[np.float32]], images: NDArray[np.uint8]
) -> float:
    """Largest relative distance of an image's embedding alone and at every row of a full batch.

    Args:
        run: uint8 [B, H, W, 3] -> float32 [B, D].
        images: uint8 [N, H, W, 3]; each visits each of the N rows.

    Returns:
        The relative distance, 0 for bit-equal results.
    """
    alone = np.concatenate([run(images[i : i + 1]) for i in range(len(images))])
    worst = 0.0
    for shift in range(len(images)):
        moved = np.roll(run(np.roll(images, shift, axis=0)), -shift, axis=0)
        worst = max(worst, float(relative_distances(alone, moved).max()))
    return worst


def spread(embeddings: NDArray[np.float32], images: NDArray[np.uint8]) -> float:
    """Relative distance of the closest two embeddings of different images.

    Args:
        embeddings: float32 [N, D].
        images: uint8 [N, H, W, 3]; pairs of equal images are left out.

    Returns:
        The relative distance; infinity if no two images differ.
    """
    values = embeddings.astype(np.float64)
    closest = np.inf
    for i in range(len(values)):
        for j in range(i):
            if not np.array_equal(images[i], images[j]):
                distance = relative_distances(values[i : i + 1], values[j : j + 1])
                closest = min(closest, float(distance[0]))
    return closest


def require(what: str, found: float, *, at_least: float = -np.inf, at_most: float = np.inf) -> None:
    """Raise unless `found` is within its bounds.

    Args:
        what: the measure in words, with the branch it belongs to.
        found: the measured value.
        at_least: lower bound.
        at_most: upper bound.

    Raises:
        ParityError: outside the bounds, or not a number.
    """
    if not at_least <= found <= at_most:
        bound = f"at least {at_least:g}" if found < at_least else f"at most {at_most:g}"
        raise ParityError(f"{what} is {found:.8g}, must be {bound}; the model was not written")


def relative_distances(
    left: NDArray[np.floating], right: NDArray[np.floating]
) -> NDArray[np.float64]:
    """|left - right| / |left| per row, computed in float64.

    Args:
        left: [N, D].
        right: [N, D].

    Returns:
        float64 [N]; |left| counts as 1 where it is 0.
    """
    first, second = left.astype(np.float64), right.astype(np.float64)
    norms = np.linalg.norm(first, axis=1)
    distances: NDArray[np.float64] = np.linalg.norm(first - second, axis=1)
    return distances / np.where(norms == 0, 1.0, norms)
