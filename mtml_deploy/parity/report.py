"""The gate's result for people: Markdown with the verdict first.

In: a `GateResult` and the compared sides. Out: text for a terminal, a file, or a CI job summary.
"""

from __future__ import annotations

from mtml_deploy.evaluate.protocols import Protocol
from mtml_deploy.parity.judge import GateResult
from mtml_deploy.parity.verdict import Side
from mtml_deploy.report.metrics_json import percent


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
    lines = [
        f"# Parity gate: {verdict}",
        "",
        f"Candidate: {_name(candidate)}{engine}. Reference: {_name(reference)}. Images: "
        f"{sources[0]} against {sources[1]}, {result.mean_ap.queries} counted queries, protocol "
        f"{protocol.name}.",
        "",
        "| bound | measured | must be | |",
        "| --- | ---: | --- | --- |",
    ]
    lines += [
        f"| {check.name} | {check.value:.6g} | {check.bound} | "
        f"{'ok' if check.passed else '**FAILED**'} |"
        for check in (*failed, *(check for check in result.checks if check.passed))
    ]
    lines += [
        "",
        "| part | cosine min | cosine p1 | cosine mean | max abs | max relative |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {name} | {found.cosine_min:.6f} | {found.cosine_p1:.6f} | {found.cosine_mean:.6f} | "
        f"{found.max_abs:.3g} | {found.max_relative:.3g} |"
        for name, found in result.agreement.items()
    ]
    change, ranking = result.mean_ap, result.ranking
    lines += [
        "",
        "| retrieval, % | reference | candidate | change | 95 % interval |",
        "| --- | ---: | ---: | ---: | --- |",
        f"| mAP (step) | {percent(change.reference)} | {percent(change.candidate)} | "
        f"{100 * change.difference:+.3f} | {100 * change.low:+.3f} to {100 * change.high:+.3f} |",
    ]
    lines += [
        f"| CMC@{rank} | {percent(before)} | {percent(after)} | {100 * (after - before):+.3f} | |"
        for rank, (before, after) in result.cmc.items()
    ]
    lines += [
        "",
        f"Rank lists: same first image for {percent(ranking.top1)} % of the queries, "
        f"{percent(ranking.top10)} % of the first ten shared, Kendall's tau of the first hundred "
        f"{ranking.kendall_tau:.4f}.",
        "",
        "Cosine: of every image, candidate to reference. Interval: paired bootstrap over the "
        "queries. Relative: |difference| / |reference|.",
    ]
    return "\n".join(lines) + "\n"


def _name(side: Side) -> str:
    """One side in words."""
    manifest = side.artifact.manifest
    return (
        f"{manifest.variant} {manifest.embedding} {manifest.precision} "
        f"{manifest.model_sha256[:12]} on {side.backend}, {side.device}"
    )
