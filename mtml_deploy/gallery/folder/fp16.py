"""float16 to float32, exactly, several times faster than NumPy's own conversion.

A float16 moved into the bits of a float32 has the same sign and fraction and an exponent that is
smaller by 127 - 15 = 112: one product with 2^112 is the value, subnormal numbers included.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_SHIFT: Final = 23 - 10
"""Fraction bits of float32 beyond those of float16."""

_KEPT: Final = np.int32(0x8FFFE000 - (1 << 32))
"""Sign, four low exponent bits and fraction; clears the copies of the sign between them."""

_SCALE: Final = np.float32(2.0**112)

_SMALLEST: Final = np.array([1], dtype=np.uint16).view(np.float16)
"""2^-24, the smallest float16 above zero."""


def decode_half(stored: NDArray[np.float16], buffer: NDArray[np.int32]) -> NDArray[np.float32]:
    """Finite float16 values as float32.

    Args:
        stored: float16 [n, D], finite (an infinite value would come out finite).
        buffer: int32 [m], m >= n D, overwritten.

    Returns:
        float32 [n, D], in the memory of `buffer`.
    """
    words = buffer[: stored.size].reshape(stored.shape)
    np.copyto(words, stored.view(np.int16))  # extends the sign
    words <<= _SHIFT
    words &= _KEPT
    values: NDArray[np.float32] = words.view(np.float32)
    values *= _SCALE
    return values


def keeps_subnormals() -> bool:
    """Whether this thread computes with subnormal numbers, as `decode_half` needs.

    A library may have switched the processor to treat them as zero.
    """
    return float(decode_half(_SMALLEST[None], np.empty(1, np.int32))[0, 0]) == 2.0**-24
