"""When a test that needs a GPU may skip, and when it must not.

A skip is for what is not here: no GPU, an extra that is not installed, a GPU that a library has no
kernels for. Anything else that stops a test is a fault of the product. MTML_MUST_RUN names backends
that are known to be here, as in "ort,tensorrt": for those even a skip is a failure.
"""

from __future__ import annotations

import os
from typing import Final, NoReturn

import pytest

from mtml_deploy.engine.gpu import Gpu, find_gpus
from mtml_deploy.errors import MissingExtraError, UnsupportedGpuError

VARIABLE: Final = "MTML_MUST_RUN"
BACKENDS: Final = ("torch", "ort", "ort-tensorrt", "tensorrt", "tensorrt-rtx")


def must_run() -> tuple[str, ...]:
    """The backends that may not be skipped."""
    named = tuple(name.strip() for name in os.environ.get(VARIABLE, "").split(",") if name.strip())
    if unknown := sorted(set(named) - set(BACKENDS)):
        pytest.fail(f"{VARIABLE} names {', '.join(unknown)}, known are {', '.join(BACKENDS)}")
    return named


def skip(backend: str, reason: str) -> NoReturn:
    """Skip a test of `backend`; a failure where it must run."""
    if backend in must_run():
        pytest.fail(f"{VARIABLE} says that {backend} runs here: {reason}")
    pytest.skip(f"{backend}: {reason}")


def skip_if_absent(backend: str, error: Exception) -> NoReturn:
    """Skip a test of `backend` for what is not here; raise any other error."""
    if isinstance(error, MissingExtraError | UnsupportedGpuError):
        skip(backend, str(error))
    raise error


def require_gpu(backend: str | None = None) -> Gpu:
    """The first GPU; without one the test of `backend`, None for any, is skipped."""
    found = find_gpus()
    if found.gpus:
        return found.gpus[0]
    skip(backend or next(iter(must_run()), "any backend"), found.reason)
