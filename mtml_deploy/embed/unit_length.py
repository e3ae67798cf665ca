"""Embeddings of length 1: the order of their L2 distances is the order of cosines.

In: rows of any length. Out: the same directions, float64, or `Embeddings` that hold them.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from mtml_deploy.embed.embeddings import Embeddings

MIN_LENGTH: Final = 1e-12
"""Shorter rows are divided by this instead of their length, so that a zero row stays zero."""

_BLOCK_VALUES: Final = 1 << 22
"""float64 values at once (32 MiB)."""


def unit_rows(rows: NDArray[np.floating], *, parts: int = 1) -> NDArray[np.float64]:
    """Rows of length 1, with each of their parts of equal length.

    Args:
        rows: float [N, D].
        parts: equal parts of a row, side by side, that are scaled on their own: the branches of a
            fused embedding, where each is to count alike.

    Returns:
        float64 [N, D]; a part shorter than `MIN_LENGTH` is not of its length.

    Raises:
        ValueError: D is no multiple of `parts`.

    Example:
        >>> unit_rows(np.array([[3.0, 4.0]])).round(6).tolist()
        [[0.6, 0.8]]
        >>> unit_rows(np.array([[3.0, 4.0, 0.0, 2.0]]), parts=2).round(6).tolist()
        [[0.424264, 0.565685, 0.0, 0.707107]]
    """
    if parts < 1 or rows.shape[1] % parts:
        raise ValueError(f"{rows.shape[1]} dimensions have no {parts} equal parts")
    width = rows.shape[1] // parts
    split = rows.astype(np.float64).reshape(len(rows), parts, width)  # [N, R, F]
    lengths = np.linalg.norm(split, axis=2, keepdims=True)  # [N, R, 1]
    split /= np.maximum(lengths, MIN_LENGTH) * math.sqrt(parts)
    return split.reshape(rows.shape)


def unit_length(images: Embeddings) -> Embeddings:
    """The same images with embeddings of length 1, a block of rows at a time.

    Args:
        images: embeddings of any length.

    Returns:
        float32 rows of length 1; everything else as it was.
    """
    features = np.empty_like(images.features)
    step = max(1, _BLOCK_VALUES // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        part = slice(start, start + step)
        features[part] = unit_rows(images.features[part])
    return replace(images, features=features)
