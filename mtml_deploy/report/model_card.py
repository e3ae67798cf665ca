"""A model card: what an artifact is and what was measured of it, as Hubs of models show it.

In: an artifact, its verdicts, and evaluations as JSON. Out: Markdown with YAML before it, whose
`model-index` holds the numbers. Nothing is said that is not in these files.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.artifact_folder import CARD_MARK
from mtml_deploy.artifact.manifest import Manifest
from mtml_deploy.artifact.verdict import verdicts
from mtml_deploy.report.judged_file import JudgedRow
from mtml_deploy.text import printable

_METRICS: Final = (("mean_average_precision", "mAP (step)"), ("rank_1", "CMC@1"),
                   ("rank_5", "CMC@5"))  # fmt: skip
_MARKUP: Final = re.compile(r"([\\`*_{}\[\]<>()#+!|~])")


def card_text(artifact: Artifact, results: Sequence[JudgedRow], *, name: str) -> str:
    """The card of an artifact.

    Args:
        artifact: the exported model.
        results: of evaluations; fractions 0..1.
        name: of the model.

    Returns:
        Markdown behind a block of YAML.

    Raises:
        ArtifactError: a verdict of the artifact cannot be read.
    """
    lines = [*_yaml(artifact.manifest, results, name), CARD_MARK, "", f"# {_plain(name)}", ""]
    lines += _facts(artifact.manifest)
    lines += _training(artifact.manifest.training)
    if results:
        lines += _results(results)
    lines += _verdicts(artifact)
    lines += _use(artifact.manifest)
    return "\n".join(lines) + "\n"


def _yaml(manifest: Manifest, results: Sequence[JudgedRow], name: str) -> Iterator[str]:
    """The block of YAML; every text is quoted as JSON does it, which YAML reads alike."""
    yield "---"
    yield "license: other"
    yield f"license_name: {_quoted(manifest.licence)}"
    yield "library_name: onnx"
    yield "pipeline_tag: image-feature-extraction"
    yield "tags:"
    for tag in ("vehicle-re-identification", "image-retrieval", "onnx", manifest.backbone):
        yield f"- {_quoted(tag)}"
    told = [row for row in results if any(_measured(row))]
    if told:
        yield "model-index:"
        yield f"- name: {_quoted(name)}"
        yield "  results:"
    for row in told:
        yield "  - task:"
        yield "      type: image-retrieval"
        yield "      name: Vehicle re-identification"
        yield "    dataset:"
        yield f"      type: {_quoted(row.protocol)}"
        yield f"      name: {_quoted(f'{row.judged}, {row.label}')}"
        yield "    metrics:"
        for kind, title, value in _measured(row):
            yield f"    - type: {kind}"
            yield f"      name: {_quoted(title)}"
            yield f"      value: {value!r}"
    yield "---"


def _measured(row: JudgedRow) -> list[tuple[str, str, float]]:
    """Kind, title and value of each measure that there is."""
    values = (row.mean_ap, row.cmc_at(1), row.cmc_at(5))
    return [
        (kind, title, value)
        for (kind, title), value in zip(_METRICS, values, strict=True)
        if math.isfinite(value)
    ]


def _facts(manifest: Manifest) -> Iterator[str]:
    """What the model is."""
    rows = {
        "variant": manifest.variant,
        "backbone": manifest.backbone,
        "branches": ", ".join(manifest.branches),
        "embedding": f"{manifest.embedding}, {manifest.dim} values"
        + (f", scaled to length 1 ({manifest.normalised})" if manifest.normalised else ""),
        "input": f"{manifest.form}, {manifest.height} x {manifest.width}",
        "precision": manifest.precision,
        "orientation": "a second output" if manifest.with_orientation else "no",
        "ONNX operator set": str(manifest.opset),
        "licence of the weights": manifest.licence,
        "SHA-256 of model.onnx": manifest.model_sha256,
        "SHA-256 of the weights": manifest.checkpoint_sha256,
    }
    yield "Vehicle re-identification: images of one vehicle are near each other, by L2 distance."
    yield ""
    yield from _table(("what", "value"), rows.items())


def _training(training: Mapping[str, object]) -> Iterator[str]:
    """What it was trained on, as its manifest says."""
    known = (
        "sources",
        "images",
        "images_with_orientation",
        "identities",
        "recipe",
        "steps",
        "seed",
    )
    rows = [(name.replace("_", " "), _shown(training[name])) for name in known if name in training]
    if rows:
        yield from ("## Training", "")
        yield from _table(("what", "value"), rows)


def _results(results: Sequence[JudgedRow]) -> Iterator[str]:
    """The table of evaluations, in percent."""
    yield from ("## Results", "")

    def percent(value: float) -> str:
        return f"{100 * value:.2f} %" if math.isfinite(value) else "-"

    rows = [
        (row.judged, row.label, row.protocol, str(row.queries), percent(row.mean_ap),
         percent(row.cmc_at(1)), percent(row.cmc_at(5)))
        for row in results
    ]  # fmt: skip
    head = ("judged", "stage", "protocol", "queries", "mAP (step)", "CMC@1", "CMC@5")
    yield from _table(head, rows)


def _verdicts(artifact: Artifact) -> Iterator[str]:
    """What the parity gate found, for each backend that was judged."""
    yield from ("## Compared with its reference", "")
    rows = []
    for verdict in verdicts(artifact):
        judged, reference = verdict.candidate, verdict.reference
        rows.append((f"{judged.backend}, {judged.device}", "passed" if verdict.passed else "FAILED",
                     f"{reference.precision}, {reference.backend}", verdict.protocol,
                     verdict.created))  # fmt: skip
    if rows:
        yield from _table(("backend", "gate", "reference", "protocol", "when"), rows)
    else:
        yield "The gate was not run on any backend."
        yield ""


def _use(manifest: Manifest) -> Iterator[str]:
    """How it is used."""
    yield from (
        "## Use",
        "",
        "```",
        "pip install 'mtml-reid[cpu]'",
        "mtml-deploy embed FOLDER --images IMAGES --out rows.npz",
        "```",
        "",
        f"FOLDER holds `model.onnx` and `manifest.json`. Images are resized to {manifest.width} x "
        f"{manifest.height} without keeping their proportions; everything after that is in the "
        "graph.",
        "",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table of texts, whatever is in them."""
    yield f"| {' | '.join(head)} |"
    yield f"|{'---|' * len(head)}"
    for row in rows:
        yield f"| {' | '.join(_plain(cell) for cell in row)} |"
    yield ""


def _shown(value: object) -> str:
    """A value of the manifest in words."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return "unknown" if value is None else str(value)


def _plain(text: str) -> str:
    """A text that Markdown shows as it is, on one line."""
    return _MARKUP.sub(r"\\\1", printable(" ".join(text.split())))


def _quoted(text: str) -> str:
    """A text as a JSON string, which is one in YAML."""
    return json.dumps(printable(" ".join(text.split())))
