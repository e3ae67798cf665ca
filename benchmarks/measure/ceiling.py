"""What a device can do at most: a large matrix product in the precision of the model.

On a CPU that is `limits`; here for a GPU, with torch.
"""

from __future__ import annotations

from typing import Final

import torch

from benchmarks.measure.limits import MATRIX_SIZE, matrix_products
from benchmarks.measure.rounds import Contender, rate_of
from benchmarks.sizes import Arithmetic

_GPU_MATRIX_SIZE: Final = 8192
"""Side of the matrices on a GPU: large enough to fill every one, small enough for any memory."""

_GPU_PRODUCTS: Final = 20
_PREFIX: Final = "matrix_product"


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
        Contenders; `ceiling_key` names that of a precision, on a CPU the two of `limits` compete.
    """
    if device.type == "cpu":
        return matrix_products(threads=threads, size=size or MATRIX_SIZE)
    return tuple(_on_gpu(device, name, size or _GPU_MATRIX_SIZE) for name in precisions)


def ceiling_keys(device: torch.device, precision: Arithmetic) -> tuple[str, ...]:
    """Keys of the series of which the fastest is the limit of a model in `precision`."""
    if device.type == "cpu":
        return f"{_PREFIX}_numpy", f"{_PREFIX}_torch"
    return (f"{_PREFIX}_{precision}",)


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
