"""The gate's verdict on disk: `parity/<backend>-<device>.json` and `.md` inside the artifact.

In: a `GateResult` and what was compared. Out: a record that names the very model file, and for a
later command the answer to "was this model, on this backend and device, ever compared?".
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.files import write_text
from mtml_deploy.runtime.runtime import Backend
from mtml_deploy.version import __version__

if TYPE_CHECKING:
    from mtml_deploy.evaluate.protocols import Protocol
    from mtml_deploy.parity.judge import GateResult
    from mtml_deploy.parity.thresholds import GateThresholds

SCHEMA: Final = 1
FOLDER: Final = "parity"


@dataclass(frozen=True)
class Side:
    """One of the two compared models.

    Attributes:
        artifact: the exported model.
        backend: what ran it.
        device: "cpu" or "cuda:N".
    """

    artifact: Artifact
    backend: Backend
    device: str


def verdict_json(
    result: GateResult,
    *,
    candidate: Side,
    reference: Side,
    sources: tuple[str, str],
    protocol: Protocol,
    thresholds: GateThresholds,
) -> str:
    """Everything the gate measured and decided, as indented JSON; fractions 0..1.

    Args:
        result: from `judge`.
        candidate: the judged side.
        reference: what it was compared with.
        sources: query and gallery source.
        protocol: of mAP and CMC.
        thresholds: the bounds.

    Returns:
        JSON; null where a value does not exist.
    """
    change = result.mean_ap
    record = {
        "schema": SCHEMA,
        "passed": result.passed,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "version": __version__,
        "candidate": {**_side(candidate), "engine_sha256": result.engine_sha256},
        "reference": _side(reference),
        "data": {"query": sources[0], "gallery": sources[1], "queries": change.queries},
        "protocol": protocol.name,
        "thresholds": asdict(thresholds),
        "checks": [asdict(check) for check in result.checks],
        "agreement": {name: asdict(found) for name, found in result.agreement.items()},
        "ranking": asdict(result.ranking),
        "mean_ap": {**asdict(change), "difference": change.difference},
        "cmc": {str(rank): values for rank, values in result.cmc.items()},
        "consistency": asdict(result.consistency),
    }
    return json.dumps(_without_nan(record), indent=1, allow_nan=False) + "\n"


def verdict_path(artifact: Artifact, *, backend: str, device: str) -> Path:
    """Where the verdict of one backend and kind of device is kept."""
    return artifact.folder / FOLDER / f"{backend}-{device.partition(':')[0]}.json"


def save_verdict(side: Side, *, record: str, markdown: str) -> Path:
    """Write the record and its readable form into the candidate's artifact.

    Args:
        side: the candidate.
        record: from `verdict_json`.
        markdown: from `gate_markdown`.

    Returns:
        Path of the record.
    """
    path = verdict_path(side.artifact, backend=side.backend, device=side.device)
    write_text(path.with_suffix(".md"), markdown)
    write_text(path, record)
    return path


def gate_warning(artifact: Artifact, *, backend: str, device: str, engine_sha256: str = "") -> str:
    """What a user of a model must know about its verdict.

    An fp32 model that ONNX Runtime runs on a CPU was compared with torch when it was exported, on
    the same backend; everything else needs a verdict of the gate.

    Args:
        artifact: the model.
        backend: what will run it.
        device: where.
        engine_sha256: hash of the engine that will run, if one does.

    Returns:
        One sentence, empty where the model passed.
    """
    name = f"{artifact.manifest.precision} model on {backend}, {device}"
    fix = (
        f"compare it: mtml-deploy parity {artifact.folder} --reference ART_FP32 --data veri:DIR "
        f"--backend {backend} --device {device}"
    )
    path = verdict_path(artifact, backend=backend, device=device)
    if not path.is_file():
        if (artifact.manifest.precision, backend, device) == ("fp32", "ort", "cpu"):
            return ""
        return f"the retrieval quality of this {name} was never compared with its reference; {fix}"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        judged = record["candidate"]
        hashes = (judged["model_sha256"], judged["engine_sha256"])
        passed = record["schema"] == SCHEMA and record["passed"] is True
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"the parity verdict {path} cannot be read ({error!r}); {fix}"
    if hashes != (artifact.manifest.model_sha256, engine_sha256):
        return f"the parity verdict {path} is of another model file or engine; {fix}"
    if not passed:
        return f"this {name} FAILED the parity gate, see {path.with_suffix('.md')}; {fix}"
    return ""


def _side(side: Side) -> dict[str, str]:
    """One side for JSON."""
    manifest = side.artifact.manifest
    return {
        "artifact": str(side.artifact.folder),
        "model_sha256": manifest.model_sha256,
        "checkpoint_sha256": manifest.checkpoint_sha256,
        "precision": manifest.precision,
        "embedding": manifest.embedding,
        "backend": side.backend,
        "device": side.device,
    }


def _without_nan(value: object) -> object:
    """The same JSON value with null for what is not a finite number."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value
