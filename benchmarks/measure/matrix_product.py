"""A large float32 matrix product through NumPy; prints its speed. Run by `limits` as a child.

    python -m benchmarks.measure.matrix_product SIZE PRODUCTS

NumPy's library reads its number of threads from the environment when it is loaded, hence the child.
"""

from __future__ import annotations

import sys
import time

import numpy as np


def flop_per_second(size: int, products: int) -> float:
    """Speed of `products` products of two [size, size] matrices, after one that is not counted."""
    left = np.random.default_rng(0).random((size, size), dtype=np.float32)
    right = left.T.copy()
    result = np.empty_like(left)
    np.matmul(left, right, out=result)
    started = time.perf_counter()
    for _ in range(products):
        np.matmul(left, right, out=result)
    return 2 * size**3 * products / (time.perf_counter() - started)


if __name__ == "__main__":
    sys.stdout.write(f"{flop_per_second(int(sys.argv[1]), int(sys.argv[2]))}\n")
