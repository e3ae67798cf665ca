"""What a device can do at most: large matrix products in the precision of the model.

On a CPU these are float32 products with the same threads. Two libraries are asked, because neither
is the faster one on every processor; the limit is the faster of the two. On a GPU it is torch's.
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
from benchmarks.sizes import Arithmetic

MATRIX_SIZE: Final = 2048
"""Side of the matrices: 48 MB in all, well beyond the caches, as a model's weights are."""

PRODUCTS: Final = 4
"""Products per round."""

_GPU_MATRIX_SIZE: Final = 8192
"""Side of the matrices on a GPU: large enough to fill every one, small enough for any memory."""

_GPU_PRODUCTS: Final = 20

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


def ceilings(
    device: torch.device,
    precisions: tuple[Arithmetic, ...],
    *,
    threads: int,
    size: int | None = None,
) -> tuple[Contender, ...]:
    """The matrix products that bound models on `device`.

    Args:
        device: a GPU, or the CPU, where float32 is the only precision that is measured: its
            libraries compute fp16 models in float32.
        precisions: of the models.
        threads: of products on the CPU.
        size: side of the matrices; None for the usual one.

    Returns:
        Contenders; `ceiling_key` names that of a precision, on a CPU two compete.
    """
    if device.type == "cpu":
        return matrix_products(threads=threads, size=size or MATRIX_SIZE)
    return tuple(_on_gpu(device, name, size or _GPU_MATRIX_SIZE) for name in precisions)


def ceiling_keys(device: torch.device, precision: Arithmetic) -> tuple[str, ...]:
    """Keys of the series of which the fastest is the limit of a model in `precision`."""
    if device.type == "cpu":
        return f"{_PREFIX}_numpy", f"{_PREFIX}_torch"
    return (f"{_PREFIX}_{precision}",)


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


def _on_gpu(device: torch.device, precision: Arithmetic, size: int) -> Contender:
    """Products of two [size, size] matrices of one precision."""
    generator = torch.Generator(device).manual_seed(0)
    if precision == "int8":
        options = {"dtype": torch.int8, "device": device, "generator": generator}
        left = torch.randint(-127, 128, (size, size), **options)  # type: ignore[call-overload]
    else:
        dtype = torch.float16 if precision == "fp16" else torch.float32
        left = torch.randn(size, size, device=device, generator=generator).to(dtype)
    # the int8 product wants its right side by columns; the others do not mind
    right = left.clone().T

    def multiply() -> None:
        before = torch.backends.cuda.matmul.allow_tf32
        # as convolutions of fp32 models do by themselves
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            for _ in range(_GPU_PRODUCTS):
                if precision == "int8":
                    torch._int_mm(left, right)
                else:
                    torch.mm(left, right)
            torch.cuda.synchronize(device)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    multiply()  # warm-up
    detail = " in TF32" if precision == "fp32" else ""
    return Contender(
        f"{_PREFIX}_{precision}",
        f"matrix product, {precision}",
        f"{_GPU_PRODUCTS} products of {precision} matrices [{size}, {size}]{detail} with torch.",
        "FLOP/s",
        rate_of(2 * size**3 * _GPU_PRODUCTS, multiply),
    )
