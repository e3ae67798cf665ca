"""The manifest of an engine: what the plan is, for whom it was built, and the hash that binds both.

In: what a build knows. Out: `NAME.json` beside `NAME.engine`, read back and checked before the plan
is touched: a plan is executable code, so one without a matching manifest is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.engine.gpu import Gpu
from mtml_deploy.engine.library import Library, Target
from mtml_deploy.engine.options import BatchProfile, BuildOptions
from mtml_deploy.errors import ArtifactError
from mtml_deploy.output_kind import json_kind
from mtml_deploy.record_file import Count, Positive, Record, Sha256, parse_json, record_json
from mtml_deploy.regular_file import RECORD_BYTES, read_regular


class EngineManifest(Record, frozen=True, kw_only=True):
    """What an engine file is.

    Attributes:
        schema: version of this record.
        plan_sha256: hash of the engine file.
        plan_bytes: its size.
        model_sha256: hash of the ONNX file it was built from.
        target: "tensorrt" or "tensorrt-rtx".
        target_version: version of that library; another version cannot load the plan.
        gpu: name of the GPU it was built on and for; empty for an engine compiled for `sm`.
        compute_capability: of that GPU; empty for an engine compiled for `sm`.
        sm: compute capabilities without the dot that it was compiled for.
        hardware_compatible: runs on other GPUs since Ampere than the one it was built on.
        driver: of the machine that built it; empty without a GPU.
        profile: images per run.
        options: the other build options, JSON values.
        aux_streams: streams beside the main one that the engine uses, whatever was asked for; None
            where the build did not tell, as in engines of earlier versions.
        build_seconds: wall time of the build.
        created: when, ISO 8601, UTC.
    """

    schema: Literal[1] = 1
    plan_sha256: Sha256
    plan_bytes: Count
    model_sha256: Sha256
    target: Target
    target_version: str
    gpu: str
    compute_capability: str
    sm: tuple[Positive, ...]
    hardware_compatible: bool
    driver: str
    profile: BatchProfile
    options: Mapping[str, object]
    build_seconds: float
    created: str
    aux_streams: Count | None = None

    def in_words(self) -> str:
        """For whom it was built and how it runs, in one line."""
        for_whom = self.gpu or "compute capability " + ", ".join(
            f"{number / 10:.1f}" for number in self.sm
        )
        if self.hardware_compatible:
            for_whom += " and every GPU since Ampere"
        streams = "" if self.aux_streams is None else f", {self.aux_streams + 1} streams"
        return (
            f"{self.target} {self.target_version} for {for_whom}, batches of {self.profile.min} to "
            f"{self.profile.max}, tuned for {self.profile.opt}{streams}"
        )

    def misfits(self, *, model_sha256: str, library: Library, gpu: Gpu | None) -> tuple[str, ...]:
        """Why the plan cannot run here.

        Args:
            model_sha256: the ONNX file of the artifact now.
            library: what would load the plan.
            gpu: what would run it; None where there is no such GPU.

        Returns:
            Reasons in words; empty where it fits.
        """
        found = []
        if self.model_sha256 != model_sha256:
            found.append("it was built from another model file")
        if self.target != library.target:
            found.append(f"it is for {self.target}, not {library.target}")
        elif self.target_version != library.version:
            found.append(
                f"it was built with {self.target} {self.target_version}, installed is "
                f"{library.version}"
            )
        if gpu is None:
            found.append("no such GPU is here")
        elif self.sm:
            if int(gpu.compute_capability.replace(".", "")) not in self.sm:
                built = ", ".join(f"{number / 10:.1f}" for number in self.sm)
                found.append(
                    f"it was built for compute capability {built}, {gpu.name!r} has "
                    f"{gpu.compute_capability}"
                )
        elif self.hardware_compatible:
            if float(gpu.compute_capability) < 8:
                found.append(f"it needs Ampere or later, {gpu.name!r} is older")
        elif (self.gpu, self.compute_capability) != (gpu.name, gpu.compute_capability):
            found.append(f"it was built for {self.gpu!r} but this GPU is {gpu.name!r}")
        return tuple(found)


def make_engine_manifest(
    *,
    plan_sha256: str,
    plan_bytes: int,
    model_sha256: str,
    library: Library,
    gpu: Gpu | None,
    options: BuildOptions,
    build_seconds: float,
    aux_streams: int | None = None,
) -> EngineManifest:
    """The manifest of a plan that was just built; arguments as its fields."""
    on_gpu = None if options.sm else gpu
    return EngineManifest(
        plan_sha256=plan_sha256,
        plan_bytes=plan_bytes,
        model_sha256=model_sha256,
        target=library.target,
        target_version=library.version,
        gpu="" if on_gpu is None else on_gpu.name,
        compute_capability="" if on_gpu is None else on_gpu.compute_capability,
        sm=options.sm,
        hardware_compatible=options.hardware_compatible,
        driver="" if gpu is None else gpu.driver,
        profile=options.profile,
        options={
            "workspace_bytes": options.workspace_bytes,
            "optimization_level": options.optimization_level,
            "aux_streams": options.aux_streams,
        },
        aux_streams=aux_streams,
        build_seconds=round(build_seconds, 3),
        created=datetime.now(UTC).isoformat(timespec="seconds"),
    )


ENGINE_JSON: Final = json_kind(
    "the record of an engine as JSON", "target", "target_version", "plan_bytes"
)


def engine_manifest_json(manifest: EngineManifest) -> str:
    """JSON of an engine's manifest, keys sorted."""
    return record_json(manifest, indent=2, sort_keys=True) + "\n"


def load_engine_manifest(path: Path) -> EngineManifest:
    """The manifest in a file, checked.

    Args:
        path: the .json file.

    Returns:
        The manifest.

    Raises:
        ArtifactError: missing, not JSON, of another schema, or with wrong fields.
    """
    try:
        return parse_json(read_regular(path, most_bytes=RECORD_BYTES), EngineManifest)
    except (OSError, ValueError) as error:
        raise ArtifactError(
            f"the sidecar {path} is not valid: {error}; build the engine again: "
            f"mtml-deploy build {path.parent.parent} --overwrite"
        ) from error
