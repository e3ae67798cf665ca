"""Whether an installed TensorRT can use a GPU of this machine, known before anything is loaded.

In: a library and a GPU. Out: why not, in words that say what to do; empty where nothing speaks
against it.
"""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, version
from typing import Final

from mtml_deploy.engine.gpu import Gpu
from mtml_deploy.engine.library import Library

_CUDA: Final = range(11, 20)
"""Major versions of CUDA that distributions of TensorRT are named after."""


def misfit(library: Library, gpu: Gpu) -> str:
    """Why a library cannot use a GPU.

    Args:
        library: the imported TensorRT.
        gpu: the GPU.

    Returns:
        The reason; empty where none is known.
    """
    return old_driver(gpu, built_for_cuda(library), needed_by=library.target) or no_kernels(
        library, gpu
    )


def capabilities(library: Library) -> tuple[int, ...]:
    """Compute capabilities, without the dot, that TensorRT-RTX compiles for, ascending."""
    known = library.module.ComputeCapability.__members__
    return tuple(sorted(int(key[2:]) for key in known if re.fullmatch(r"SM\d+", key)))


def no_kernels(library: Library, gpu: Gpu) -> str:
    """Why TensorRT-RTX has nothing for a GPU; empty where it has, and for TensorRT."""
    if not library.is_rtx:  # it tells by itself, and no list of it can be read
        return ""
    found = capabilities(library)
    if int(gpu.compute_capability.replace(".", "")) in found:
        return ""
    return (
        f"TensorRT-RTX {library.version} has no kernels for {gpu.name} (compute capability "
        f"{gpu.compute_capability}), it has {', '.join(map(str, found))}; use --target tensorrt"
    )


def built_for_cuda(library: Library) -> int | None:
    """Major version of the CUDA that a library was built for; None where pip did not bring it."""
    for major in reversed(_CUDA):
        for name in (f"{library.target}-cu{major}", f"{library.target}-cu{major}-libs"):
            try:
                version(name)
            except PackageNotFoundError:
                continue
            return major
    return None


def old_driver(gpu: Gpu, needs: int | None, *, needed_by: str) -> str:
    """Why a driver does not run programs of a CUDA; empty where it does.

    Args:
        gpu: the GPU, with the newest CUDA of its driver.
        needs: major version of the program's CUDA; a driver runs every minor version of its own.
        needed_by: the program, for the text.
    """
    if needs is None or int(gpu.cuda.partition(".")[0]) >= needs:
        return ""
    return (
        f"the driver of {gpu.name} runs CUDA up to {gpu.cuda}, the installed {needed_by} needs "
        f"{needs}; update the driver, or install the {needed_by} for CUDA "
        f"{gpu.cuda.partition('.')[0]}"
    )
