"""Whether a model was ever compared with its reference: the verdict beside it, as it is read.

In: an artifact, and what runs it. Out: where the verdict of the parity gate lies, and what a user
must know about it: `parity/<backend>-<device>.json` and `.md` inside the artifact.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Literal

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import Precision
from mtml_deploy.defaults import DEVICE, Rounding
from mtml_deploy.errors import ArtifactError
from mtml_deploy.record_file import Record, Sha256, parse_json
from mtml_deploy.regular_file import RECORD_BYTES, read_regular

FOLDER: Final = "parity"

Gate = Literal["passed", "open", "failed"]
"""Of a model on one backend: open where nobody has compared it."""


class Compared(Record, frozen=True, kw_only=True):
    """One of the two models of a verdict.

    Attributes:
        artifact: its folder, as the user named it.
        model_sha256: of its model file.
        checkpoint_sha256: of the trained weights, the same for both.
        precision: "fp32", "fp16" or "int8".
        embedding: as in its manifest.
        backend: what ran it.
        device: "cpu" or "cuda:N".
    """

    artifact: str
    model_sha256: Sha256
    checkpoint_sha256: Sha256
    precision: Precision
    embedding: str
    backend: str
    device: str


class Judged(Compared, frozen=True, kw_only=True):
    """The model that was judged.

    Attributes:
        engine_sha256: hash of the engine that ran; empty where none did.
        computes_in: what the backend rounded to, see `ModelIdentity`.
    """

    engine_sha256: str
    computes_in: Rounding = ""


class Verdict(Record, frozen=True, kw_only=True):
    """The record of one run of the parity gate; fractions 0..1, null where a value does not exist.

    Attributes:
        schema: version of this record.
        passed: every check was within its bound.
        created: when, ISO 8601, UTC.
        version: of the program that compared.
        candidate: what was judged.
        reference: what it was compared with.
        data: query and gallery source, and how many queries.
        protocol: of mAP and CMC.
        thresholds: bound -> its value.
        checks: name, value, bound and outcome of each check.
        agreement: part of the embedding -> how near the embeddings are.
        ranking: how far the two rankings agree.
        mean_ap: of both, and the interval of the difference.
        cmc: rank -> [reference, candidate].
        consistency: of the candidate, whatever else is in a batch.
    """

    schema: Literal[1] = 1
    passed: bool
    created: str
    version: str
    candidate: Judged
    reference: Compared
    data: Mapping[str, object]
    protocol: str
    thresholds: Mapping[str, float]
    checks: tuple[Mapping[str, object], ...]
    agreement: Mapping[str, Mapping[str, object]]
    ranking: Mapping[str, object]
    mean_ap: Mapping[str, object]
    cmc: Mapping[str, tuple[float | None, ...]]
    consistency: Mapping[str, object]


def verdict_path(
    artifact: Artifact, *, backend: str, device: str, computes_in: Rounding = ""
) -> Path:
    """Where the verdict of one backend, kind of device and rounding is kept."""
    # of a server's address its kind: what it runs, and where, is compared when it is opened
    kind = backend.partition(":")[0].partition("+")[0]
    parts = (kind, device.partition(":")[0], computes_in)
    return artifact.folder / FOLDER / f"{'-'.join(filter(None, parts))}.json"


def verdicts(artifact: Artifact) -> list[Verdict]:
    """All verdicts on the model file that an artifact holds now, one of each backend.

    Raises:
        ArtifactError: one cannot be read.
    """
    found = []
    for path in sorted((artifact.folder / FOLDER).glob("*.json")):
        try:
            verdict = parse_json(read_regular(path, most_bytes=RECORD_BYTES), Verdict)
        except (OSError, ValueError) as error:
            raise ArtifactError(
                f"{path} cannot be read ({error}); run the parity gate again, or remove it"
            ) from error
        if verdict.candidate.model_sha256 == artifact.manifest.model_sha256:
            found.append(verdict)  # else of an earlier model of this folder
    return found


def gate_command(
    artifact: Artifact, *, backend: str, device: str = DEVICE, computes_in: Rounding = ""
) -> str:
    """The command that compares a model with its reference; an fp32 model is its own reference."""
    reference = artifact.folder if artifact.manifest.precision == "fp32" else "FP32"
    return (
        f"mtml-deploy parity {artifact.folder} --reference {reference} --data veri:DIR "
        f"--backend {backend} --device {device}"
        + (f" --execution-precision {computes_in}" if computes_in else "")
    )


def parity_warning(
    artifact: Artifact,
    *,
    backend: str,
    device: str,
    engine_sha256: str = "",
    computes_in: Rounding = "",
) -> str:
    """What a user of a model must know about its verdict; arguments as of `parity_gate`.

    Returns:
        One sentence, empty where the model passed.
    """
    return parity_gate(
        artifact,
        backend=backend,
        device=device,
        engine_sha256=engine_sha256,
        computes_in=computes_in,
    )[1]


def parity_gate(
    artifact: Artifact,
    *,
    backend: str,
    device: str,
    engine_sha256: str = "",
    computes_in: Rounding = "",
) -> tuple[Gate, str]:
    """Whether a model has passed the gate.

    An fp32 model that ONNX Runtime runs on a CPU was compared with torch when it was exported, on
    the same backend; everything else needs a verdict of the gate.

    Args:
        artifact: the model.
        backend: what will run it.
        device: where.
        engine_sha256: hash of the engine that will run, if one does.
        computes_in: what the backend rounds to.

    Returns:
        The state, and one sentence for the user, empty where the model passed.
    """
    rounded = f" in {computes_in}" if computes_in else ""
    name = f"{artifact.manifest.precision} model on {backend}, {device}{rounded}"
    command = gate_command(artifact, backend=backend, device=device, computes_in=computes_in)
    fix = f"compare it: {command}"
    path = verdict_path(artifact, backend=backend, device=device, computes_in=computes_in)
    if not path.is_file():
        if (artifact.manifest.precision, backend, device) == ("fp32", "ort", "cpu"):
            return "passed", ""
        return "open", (
            f"the retrieval quality of this {name} was never compared with its reference; {fix}"
        )
    try:
        verdict = parse_json(read_regular(path, most_bytes=RECORD_BYTES), Verdict)
    except (OSError, ValueError) as error:
        return "open", f"the parity verdict {path} cannot be read ({error}); {fix}"
    judged = verdict.candidate
    found = (judged.model_sha256, judged.engine_sha256, judged.computes_in)
    if found != (artifact.manifest.model_sha256, engine_sha256, computes_in):
        return "open", f"the parity verdict {path} is of another model file or engine; {fix}"
    if not verdict.passed:
        return "failed", (
            f"this {name} FAILED the parity gate, see {path.with_suffix('.md')}; {fix}"
        )
    return "passed", ""
