"""What a device can do at most: large matrix products in the precision of the model.

On a CPU they use the same threads. Two libraries are asked for float32, because neither is the
faster one on every processor; the limit is the faster of the two. All others are torch's.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
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
"""Products of the first try on a GPU, which tells how many fill a measurement."""

_THREAD_VARIABLES: Final = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS")
_ROOT: Final = Path(__file__).parents[2]
_PREFIX: Final = "matrix_product"
_TYPES: Final[Mapping[Arithmetic, torch.dtype]] = {
    "fp32": torch.float32,
    "bf16": torch.bfloat16,
    "fp16": torch.float16,
    "int8": torch.int8,
}


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


def machine_limit(series: Mapping[str, Series], precision: Arithmetic = "fp32") -> Series:
    """The limit of models on the CPU: of the products among `series` the fastest, by its median.

    Args:
        series: as measured, by key.
        precision: what the model's products are computed in.

    Returns:
        The series.
    """
    products = [series[key] for key in ceiling_keys(torch.device("cpu"), precision)]
    return max(products, key=lambda item: item.median)


def ceilings(
    device: torch.device,
    precisions: tuple[Arithmetic, ...],
    *,
    threads: int,
    size: int | None = None,
    seconds: float = 2.0,
) -> tuple[Contender, ...]:
    """The matrix products that bound models on `device`.

    Args:
        device: a GPU or the CPU.
        precisions: what the models' products are computed in.
        threads: of products on the CPU.
        size: side of the matrices; None for the usual one.
        seconds: of one measurement on a GPU, about: as long as a model's, so that the clocks have
            come down for both. On a CPU a few products are enough.

    Returns:
        Contenders; `ceiling_keys` names those of a precision. On a CPU float32 is always measured.
    """
    if device.type == "cpu":
        side = size or MATRIX_SIZE
        return (
            *matrix_products(threads=threads, size=side),
            *(
                _of_torch(device, name, side, PRODUCTS, where=f" on {threads} threads")
                for name in precisions
                if name != "fp32"
            ),
        )
    side = size or _GPU_MATRIX_SIZE
    return tuple(
        _of_torch(device, name, side, _GPU_PRODUCTS, seconds=seconds) for name in precisions
    )


def ceiling_keys(device: torch.device, precision: Arithmetic) -> tuple[str, ...]:
    """Keys of the series of which the fastest is the limit of a model in `precision`."""
    if device.type == "cpu" and precision == "fp32":
        return f"{_PREFIX}_numpy", f"{_PREFIX}_torch"
    return (f"{_PREFIX}_{precision}",)


def products_for(seconds: float, products: int, took: float) -> int:
    """How many products fill a measurement.

    Args:
        seconds: of the measurement.
        products: of a first try, which is the least.
        took: seconds of that try.
    """
    return products * max(1, math.ceil(seconds / max(took, 1e-9)))


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


def _of_torch(
    device: torch.device,
    precision: Arithmetic,
    size: int,
    products: int,
    *,
    where: str = "",
    seconds: float = 0.0,
) -> Contender:
    """`products` or more products of two [size, size] matrices of one precision, for `seconds`."""
    generator = torch.Generator(device).manual_seed(0)
    if precision == "int8":
        options = {"dtype": torch.int8, "device": device, "generator": generator}
        left = torch.randint(-127, 128, (size, size), **options)  # type: ignore[call-overload]
    else:
        left = torch.randn(size, size, device=device, generator=generator).to(_TYPES[precision])
    # the int8 product wants its right side by columns; the others do not mind
    right = left.clone().T

    def multiply(count: int) -> None:
        before = torch.backends.cuda.matmul.allow_tf32
        # as convolutions of fp32 models do by themselves
        torch.backends.cuda.matmul.allow_tf32 = True
        try:
            for _ in range(count):
                if precision == "int8":
                    torch._int_mm(left, right)
                else:
                    torch.mm(left, right)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
        finally:
            torch.backends.cuda.matmul.allow_tf32 = before

    multiply(products)  # warm-up
    started = time.perf_counter()
    multiply(products)
    count = products_for(seconds, products, time.perf_counter() - started)
    detail = " in TF32" if precision == "fp32" else where
    return Contender(
        f"{_PREFIX}_{precision}",
        f"matrix product, {precision}",
        f"{count} products of {precision} matrices [{size}, {size}]{detail} with torch.",
        "FLOP/s",
        rate_of(2 * size**3 * count, lambda: multiply(count)),
    )
