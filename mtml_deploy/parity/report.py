"""The gate's result for people: Markdown with the verdict first.

In: a `GateResult` and the compared sides. Out: text for a terminal, a file, or a CI job summary.
"""

from __future__ import annotations

from collections.abc import Sequence

from mtml_deploy.evaluate.protocols import Protocol
from mtml_deploy.parity.judge import Check, GateResult
from mtml_deploy.parity.verdict import Side
from mtml_deploy.text import percent, table


def gate_markdown(
    result: GateResult,
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
    engine = f", engine {result.engine_sha256[:12]}" if result.engine_sha256 else ""
    ranking = result.ranking
    lines = [
        f"# Parity gate: {verdict}",
        "",
        f"Candidate: {_name(candidate)}{engine}. Reference: {_name(reference)}. Images: "
        f"{sources[0]} against {sources[1]}, {result.mean_ap.queries} counted queries, protocol "
        f"{protocol.name}.",
        "",
        *_bounds(failed, [check for check in result.checks if check.passed]),
        "",
        *_agreement(result),
        "",
        *_retrieval(result),
        "",
        f"Rank lists: same first image for {percent(ranking.top1)} % of the queries, "
        f"{percent(ranking.top10)} % of the first ten shared, Kendall's tau of the first hundred "
        f"{ranking.kendall_tau:.4f}.",
        "",
        "Cosine: of every image, candidate to reference. Interval: paired bootstrap over the "
        "queries. Relative: |difference| / |reference|.",
    ]
    return "\n".join(lines) + "\n"


def _bounds(failed: Sequence[Check], passed: Sequence[Check]) -> list[str]:
    """A table of every bound."""
    rows = [
        (check.name, f"{check.value:.6g}", check.bound, "ok" if check.passed else "**FAILED**")
        for check in (*failed, *passed)
    ]
    return table(("bound", "measured", "must be", ""), rows, align="lrll")


def _agreement(result: GateResult) -> list[str]:
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


def _retrieval(result: GateResult) -> list[str]:
    """A table of what it does to mAP and CMC."""
    change = result.mean_ap
    values = {"mAP (step)": (change.reference, change.candidate)}
    values |= {f"CMC@{rank}": both for rank, both in result.cmc.items()}
    rows = [
        (name, percent(before), percent(after), f"{100 * (after - before):+.3f}", "")
        for name, (before, after) in values.items()
    ]
    rows[0] = (*rows[0][:-1], f"{100 * change.low:+.3f} to {100 * change.high:+.3f}")
    titles = ("retrieval, %", "reference", "candidate", "change", "95 % interval")
    return table(titles, rows, align="lrrrl")


def _name(side: Side) -> str:
    """One side in words."""
    manifest = side.artifact.manifest
    return (
        f"{manifest.variant} {manifest.embedding} {manifest.precision} "
        f"{manifest.model_sha256[:12]} on {side.backend}, {side.device}"
    )
