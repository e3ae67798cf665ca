"""The files of an artifact for fuzz tests: model, manifest, engine and its sidecar, verdict."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
from fuzz_kinds import Kind
from fuzz_mutations import damaged_json
from helpers_artifact import SIZE, file_sha256, replace, save_manifest, write_artifact
from helpers_threshold import a_threshold

from mtml_deploy.artifact.artifact import open_artifact
from mtml_deploy.artifact.threshold import require_calibrated, save_threshold
from mtml_deploy.artifact.verdict import parity_warning, verdict_path
from mtml_deploy.engine.folder import list_engines, read_plan
from mtml_deploy.engine.manifest import load_engine_manifest
from mtml_deploy.errors import ArtifactError
from mtml_deploy.parity.thresholds import load_thresholds
from mtml_deploy.runtime.ort import OrtRuntime

IMAGES = np.random.default_rng(0).integers(0, 256, (3, SIZE, SIZE, 3), dtype=np.uint8)


def artifact(folder: Path) -> Kind:
    """An artifact: its model has a hash, its manifest is repeated inside the model."""
    made = write_artifact(folder / "a")
    files = (made.model_path, folder / "a" / "manifest.json")

    def read() -> object:
        opened = open_artifact(folder / "a")
        with OrtRuntime(opened, threads=1) as runtime:
            return opened.manifest, runtime.run(IMAGES).tolist()

    return Kind("artifact", files, read, (damaged_json_text,) * 2, sealed=True)


def damaged_json_text(content: bytes, draw) -> tuple[str, bytes]:
    """A damaged JSON text; other bytes lose their first half."""
    try:
        json.loads(content)
    except ValueError:
        return "half", content[len(content) // 2 :]
    return damaged_json(content, draw)


def forged_model(folder: Path) -> Kind:
    """A model file whose hash is always the one that the manifest names."""
    made = write_artifact(folder / "a")

    def read() -> object:
        found = file_sha256(made.model_path) if made.model_path.is_file() else "0" * 64
        save_manifest(made.folder, replace(made.manifest, model_sha256=found))
        with OrtRuntime(open_artifact(made.folder), threads=1) as runtime:
            found = runtime.run(IMAGES)
            assert found.shape == (3, made.manifest.dim) and found.dtype == np.float32
        return None

    return Kind("forged model", (made.model_path,), read)


def engine(folder: Path) -> Kind:
    """An engine that is listed has the bytes its sidecar names."""
    made = write_artifact(folder / "a")
    plan = folder / "a" / "engines" / "tensorrt-none.engine"
    plan.parent.mkdir()
    plan.write_bytes(b"a plan" * 100)
    sidecar = {
        "schema": 1, "plan_sha256": hashlib.sha256(plan.read_bytes()).hexdigest(),
        "plan_bytes": 600, "model_sha256": made.manifest.model_sha256, "target": "tensorrt",
        "target_version": "10.3.0", "gpu": "NVIDIA X", "compute_capability": "9.0", "sm": [],
        "hardware_compatible": False, "driver": "580", "profile": {"min": 1, "opt": 8, "max": 32},
        "options": {"workspace_bytes": 0}, "build_seconds": 1.5, "created": "2026-01-01T00:00:00Z",
    }  # fmt: skip
    side = plan.with_suffix(".json")
    side.write_text(json.dumps(sidecar))

    def read() -> object:
        found = list_engines(made)
        for each in found:
            assert each.path == plan and read_plan(each) == b"a plan" * 100
        if not found and plan.is_file():  # the sidecar is to blame, or the plan's hash
            load_engine_manifest(side)
            raise ArtifactError("the plan or its hash was changed")
        return None

    return Kind("engine", (plan, side), read, (damaged_json_text,))


def verdict(folder: Path) -> Kind:
    """A verdict that cannot be read or is of another model is told, never taken for a pass."""
    made = write_artifact(folder / "a")
    compared = {
        "artifact": "x", "model_sha256": made.manifest.model_sha256,
        "checkpoint_sha256": "c" * 64, "precision": "fp32", "embedding": "fused",
        "backend": "ort", "device": "cuda:0",
    }  # fmt: skip
    record = {
        "schema": 1, "passed": True, "created": "x", "version": "1",
        "candidate": compared | {"engine_sha256": ""}, "reference": compared,
        "data": {"queries": 3}, "protocol": "veri776", "thresholds": {"min_cosine": 0.9},
        "checks": [{"name": "a", "value": 1.0}], "agreement": {"whole": {"cosine": 1.0}},
        "ranking": {"top1": 1.0}, "mean_ap": {"difference": 0.0}, "cmc": {"1": [1.0, None]},
        "consistency": {},
    }  # fmt: skip
    path = verdict_path(made, backend="ort", device="cuda:0")
    path.parent.mkdir()
    path.write_text(json.dumps(record))

    def read() -> object:
        found = parity_warning(made, backend="ort", device="cuda:0")
        assert len(found) < 20_000
        return None

    assert parity_warning(made, backend="ort", device="cuda:0") == ""
    return Kind("verdict", (path,), read, (damaged_json,) * 3)


def distance(folder: Path) -> Kind:
    """A calibrated distance with another value than was measured is refused."""
    made = write_artifact(folder / "a")
    path = save_threshold(made, a_threshold(made))
    return Kind(
        "distance", (path,), lambda: require_calibrated(made), (damaged_json,) * 3, sealed=True
    )


def thresholds(folder: Path) -> Kind:
    """Bounds of the gate."""
    path = folder / "bounds.toml"
    path.write_text("[int8]\nmin_cosine = 0.99\nmax_map_change = 1e-3\n[fp32]\nmin_spread = 0.5\n")

    def read() -> object:
        found = load_thresholds(path, "int8")
        assert -1 <= found.min_cosine <= 1 and 0 <= found.max_map_change < float("inf")
        return None

    return Kind("thresholds", (path,), read)


MODEL_KINDS = (artifact, forged_model, engine, verdict, distance, thresholds)
"""Each makes its files in an empty folder."""
