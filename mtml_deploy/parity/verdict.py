"""The gate's verdict, for programs and for people, and where it is kept.

In: a `ParityResult` and what was compared. Out: a record that names the very model file, Markdown
with the verdict first for a terminal or a CI job summary, and both on disk inside the artifact,
where `artifact/verdict.py` finds them.
"""

from __future__ import annotations

import json
from dataclasses import asdict as plain
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from msgspec import to_builtins
from msgspec.structs import asdict

from mtml_deploy.artifact.artifact import Artifact
from mtml_deploy.artifact.verdict import Compared, Judged, Verdict, verdict_path
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.files import write_text
from mtml_deploy.model import EmbedOptions, Model
from mtml_deploy.output_kind import json_kind, text_kind
from mtml_deploy.parity.judge import ParityResult
from mtml_deploy.text import percent, table
from mtml_deploy.version import __version__


@dataclass(frozen=True)
class Side:
    """One of the two compared models.

    Attributes:
        artifact: the exported model.
        how: what runs it.
    """

    artifact: Artifact
    how: EmbedOptions

    def open(self) -> Model:
        """The model of this side, loaded."""
        return self.how.open(self.artifact)


def verdict_json(
    result: ParityResult,
    *,
    candidate: Side,
    reference: Side,
    sources: tuple[str, str],
    protocol: Protocol,
) -> str:
    """Everything the gate measured and decided, as indented JSON; fractions 0..1.

    Args:
        result: from `judge`.
        candidate: the judged side.
        reference: what it was compared with.
        sources: query and gallery source.
        protocol: of mAP and CMC.

    Returns:
        JSON; null where a value does not exist.
    """
    change = result.mean_ap
    judged = asdict(_compared(candidate)) | {
        "engine_sha256": result.engine_sha256,
        "computes_in": result.computes_in,
    }
    verdict = Verdict(
        passed=result.passed,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        version=__version__,
        candidate=Judged(**judged),
        reference=_compared(reference),
        data={"query": sources[0], "gallery": sources[1], "queries": change.queries},
        protocol=protocol.name,
        thresholds=asdict(result.thresholds),
        checks=tuple(plain(check) for check in result.checks),
        agreement={name: plain(found) for name, found in result.agreement.items()},
        ranking=plain(result.ranking),
        mean_ap={**plain(change), "difference": change.difference},
        cmc={str(rank): values for rank, values in result.cmc.items()},
        consistency=plain(result.consistency),
    )
    return json.dumps(_without_nan(to_builtins(verdict)), indent=1, allow_nan=False) + "\n"


def parity_markdown(
    result: ParityResult,
    *,
    candidate: Side,
    reference: Side,
    sources: tuple[str, str],
    protocol: Protocol,
) -> str:
    """The result as Markdown: verdict, bounds, then every measure.

    Args:
        result: from `judge`.
        candidate: the judged side.
        reference: what it was compared with.
        sources: query and gallery source.
        protocol: of mAP and CMC.

    Returns:
        Markdown, ending in a newline; percent in tables where the column says so.
    """
    failed = [check for check in result.checks if not check.passed]
    verdict = "PASSED" if not failed else f"FAILED {len(failed)} of {len(result.checks)} bounds"
    engine = f", computed in {result.computes_in}" if result.computes_in else ""
    engine += f", engine {result.engine_sha256[:12]}" if result.engine_sha256 else ""
    ranking = result.ranking
    lines = [
        f"# Parity gate: {verdict}",
        "",
        f"Candidate: {_name(candidate)}{engine}. Reference: {_name(reference)}. Images: "
        f"{sources[0]} against {sources[1]}, {result.mean_ap.queries} counted queries, protocol "
        f"{protocol.name}.",
        "",
        *table(BOUND_TITLES, [_marked(row) for row in bound_rows(result)], align="lrll"),
        "",
        *_agreement(result),
        "",
        *table(_RETRIEVAL_TITLES, retrieval_rows(result, digits=3), align="lrrrl"),
        "",
        f"Rank lists: same first image for {percent(ranking.top1)} % of the queries, "
        f"{percent(ranking.top10)} % of the first ten shared, Kendall's tau of the first hundred "
        f"{ranking.kendall_tau:.4f}.",
        "",
        "Cosine: of every image, candidate to reference. Interval: paired bootstrap over the "
        "queries. Relative: |difference| / |reference|.",
    ]
    return "\n".join(lines) + "\n"


