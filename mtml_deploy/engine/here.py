"""Building an engine on this machine, for the library and the GPU that are here.

In: an artifact and what to build for. Out: the engine, inside the artifact.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.engine.folder import Engine, build_engine, rtx_remark
from mtml_deploy.engine.gpu import find_gpus
from mtml_deploy.engine.library import Target, installed_target, load_library
from mtml_deploy.engine.options import BuildOptions
from mtml_deploy.errors import BackendError


def build_here(
    artifact: Artifact,
    options: BuildOptions,
    *,
    target: Target | None = None,
    gpu: int = 0,
    timing_cache: Path | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda _: None,
) -> Engine:
    """Build an engine with a library of this machine.

    Args:
        artifact: the exported model.
        options: how to build.
        target: what to build for; None takes the library that is installed.
        gpu: number of the GPU to build on.
        timing_cache: see `build_engine`.
        overwrite: replace an engine of the same name.
        say: told with what and for what it is built, before it is.

    Returns:
        The engine.

    Raises:
        BackendError: no TensorRT here, no such GPU, or see `build_engine`.
        ArtifactError: see `build_engine`.
        OutputExistsError: there is one already.
    """
    target = target or installed_target()
    if target is None:
        raise BackendError(
            "no TensorRT is installed here; run: pip install 'mtml-reid[tensorrt]', or for "
            "engines built without a GPU: pip install 'mtml-reid[rtx]'"
        )
    library = load_library(target)
    found = find_gpus()
    device = next((one for one in found.gpus if one.index == gpu), None)
    if found.gpus and device is None:
        raise BackendError(f"there is no GPU {gpu}, only 0..{len(found.gpus) - 1}; choose one")
    say(
        f"building with {library.target} {library.version} for "
        + (
            ", ".join(f"sm {number}" for number in options.sm)
            or (device.name if device else "no GPU")
        )
    )
    if remark := rtx_remark(artifact, library):
        say(f"note: {remark}")
    return build_engine(
        artifact, options, library, gpu=device, timing_cache=timing_cache, overwrite=overwrite
    )
