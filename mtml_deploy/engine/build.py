"""ONNX file to TensorRT plan: one path for TensorRT 10.3 to 11 and TensorRT-RTX.

In: an ONNX file whose precision is baked in. Out: the bytes of a plan. No precision flag is ever
set: the network is strongly typed, so the plan computes what the file says.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from mtml_deploy.artifact.manifest import INPUT_NAME, Manifest
from mtml_deploy.engine.fit import capabilities, no_kernels
from mtml_deploy.engine.gpu import Gpu, on_gpu
from mtml_deploy.engine.library import Library, make
from mtml_deploy.engine.library_log import LibraryLog
from mtml_deploy.engine.options import BuildOptions
from mtml_deploy.errors import ArtifactError, BackendError, UnsupportedGpuError

_SHOWN: Final = 3
"""Messages of the library that one error text repeats."""

_STREAM: Final = re.compile(r", StreamId: (\d+)")
"""Where the listing of an engine's kernels says in which stream one runs."""


@dataclass(frozen=True)
class BuiltPlan:
    """What a build gives.

    Attributes:
        plan: the engine.
        timing_cache: the measured kernels, this build's among them; None where none are kept.
        aux_streams: streams beside the main one that the engine uses; None where the library does
            not tell.
    """

    plan: bytes
    timing_cache: bytes | None
    aux_streams: int | None


def build_plan(
    model: Path,
    manifest: Manifest,
    options: BuildOptions,
    library: Library,
    *,
    gpu: Gpu | None,
    timing_cache: bytes | None = None,
) -> BuiltPlan:
    """Compile a model.

    Args:
        model: the ONNX file, checked by `require_buildable`.
        manifest: what it is.
        options: how to build.
        library: what to build with.
        gpu: the GPU of this machine; None where there is none.
        timing_cache: measured kernels of earlier builds on this GPU and TensorRT version; empty
            bytes begin a new one, None keeps none.

    Returns:
        The plan and what its build tells.

    Raises:
        ArtifactError: the parser refuses the model.
        BackendError: the options do not fit the library or the machine, or the build fails.
    """
    require_fitting(options, library, gpu, timing_cache=timing_cache is not None)
    trt: Any = library.module  # the two libraries have no common type
    log = library.logger()
    log.errors.clear()  # those of an earlier build
    log.listing = ""
    builder = make(library, "Builder", log)
    # 10 needs the flag for a strongly typed network, 11 and RTX have no other kind
    flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    parser = trt.OnnxParser(network, log)
    if not parser.parse_from_file(str(model.resolve())):
        errors = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise ArtifactError(
            f"{library.target} {library.version} cannot parse {model}: {_few(errors)}; export it "
            "again: mtml-export RUN --out MODEL"
        )
    config = builder.create_builder_config()
    # the log and the engine then name kernels with their types; what is computed is the same
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
    if options.optimization_level is not None:
        config.builder_optimization_level = options.optimization_level
    if options.aux_streams is not None:
        config.max_aux_streams = options.aux_streams
    if options.workspace_bytes:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if library.is_rtx:
        capabilities = _capabilities(library, options, gpu)
        config.num_compute_capabilities = len(capabilities)
        for position, capability in enumerate(capabilities):
            config.set_compute_capability(capability, position)
    if options.hardware_compatible:
        config.hardware_compatibility_level = trt.HardwareCompatibilityLevel.AMPERE_PLUS
    cache = None
    if timing_cache is not None:
        cache = config.create_timing_cache(timing_cache)
        if not config.set_timing_cache(cache, ignore_mismatch=False):
            raise BackendError(
                "the timing cache is of another GPU or TensorRT version; name a new file"
            )
    for batch in options.profile.parts():
        profile = builder.create_optimization_profile()
        sizes = (batch.min, batch.opt, batch.max)
        shapes = [(n, manifest.height, manifest.width, 3) for n in sizes]
        profile.set_shape(INPUT_NAME, *shapes)
        config.add_optimization_profile(profile)
    with on_gpu(gpu if not library.is_rtx else None):  # where it measures its kernels
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise BackendError(
                f"{library.target} {library.version} could not build an engine of {model}: "
                f"{_few(list(log.errors))}; a larger --workspace-gib or a smaller "
                "--max-batch of mtml-deploy build may "
                "help"
            )
        return BuiltPlan(
            plan=bytes(plan),
            timing_cache=None if cache is None else bytes(cache.serialize()),
            aux_streams=_aux_streams(library, log, plan),
        )


