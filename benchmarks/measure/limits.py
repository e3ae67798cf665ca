"""What this machine can do at most: large float32 matrix products with the same threads.

Two libraries are asked, because neither is the faster one on every processor; the limit is the
faster of the two.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import torch

from benchmarks.measure.rounds import Contender, Series, rate_of

MATRIX_SIZE: Final = 2048
"""Side of the matrices: 48 MB in all, well beyond the caches, as a model's weights are."""

PRODUCTS: Final = 4
"""Products per round."""

_THREAD_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_ROOT: Final = Path(__file__).parents[2]
_PREFIX: Final = "matrix_product"


@contextmanager
def torch_threads(count: int) -> Iterator[int]:
    """Let torch compute with `count` threads inside, and as before afterwards.

    Args:
        count: 1 or more, or 0 for torch's own choice: one per physical core, unless the
            environment says otherwise.

    Yields:
        The number of threads.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def matrix_products(
    *, threads: int, size: int = MATRIX_SIZE, products: int = PRODUCTS
) -> tuple[Contender, Contender]:
    """The contenders whose faster one is the machine's limit.

    Args:
        threads: as the models use; torch must be set to them by `torch_threads`.
        size: side of the matrices.
        products: products per round.

    Returns:
        Matrix product of NumPy (in a child process) and of torch.
    """
    left = torch.rand(size, size, generator=torch.Generator().manual_seed(0))
    right = left.T.contiguous()
    result = torch.empty_like(left)

    def multiply() -> None:
        for _ in range(products):
            torch.mm(left, right, out=result)

    multiply()  # warm-up
    what = f"{products} products of float32 matrices [{size}, {size}] on {threads} threads"
    return (
        Contender(
            f"{_PREFIX}_numpy",
            "matrix product, NumPy",
            f"{what}, in a process of its own.",
            "FLOP/s",
            lambda: _numpy_product(threads, size, products),
        ),
        Contender(
            f"{_PREFIX}_torch",
            "matrix product, torch",
            f"{what}.",
            "FLOP/s",
            rate_of(2 * size**3 * products, multiply),
        ),
    )


def machine_limit(series: Mapping[str, Series]) -> Series:
    """The faster of the matrix products among `series`, by its median."""
    products = [item for key, item in series.items() if key.startswith(_PREFIX)]
    return max(products, key=lambda item: item.median)


def _numpy_product(threads: int, size: int, products: int) -> float:
    """FLOP/s of NumPy with exactly `threads` threads."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.measure.matrix_product", str(size), str(products)],
        cwd=_ROOT,
        env=os.environ | dict.fromkeys(_THREAD_VARIABLES, str(threads)),
        capture_output=True,
        text=True,
        check=True,
    )
    return float(done.stdout)
