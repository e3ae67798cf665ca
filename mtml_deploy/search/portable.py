"""Elementary functions whose bits are the same on every machine.

In: float64 arrays. Out: float64 arrays of the same shape. `np.exp` and `np.power` differ in the
last bits from processor to processor and from one C library to the next. IEEE 754 fixes every bit
of +, -, x, / and the square root, so only these are used, in an order that is written here.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

_TERMS: Final = 20
"""Terms of the series of exp: the first one left out is at most 1 / 20!, below 2^-61."""

_CHUNK_VALUES: Final = 1 << 14
"""Values worked on at once: three such arrays stay in the cache nearest to a processor."""

_FRACTION_BITS: Final = 64
"""Binary places of an exponent below 1: the next root of any float64 is within 2^-55 of 1."""


def exp_of_minus(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """exp(-x) of distances that were divided by the largest of them.

    By Horner's rule on 1 - x (1 - x/2 (1 - x/3 (...))), s_k = 1 - (x / k) s_{k+1}. Every s_k is
    within 0..1; with u = 2^-53 a step adds at most u of its own rounding and 2 u / k of those of
    its product, so errors obey e_k <= u + (2 u + e_{k+1}) / k up to terms in u^2: e_1 < 6.2 u.
    With the series cut off the result is within 7 u of exp(-x), which is at least 0.36.

    Args:
        values: float64 [n], 0..1.

    Returns:
        float64 [n]; equal values give equal bits.

    Raises:
        ValueError: a value outside 0..1.

    Example:
        >>> exp_of_minus(np.array([0.0, 1.0])).tolist()
        [1.0, 0.36787944117144233]
    """
    if len(values) and not (values.min() >= 0 and values.max() <= 1):
        raise ValueError(f"values are 0..1, found {values.min():g}..{values.max():g}")
    result = np.ones_like(values)
    step = np.empty(min(len(values), _CHUNK_VALUES))
    for start in range(0, len(values), _CHUNK_VALUES):
        part = values[start : start + _CHUNK_VALUES]
        sums, term = result[start : start + _CHUNK_VALUES], step[: len(part)]
        for k in range(_TERMS - 1, 0, -1):
            np.divide(part, k, out=term)
            sums *= term
            np.subtract(1, sums, out=sums)
    return result


def power(values: NDArray[np.float64], exponent: float) -> NDArray[np.float64]:
    """x^a by squares for the whole part of a and by square roots for the rest.

    Args:
        values: float64 [n], above 0.
        exponent: a, 0 or more, finite.

    Returns:
        float64 [n], within a relative error of about (2 a + 64) 2^-53; for a = 1 the values.

    Example:
        >>> power(np.array([0.5, 9.0]), 2.5).tolist()
        [0.1767766952966369, 243.0]
    """
    result = np.ones_like(values)
    whole = int(exponent)
    rest = exponent - whole
    square, root = values, values
    while whole:
        if whole & 1:
            result = result * square
        whole >>= 1
        if whole:
            square = square * square
    for _ in range(_FRACTION_BITS):
        if rest == 0:
            break
        root = np.sqrt(root)
        rest *= 2
        if rest >= 1:
            result = result * root
            rest -= 1
    return result