BOUND_TITLES: Final = ("bound", "measured", "must be", "")
_RETRIEVAL_TITLES: Final = ("retrieval, %", "reference", "candidate", "change", "95 % interval")
_FAILED: Final = "FAILED"

VERDICT_JSON: Final = json_kind(
    "a verdict of mtml-deploy parity", "schema", "passed", "candidate", "reference", "thresholds"
)
VERDICT_MARKDOWN: Final = text_kind("a verdict of mtml-deploy parity", r"\A# Parity gate: ")


def save_verdict(side: Side, result: ParityResult, *, record: str, markdown: str) -> Path:
    """Write the record and its readable form into the candidate's artifact.

    Args:
        side: the candidate.
        result: what the gate found.
        record: from `verdict_json`.
        markdown: from `parity_markdown`.

    Returns:
        Path of the record.
    """
    path = verdict_path(
        side.artifact,
        backend=side.how.backend,
        device=side.how.device,
        computes_in=result.computes_in,
    )
    write_text(path.with_suffix(".md"), markdown)
    write_text(path, record)
    return path


def _compared(side: Side) -> Compared:
    """One side for the record."""
    manifest = side.artifact.manifest
    return Compared(
        artifact=str(side.artifact.folder),
        model_sha256=manifest.model_sha256,
        checkpoint_sha256=manifest.checkpoint_sha256,
        precision=manifest.precision,
        embedding=manifest.embedding,
        backend=side.how.backend,
        device=side.how.device,
    )


def _without_nan(value: object) -> object:
    """The same JSON value with null for what is not a finite number."""
    if isinstance(value, dict):
        return {key: _without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(item) for item in value]
    if isinstance(value, float) and not abs(value) < float("inf"):
        return None
    return value


def bound_rows(result: ParityResult) -> list[tuple[str, str, str, str]]:
    """Rows of `BOUND_TITLES`; bounds that were not kept come first."""
    return [
        (check.name, f"{check.value:.6g}", check.bound, "ok" if check.passed else _FAILED)
        for check in sorted(result.checks, key=lambda check: check.passed)
    ]


def _marked(row: tuple[str, str, str, str]) -> tuple[str, str, str, str]:
    """The same row, in Markdown."""
    return (*row[:3], f"**{_FAILED}**" if row[3] == _FAILED else row[3])


def _agreement(result: ParityResult) -> list[str]:
    """A table of how near the embeddings are."""
    titles = ("part", "cosine min", "cosine p1", "cosine mean", "max abs", "max relative")
    rows = [
        (
            name,
            *(f"{cos:.6f}" for cos in (found.cosine_min, found.cosine_p1, found.cosine_mean)),
            *(f"{error:.3g}" for error in (found.max_abs, found.max_relative)),
        )
        for name, found in result.agreement.items()
    ]
    return table(titles, rows, align="lrrrrr")


def retrieval_rows(result: ParityResult, *, digits: int) -> list[tuple[str, ...]]:
    """What it does to mAP and CMC: name, reference, candidate, change and interval in percent.

    Args:
        result: from `judge`.
        digits: of the change, behind the point.
    """
    change = result.mean_ap
    values = {"mAP (step)": (change.reference, change.candidate)}
    values |= {f"CMC@{rank}": both for rank, both in result.cmc.items()}
    rows: list[tuple[str, ...]] = [
        (name, percent(before), percent(after), f"{100 * (after - before):+.{digits}f}", "")
        for name, (before, after) in values.items()
    ]
    low, high = (f"{100 * end:+.{digits}f}" for end in (change.low, change.high))
    rows[0] = (*rows[0][:-1], f"{low} to {high}")
    return rows


def _name(side: Side) -> str:
    """One side in words."""
    manifest = side.artifact.manifest
    return (
        f"{manifest.variant} {manifest.embedding} {manifest.precision} "
        f"{manifest.model_sha256[:12]} on {side.how.backend}, {side.how.device}"
    )