def _aux_streams(library: Library, log: LibraryLog, plan: object) -> int | None:
    """Streams beside the main one that a plan uses, whatever was asked for.

    Raises:
        BackendError: the library that built the plan cannot load it.
    """
    if library.is_rtx:  # loads nothing without a GPU, but lists its kernels while it builds
        streams = set(_STREAM.findall(log.listing))
        return len(streams) - 1 if streams else None
    runtime = make(library, "Runtime", log)
    runtime.engine_host_code_allowed = False
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise BackendError(
            f"{library.target} {library.version} built an engine that it cannot load: "
            f"{_few(list(log.errors))}; free memory on the GPU, or "
            "build for smaller batches: mtml-deploy build MODEL --opt-batch N"
        )
    count = int(engine.num_aux_streams)
    del engine  # before its runtime
    return count


def require_fitting(
    options: BuildOptions, library: Library, gpu: Gpu | None, *, timing_cache: bool = False
) -> None:
    """Refuse options that this library or machine would ignore or cannot build for.

    Args:
        options: how to build.
        library: what to build with.
        gpu: the GPU of this machine; None where there is none.
        timing_cache: whether measured kernels are to be kept.

    Raises:
        BackendError: names the option.
        UnsupportedGpuError: the library has no kernels for `gpu`.
    """
    if library.is_rtx:
        for given, flag, instead in (
            (options.hardware_compatible, "--hardware-compatible", "name every GPU with --sm"),
            (timing_cache, "--timing-cache", "leave it out, its builds take seconds"),
            (
                options.aux_streams is not None,
                "--aux-streams",
                "leave it out, it chooses streams by itself and the build says how many",
            ),
        ):
            if given:
                raise BackendError(f"tensorrt-rtx has no {flag}; {instead}")
        if not options.sm and gpu is None:
            raise BackendError(
                "no GPU was found to build for; name compute capabilities, for example --sm 86 "
                "--sm 89"
            )
        _capabilities(library, options, gpu)
        return
    if options.sm:
        raise BackendError(
            "tensorrt builds for the GPU of this machine only; leave --sm out, or build with "
            "--target tensorrt-rtx"
        )
    if gpu is None:
        raise BackendError(
            "tensorrt builds engines by measuring on a GPU, and none was found here; build on the "
            "machine that will run the engine: mtml-deploy build MODEL"
        )


def _capabilities(library: Library, options: BuildOptions, gpu: Gpu | None) -> list[object]:
    """The GPUs that a TensorRT-RTX engine is for, as its library names them."""
    known = library.module.ComputeCapability.__members__
    found = capabilities(library)
    for number in options.sm:
        if number not in found:
            raise BackendError(
                f"TensorRT-RTX {library.version} has no compute capability {number}, it has "
                f"{', '.join(map(str, found))}; choose --sm among these, or use --target tensorrt"
            )
    if options.sm:
        return [known[f"SM{number}"] for number in options.sm]
    if gpu is not None and (reason := no_kernels(library, gpu)):
        raise UnsupportedGpuError(reason)
    return [known["CURRENT"]]


def _few(messages: list[str]) -> str:
    """The first messages in one line."""
    shown = [" ".join(message.split()) for message in messages[:_SHOWN]]
    return "; ".join(shown) or "it gave no reason, run again with -v"
