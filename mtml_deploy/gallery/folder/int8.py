"""Vectors as int8 codes: a quarter of the bytes for a scan, with a proven error for every row.

In: float32 vectors. Out: per row a scale, 127th part of its largest value, and codes -127..127;
scale * code is the decoded value, and the distance from the decoded vector to the true one is kept.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_LEVELS: Final = 127
"""Largest code; -128 is not used, so that the scale serves both signs."""

_CHUNK_VALUES: Final = 1 << 20
"""Values coded at once (8 MiB of float64)."""

_DECODE_VALUES: Final = 1 << 18
"""Codes turned into float32 at once (1 MiB): stays in the cache for the product."""


def coded_type(dim: int) -> np.dtype[np.void]:
    """One row: `scale` float32, `error` float32 and `codes` int8 [dim], without gaps."""
    return np.dtype([("scale", "<f4"), ("error", "<f4"), ("codes", "i1", (dim,))])


def encode(vectors: NDArray[np.float32]) -> NDArray[np.void]:
    """The codes of vectors; the same on every machine.

    Args:
        vectors: float32 [n, D], finite.

    Returns:
        `coded_type` [n]; `error` is at least the L2 distance from the vector to its decoded one.
    """
    coded = np.empty(len(vectors), dtype=coded_type(vectors.shape[1]))
    step = max(1, _CHUNK_VALUES // vectors.shape[1])
    for start in range(0, len(vectors), step):
        part = vectors[start : start + step]  # [step, D]
        here = coded[start : start + step]
        scale = np.abs(part).max(axis=1) / np.float32(_LEVELS)  # [step]
        # a row of zeros, or of values so small that their scale is zero
        divisor = np.where(scale > 0, scale, np.float32(1))
        codes = np.rint(part / divisor[:, None])
        here["scale"] = scale
        here["codes"] = np.clip(codes, -_LEVELS, _LEVELS)
        error = part.astype(np.float64)
        error -= decode(here)
        np.square(error, out=error)
        # rounded up, after the roundings of the float64 sum
        lengths = np.sqrt(error.sum(axis=1)) * (1 + 1e-9)
        here["error"] = np.nextafter(lengths.astype(np.float32), np.float32(np.inf))
    return coded


def decode(coded: NDArray[np.void]) -> NDArray[np.float32]:
    """The decoded vectors, float32 [n, D], of `coded_type` [n]."""
    values: NDArray[np.float32] = coded["codes"].astype(np.float32)
    values *= coded["scale"][:, None]
    return values


def code_products(
    query: NDArray[np.float32],
    coded: NDArray[np.void],
    errors: NDArray[np.float32],
    *,
    slots: NDArray[np.int64] | None = None,
) -> NDArray[np.float32]:
    """Products of queries with decoded vectors; one pass over the codes.

    The scale is applied to the sum of each row: one rounding more than a product with the decoded
    vectors, which `bounds.lower_bounds` has room for.

    Args:
        query: float32 [b, D].
        coded: `coded_type` [N], for example mapped from a file.
        errors: float32 [n], filled with the rows' errors.
        slots: int64 [n], which rows; None: all, n = N.

    Returns:
        float32 [b, n].
    """
    products = np.empty((len(query), len(errors)), dtype=np.float32)
    dim = query.shape[1]
    step = max(1, _DECODE_VALUES // dim)
    buffer = np.empty((step, dim), dtype=np.float32)
    for start in range(0, len(errors), step):
        here = slice(start, start + step)
        part = coded[here] if slots is None else coded[slots[here]]
        values = buffer[: len(part)]
        np.copyto(values, part["codes"])
        block = query @ values.T  # [b, step]
        block *= part["scale"]
        products[:, here] = block
        errors[here] = part["error"]
    return products
