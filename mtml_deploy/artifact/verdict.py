"""Whether a model was ever compared with its reference: the verdict beside it, as it is read.

In: an artifact, and what runs it. Out: where the verdict of the parity gate lies, and what a user
must know about it: `parity/<backend>-<device>.json` and `.md` inside the artifact.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Final

from mtml_deploy.artifact.artifact import Artifact

SCHEMA: Final = 1
"""Version of the layout of the record."""

FOLDER: Final = "parity"


def verdict_path(artifact: Artifact, *, backend: str, device: str) -> Path:
    """Where the verdict of one backend and kind of device is kept."""
    return artifact.folder / FOLDER / f"{backend}-{device.partition(':')[0]}.json"


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
