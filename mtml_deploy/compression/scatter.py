"""Principal directions of a scatter matrix, from whichever of its two forms is smaller.

In: rows and the centre that each belongs to. Out: eigenvalues and orthonormal eigenvectors of the
mean of (x - c)(x - c)^T, float64. With fewer rows than dimensions they come from the products of
the rows with each other, which have the same non-zero eigenvalues, so that D x D is never held.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]

_RANK: Final = 1e-10
"""Eigenvalues below this share of the largest are rounding errors of float32 features (6e-8 of a
value, squared), not directions in which the rows differ."""

_BLOCK_VALUES: Final = 1 << 22
"""float64 values of a block of features (32 MiB)."""


def scatter_directions(
    rows: NDArray[np.floating],
    centres: Values,
    which: NDArray[np.intp],
    *,
    count: int,
    most: int | None = None,
) -> tuple[Values, Values]:
    """Eigenvalues and eigenvectors of the sum of (x - c)(x - c)^T over all rows, by `count`.

    Args:
        rows: float [N, D].
        centres: float64 [C, D].
        which: [N], the centre of each row.
        count: what the sum is divided by.
        most: eigenvectors wanted, those of the largest eigenvalues; None gives all.

    Returns:
        float64 [k], falling, the eigenvalues that are no rounding errors, and float64
        [D, min(k, most)], orthonormal columns of any sign.
    """
    if rows.shape[0] < rows.shape[1]:
        centred = rows - centres[which]  # [N, D]
        values, vectors = _largest(centred @ centred.T / count)
        # orthogonal but for rounding, which is relative to the largest direction; QR makes the
        # small ones orthogonal to it again
        directions, _ = np.linalg.qr(centred.T @ vectors[:, :most])  # [D, k]
        return values, directions
    width = rows.shape[1]
    products = np.zeros((width, width))
    step = block_rows(width)
    for start in range(0, len(rows), step):
        part = slice(start, start + step)
        centred = rows[part] - centres[which[part]]  # [step, D]
        products += centred.T @ centred
    values, vectors = _largest(products / count)
    return values, vectors[:, :most].copy()


def signed(directions: Values) -> Values:
    """Columns whose entry of largest magnitude is positive; a direction is known up to its sign."""
    if not directions.size:
        return directions
    largest = np.abs(directions).argmax(axis=0)  # [d]
    negative = directions[largest, np.arange(directions.shape[1])] < 0
    return np.ascontiguousarray(directions * np.where(negative, -1.0, 1.0))


def block_rows(width: int) -> int:
    """Rows of a block of features."""
    return max(1, _BLOCK_VALUES // width)


def _largest(products: Values) -> tuple[Values, Values]:
    """Eigenvalues that are no rounding errors, falling, and their eigenvectors."""
    values, vectors = np.linalg.eigh(products)
    known = int(np.count_nonzero(values > _RANK * max(values.max(initial=0.0), 0.0)))
    return values[::-1][:known], vectors[:, ::-1][:, :known]
