"""Engines of an artifact on disk: written whole, found by what this machine is.

In: an artifact. Out: `ART/engines/NAME.engine` and `.json`; for loading, the one plan that fits.
"""

from __future__ import annotations

import hashlib
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.artifact.artifact import Artifact, file_sha256
from mtml_deploy.artifact.plain_input import require_plain
from mtml_deploy.engine.build import build_plan
from mtml_deploy.engine.gpu import Gpu
from mtml_deploy.engine.graph_check import fp32_products, require_buildable
from mtml_deploy.engine.library import Library
from mtml_deploy.engine.manifest import (
    EngineManifest,
    engine_manifest_json,
    load_engine_manifest,
    make_engine_manifest,
)
from mtml_deploy.engine.options import BuildOptions
from mtml_deploy.errors import ArtifactError
from mtml_deploy.files import atomic_file, write_text
from mtml_deploy.lock import one_writer
from mtml_deploy.output_kind import FileKind
from mtml_deploy.outputs import require_output
from mtml_deploy.path_kind import name_of_kind
from mtml_deploy.regular_file import open_regular, read_regular

FOLDER: Final = "engines"
ENGINE_SUFFIX: Final = ".engine"

_TURING: Final = "7.5"
_TURING_SM: Final = 75

_MAGIC: Final = re.compile(rb"[a-z]trt")
"""How plans of TensorRT (ftrt) and TensorRT-RTX (vtrt) begin."""

_HEAD_BYTES: Final = 1 << 12


@dataclass(frozen=True)
class Engine:
    """An engine file and its manifest.

    Attributes:
        path: the plan.
        manifest: what it is.
    """

    path: Path
    manifest: EngineManifest


def build_engine(
    artifact: Artifact,
    options: BuildOptions,
    library: Library,
    *,
    gpu: Gpu | None,
    timing_cache: Path | None = None,
    overwrite: bool = False,
) -> Engine:
    """Build an engine of an artifact and keep it there.

    Args:
        artifact: the exported model.
        options: how to build.
        library: what to build with.
        gpu: the GPU of this machine; None where there is none.
        timing_cache: file with measured kernels, read if it exists and written back; TensorRT only.
        overwrite: replace an engine of the same name.

    Returns:
        The engine.

    Raises:
        ArtifactError: the graph cannot become an engine.
        BackendError: the options do not fit, or the build fails.
        OutputExistsError: there is one already.
        OutputBusyError: another process is building it.
    """
    path = artifact.folder / FOLDER / f"{_name(options, library, gpu)}{ENGINE_SUFFIX}"
    require_output(path, _ENGINE, overwrite=overwrite)
    require_plain(artifact.manifest, "an engine built here")
    require_buildable(artifact.model_path)
    if library.is_rtx and _for_turing(options, gpu):
        _require_fit_for_turing(artifact)
    known = None
    if timing_cache is not None:
        require_output(timing_cache, _TIMING_CACHE, overwrite=True)
        known = read_regular(timing_cache) if timing_cache.is_file() else b""
    with one_writer(path):
        started = time.monotonic()
        built = build_plan(
            artifact.model_path, artifact.manifest, options, library, gpu=gpu, timing_cache=known
        )
        manifest = make_engine_manifest(
            plan_sha256=hashlib.sha256(built.plan).hexdigest(),
            plan_bytes=len(built.plan),
            model_sha256=artifact.manifest.model_sha256,
            library=library,
            gpu=gpu,
            options=options,
            aux_streams=built.aux_streams,
            build_seconds=time.monotonic() - started,
        )
        with atomic_file(path) as temporary:
            temporary.write_bytes(built.plan)
        # a plan without its manifest is refused, so an interruption here leaves nothing that runs
        write_text(path.with_suffix(".json"), engine_manifest_json(manifest))
        if timing_cache is not None and built.timing_cache is not None:
            with atomic_file(timing_cache) as temporary:
                temporary.write_bytes(built.timing_cache)
    return Engine(path=path, manifest=manifest)


def _is_engine(path: Path) -> bool:
    """Whether a plan is a library's, by its first bytes, or has the sidecar of one."""
    with open_regular(path) as file:
        if _MAGIC.match(file.read(4)):
            return True
    load_engine_manifest(path.with_suffix(".json"))
    return True


def _is_timing_cache(path: Path) -> bool:
    """Whether a file may be measured kernels, whose format is TensorRT's own: no text at least."""
    with open_regular(path) as file:
        return b"\0" in file.read(_HEAD_BYTES) and name_of_kind(path) is None


_ENGINE: Final = FileKind("a TensorRT engine", _is_engine)
_TIMING_CACHE: Final = FileKind("a timing cache of TensorRT", _is_timing_cache)


