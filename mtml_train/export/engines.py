"""Engines built right after an export, and the reasons of those that were not.

In: the targets a user named, or none. Out: one sentence per target for the closing summary. What
was named and cannot be built is an error before anything long runs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.engine.build import require_fitting
from mtml_deploy.engine.folder import build_engine, rtx_remark
from mtml_deploy.engine.gpu import Gpu, find_gpus
from mtml_deploy.engine.library import TARGETS, Library, load_library
from mtml_deploy.engine.options import BuildOptions
from mtml_deploy.errors import BackendError, MtmlError


@dataclass(frozen=True)
class EngineJob:
    """One engine to build.

    Attributes:
        library: what to build with.
        options: how.
        gpu: the GPU of this machine; None where there is none.
    """

    library: Library
    options: BuildOptions
    gpu: Gpu | None


@dataclass(frozen=True)
class EnginePlan:
    """What follows an export.

    Attributes:
        jobs: engines to build.
        asked: whether the user named them: then one that fails is an error.
        left_out: a sentence for each target that is not built though nobody declined it.
    """

    jobs: tuple[EngineJob, ...]
    asked: bool
    left_out: tuple[str, ...] = ()


def plan_engines(targets: Sequence[str], *, sm: tuple[int, ...] = ()) -> EnginePlan:
    """Which engines can and shall be built here.

    Args:
        targets: "onnx", "tensorrt" or "tensorrt-rtx"; empty for what this machine can build and
            run.
        sm: compute capabilities without the dot, for "tensorrt-rtx".

    Returns:
        The plan.

    Raises:
        MissingExtraError: a named target's library is not installed.
        BackendError: a named target cannot be built here.
        ValueError: `sm` without "tensorrt-rtx", or one of them twice.
    """
    if sm and "tensorrt-rtx" not in targets:
        raise ValueError("--sm is for --target tensorrt-rtx; name it, or leave --sm out")
    found = find_gpus()
    gpu = found.gpus[0] if found.gpus else None
    jobs: list[EngineJob] = []
    left_out: list[str] = []
    for target in TARGETS:
        if target in targets:
            library = load_library(target)
            options = BuildOptions(sm=sm if library.is_rtx else ())
            require_fitting(options, library, gpu)
            jobs.append(EngineJob(library, options, gpu))
        elif not targets:
            try:
                library = load_library(target)
            except MtmlError as error:
                left_out.append(f"no {target} engine: {error}")
                continue
            if gpu is None:
                left_out.append(
                    f"no {target} engine: {found.reason}; on the machine that will run it: "
                    f"mtml-deploy build MODEL --target {target}"
                )
            else:
                jobs.append(EngineJob(library, BuildOptions(), gpu))
    return EnginePlan(tuple(jobs), asked=bool(targets), left_out=tuple(left_out))


def build_engines(
    artifact: Artifact, plan: EnginePlan, *, say: Callable[[str], None]
) -> tuple[str, ...]:
    """Build the engines of a plan into an artifact.

    Args:
        artifact: just exported.
        plan: from `plan_engines`.
        say: receives a line before each build.

    Returns:
        A sentence per target: what was built, or why not.

    Raises:
        BackendError: an engine that the user named cannot be built; the artifact stays.
    """
    summary: list[str] = []
    for job in plan.jobs:
        target = job.library.target
        say(f"building an engine with {target} {job.library.version}")
        if remark := rtx_remark(artifact, job.library):
            say(f"note: {remark}")
        try:
            engine = build_engine(artifact, job.options, job.library, gpu=job.gpu)
        except MtmlError as error:
            if plan.asked:
                raise BackendError(
                    f"{artifact.folder} was written, but without a {target} engine: {error}"
                ) from error
            summary.append(f"no {target} engine: {error}")
            continue
        side = engine.manifest
        place = side.gpu or ", ".join(f"compute capability {number / 10:.1f}" for number in side.sm)
        summary.append(
            f"{target} engine: {engine.path}, {side.plan_bytes / 1e6:.0f} MB in "
            f"{side.build_seconds:.1f} s, for {place}"
        )
    return (*summary, *plan.left_out)
