"""What an exported model is: the short form of its manifest, verdicts, engines and distance."""

from __future__ import annotations

from collections.abc import Iterator

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.manifest import MANIFEST_JSON, Manifest, manifest_json
from mtml_deploy.artifact.threshold import calibrated_distance
from mtml_deploy.artifact.verdict import verdicts
from mtml_deploy.engine.folder import list_engines
from mtml_deploy.report.facts.facts import Facts
from mtml_deploy.report.facts.measured import measured_on, measured_rows
from mtml_deploy.text import command_line, percent


def model_facts(artifact: Artifact) -> Facts:
    """Facts about an exported model.

    Args:
        artifact: opened, and so checked.

    Raises:
        ArtifactError: an engine's record, a verdict or the calibrated distance is damaged.
    """
    manifest, folder = artifact.manifest, artifact.folder
    uses = [
        ("mtml-deploy", "embed", folder, "--images", "SOURCE", "--out", "FILE.npz"),
        ("mtml-deploy", "rank", folder, "--query", "SOURCE", "--gallery", "SOURCE"),
        ("mtml-deploy", "evaluate", folder, "--query", "SOURCE", "--gallery", "SOURCE"),
        ("mtml-deploy", "gallery", "create", "GALLERY", folder),
    ]
    if manifest.precision == "fp32":
        uses.append(("mtml-deploy", "convert", folder, "--fp16", "--out", f"{folder}-fp16"))
    return Facts(
        kind="an exported model",
        rows=(*model_rows(artifact), *_training(manifest), *_judged(artifact)),
        uses=tuple(command_line(*words) for words in uses),
        json=manifest_json(manifest),
        json_kind=MANIFEST_JSON,
    )


def model_rows(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """What a model is, in few lines: those that are shown wherever one was made."""
    manifest = artifact.manifest
    yield "model", f"{manifest.variant}, {manifest.backbone}"
    yield "branches", ", ".join(manifest.branches)
    scaled = "" if manifest.normalised is None else f", scaled to length 1 ({manifest.normalised})"
    flipped = ", averaged with the mirror image" if manifest.flip_averaged else ""
    yield "embedding", f"{manifest.embedding}, {manifest.dim} values{scaled}{flipped}"
    yield "input", f"{manifest.form}, {manifest.height} x {manifest.width} pixels"
    if manifest.with_orientation:
        yield "orientation", "a second output"
    yield "precision", manifest.precision
    yield "size", f"{megabytes(artifact.model_path.stat().st_size)}"
    if manifest.compression is not None:
        parent = manifest.compression.get("parent")
        before = f" from {parent['dim']} values" if isinstance(parent, dict) else ""
        yield "compressed", f"{manifest.compression.get('method')}{before}"


def megabytes(count: int) -> str:
    """A number of bytes for people."""
    return f"{count / 1e6:.1f} MB" if count < 1e7 else f"{count / 1e6:.0f} MB"


def _training(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """What it learnt from."""
    training = manifest.training
    sources = training.get("sources")
    if isinstance(sources, list | tuple):
        yield "trained on", ", ".join(map(str, sources))
    counts = [f"{training[name]} {text}" for name, text in
              (("images", "images"), ("identities", "vehicles"), ("steps", "steps"))
              if name in training]  # fmt: skip
    if counts:
        yield "training", ", ".join(counts)
    if "recipe" in training:
        yield "recipe", str(training["recipe"])
    validation = training.get("validation")
    if isinstance(validation, dict):
        told = [f"{name} {percent(validation[name])} %" for name in ("mAP", "CMC@1")
                if isinstance(validation.get(name), float)]  # fmt: skip
        if told:
            yield "validation", ", ".join(told)
    yield "licence", manifest.licence


def _judged(artifact: Artifact) -> Iterator[tuple[str, str]]:
    """What was compared, built and calibrated."""
    if rows := measured_rows(artifact.manifest):
        failed = [name for name, _, _, word in rows if word != "ok"]
        word = f"FAILED {', '.join(failed)}" if failed else "all bounds kept"
        yield "as made", f"{measured_on(artifact.manifest)}, {word}"
    for verdict in verdicts(artifact):
        judged, data = verdict.candidate, verdict.data
        rounded = f" in {judged.computes_in}" if judged.computes_in else ""
        yield (
            "parity",
            (
                f"{'passed' if verdict.passed else 'FAILED'} on {judged.backend}, {judged.device}"
                f"{rounded}; {data.get('queries')} queries of {data.get('query')}, "
                f"{verdict.created[:10]}"
            ),
        )
    for engine in list_engines(artifact):
        size = megabytes(engine.manifest.plan_bytes)
        yield "engine", f"{engine.path.name}, {size}: {engine.manifest.in_words()}"
    if (threshold := calibrated_distance(artifact)) is not None:
        yield "calibrated distance", f"{threshold.distance:.6g}, {threshold.in_words()}"
    yield "sha256", f"{artifact.manifest.model_sha256[:12]}..."