def find_engine(artifact: Artifact, library: Library, gpu: Gpu | None) -> Engine:
    """The engine of an artifact that this library and GPU can run; its plan is not read.

    Args:
        artifact: the exported model.
        library: what will load it.
        gpu: what will run it.

    Returns:
        The newest engine that fits.

    Raises:
        ArtifactError: none fits; the text says what is there and how to build one.
    """
    fix = f"build one here: mtml-deploy build {artifact.folder} --target {library.target}"
    fitting: list[Engine] = []
    reasons: list[str] = []
    for path in sorted((artifact.folder / FOLDER).glob(f"*{ENGINE_SUFFIX}")):
        side = path.with_suffix(".json")
        if not side.is_file():
            reasons.append(f"{path.name} has no sidecar {side.name} that says what it is")
            continue
        manifest = load_engine_manifest(side)
        misfits = manifest.misfits(
            model_sha256=artifact.manifest.model_sha256, library=library, gpu=gpu
        )
        if misfits:
            reasons.append(f"{path.name}: {', '.join(misfits)}")
        else:
            fitting.append(Engine(path, manifest))
    if not fitting:
        raise ArtifactError(
            f"{artifact.folder} has no engine for this machine"
            + (f" ({'; '.join(reasons)})" if reasons else "")
            + f"; {fix}"
        )
    return max(fitting, key=lambda engine: engine.manifest.created)


def read_plan(engine: Engine) -> bytes:
    """The bytes of an engine, if they are those that its manifest names.

    Args:
        engine: from `find_engine`.

    Returns:
        The plan.

    Raises:
        ArtifactError: the file was changed, truncated or mixed up.
    """
    plan = read_regular(engine.path, most_bytes=1 << 40)
    found = hashlib.sha256(plan).hexdigest()
    if found != engine.manifest.plan_sha256:
        raise ArtifactError(
            f"{engine.path} has sha256 {found[:12]}... but its sidecar expects "
            f"{engine.manifest.plan_sha256[:12]}...: the file was changed, truncated or mixed up, "
            "and an engine is executable code; delete it and build it again: mtml-deploy build "
            f"{engine.path.parent.parent} --target {engine.manifest.target}"
        )
    return plan


def list_engines(artifact: Artifact) -> tuple[Engine, ...]:
    """Every engine of an artifact that can be read with its manifest, by name; plans are hashed."""
    found = []
    for path in sorted((artifact.folder / FOLDER).glob(f"*{ENGINE_SUFFIX}")):
        try:
            manifest = load_engine_manifest(path.with_suffix(".json"))
            found_sha256 = file_sha256(path)
        except (ArtifactError, OSError):
            continue
        if found_sha256 == manifest.plan_sha256:
            found.append(Engine(path, manifest))
    return tuple(found)


def rtx_remark(artifact: Artifact, library: Library) -> str:
    """What a user must know of an int8 engine of TensorRT-RTX; empty for any other.

    Args:
        artifact: the model.
        library: what builds its engine.

    Returns:
        One sentence.
    """
    if not library.is_rtx or artifact.manifest.precision != "int8":
        return ""
    return (
        "TensorRT-RTX gives int8 convolutions a float32 output and one more kernel each: it moves "
        "about twice the bytes of fp16, so fp16 is likely the faster engine; int8 is for --target "
        "tensorrt"
    )


def _for_turing(options: BuildOptions, gpu: Gpu | None) -> bool:
    """Whether an engine is to run on compute capability 7.5."""
    if options.sm:
        return _TURING_SM in options.sm
    return gpu is not None and gpu.compute_capability == _TURING


def _require_fit_for_turing(artifact: Artifact) -> None:
    """Refuse what TensorRT-RTX cannot compute there, in words the builder does not have."""
    if artifact.manifest.precision == "int8":
        raise ArtifactError(
            f"TensorRT-RTX has no int8 convolution for compute capability {_TURING}: it would turn "
            f"the weights of {artifact.folder} back into fp16 at every run; build the fp16 "
            f"artifact, use --target tensorrt, or leave --sm {_TURING_SM} out"
        )
    if found := fp32_products(artifact.model_path):
        raise ArtifactError(
            f"TensorRT-RTX has no fp32 matrix product for compute capability {_TURING}, and "
            f"{artifact.model_path} needs {len(found)} ({', '.join(found[:3])}); convert it first: "
            f"mtml-deploy convert {artifact.folder} --fp16 --out MODEL, or leave --sm "
            f"{_TURING_SM} out"
        )


def _name(options: BuildOptions, library: Library, gpu: Gpu | None) -> str:
    """A file name that tells engines of one artifact apart."""
    if options.sm:
        where = "-".join(f"sm{number}" for number in options.sm)
    elif options.hardware_compatible:
        where = "ampere-plus"
    else:
        where = re.sub(r"[^a-z0-9]+", "-", gpu.name.lower()).strip("-") if gpu else "none"
    return f"{library.target}-{where}"
