"""Evaluation results for people and programs: JSON, Markdown, CMC plot.

In: metrics and where they come from. Out: text that names model, protocol and both definitions of
average precision, so that a number is never seen without its rule. Fractions 0..1 in JSON, percent
in tables.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

import numpy as np

from mtml_deploy.embeddings import Embeddings, ModelIdentity
from mtml_deploy.errors import MissingExtraError, MtmlError
from mtml_deploy.evaluate import RetrievalMetrics
from mtml_deploy.files import atomic_file
from mtml_deploy.protocols import find_protocol
from mtml_deploy.rerank import RerankOptions

SCHEMA: Final = 1
"""Version of the layout of `metrics_json`."""

CMC_RANKS: Final = (1, 5, 10)
"""Ranks that tables show."""

STEP_RULE: Final = "mean over the matches of the precision at the rank of each match"
TRAPEZOID_RULE: Final = (
    "area under the precision-recall curve by the trapezoid rule, precision 1 before the first rank"
)
INP_RULE: Final = "mean over the queries of number of matches / rank of the last match"
TIE_RULE: Final = "equal distances are ordered by gallery row"
RERANK_RULE: Final = (
    "k-reciprocal encoding (Zhong et al., CVPR 2017) over all queries and gallery images; a "
    "distance is lambda times the squared L2 distance, divided by the query's largest, plus "
    "1 - lambda times the Jaccard distance"
)


@dataclass(frozen=True)
class Evaluation:
    """Metrics and what they were measured on.

    Attributes:
        label: how the model is called in tables.
        metrics: the result.
        model: which model made the embeddings.
        query_source: what was asked to be embedded as queries.
        query_names: [Q] image names, row-aligned with `metrics.average_precision`.
        gallery_source: what was asked to be embedded as gallery.
        gallery_size: G.
        reranking: parameters, if the order was re-ranked; None for the order of the L2 distances.
    """

    label: str
    metrics: RetrievalMetrics
    model: ModelIdentity
    query_source: str
    query_names: tuple[str, ...]
    gallery_source: str
    gallery_size: int
    reranking: RerankOptions | None = None


def describe_evaluation(
    label: str,
    metrics: RetrievalMetrics,
    query: Embeddings,
    gallery: Embeddings,
    *,
    reranking: RerankOptions | None = None,
) -> Evaluation:
    """`metrics` with the identity of the sets `evaluate` was given.

    Args:
        label: how to call the model in tables.
        metrics: result of `evaluate(query, gallery, ...)`.
        query: the query set.
        gallery: the gallery.
        reranking: parameters, if the order was re-ranked.

    Returns:
        The evaluation.
    """
    return Evaluation(
        label=label,
        metrics=metrics,
        model=query.model,
        query_source=query.source,
        query_names=query.names,
        gallery_source=gallery.source,
        gallery_size=len(gallery),
        reranking=reranking,
    )


def metrics_json(evaluation: Evaluation, *, reranked: Evaluation | None = None) -> str:
    """One evaluation as JSON.

    Args:
        evaluation: what to write.
        reranked: the same sets after re-ranking; its results stand beside those before.

    Returns:
        Indented JSON, fractions 0..1; null where a value does not exist (a skipped query).
    """
    metrics = evaluation.metrics
    protocol = find_protocol(metrics.protocol)
    record: dict[str, object] = {
        "schema": SCHEMA,
        "label": evaluation.label,
        "model": asdict(evaluation.model),
        "query": {"source": evaluation.query_source, "images": metrics.num_queries},
        "gallery": {"source": evaluation.gallery_source, "images": evaluation.gallery_size},
        "protocol": {"name": protocol.name, "rule": protocol.rule, "source": protocol.source},
        "definitions": {
            "mean_ap": STEP_RULE,
            "mean_ap_trapezoid": TRAPEZOID_RULE,
            "mean_inp": INP_RULE,
            "ties": TIE_RULE,
        },
        **_results(evaluation),
    }
    if reranked is not None and reranked.reranking is not None:
        record["reranked"] = {
            "label": reranked.label,
            "rule": RERANK_RULE,
            **reranking_record(reranked.reranking),
            **_results(reranked),
        }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def reranking_record(options: RerankOptions) -> dict[str, float]:
    """Parameters of re-ranking under the names of its paper, for JSON."""
    return {"k1": options.k1, "k2": options.k2, "lambda": options.weight}


def reranking_text(options: RerankOptions) -> str:
    """Parameters of re-ranking as part of a sentence."""
    return f"k1 {options.k1}, k2 {options.k2}, lambda {options.weight:g}"


def _results(evaluation: Evaluation) -> dict[str, object]:
    """The numbers of one evaluation, for JSON."""
    metrics = evaluation.metrics
    return {
        "mean_ap": _number(metrics.mean_ap),
        "mean_ap_trapezoid": _number(metrics.mean_ap_trapezoid),
        "mean_inp": _number(metrics.mean_inp),
        "cmc": [_number(value) for value in metrics.cmc.tolist()],
        "queries": {
            "all": metrics.num_queries,
            "valid": metrics.num_valid,
            "unmatched": metrics.num_queries - metrics.num_valid,
            "unmatched_count_as": metrics.unmatched,
            "with_ties": metrics.ties,
        },
        "average_precision": [
            {"query": name, "value": _number(value)}
            for name, value in zip(
                evaluation.query_names, metrics.average_precision.tolist(), strict=True
            )
        ],
    }


def metrics_markdown(evaluations: Sequence[Evaluation]) -> str:
    """Evaluations of one protocol as a Markdown page: a table, then what it was measured on.

    Args:
        evaluations: one or more, of one protocol.

    Returns:
        Markdown; percent in the table.

    Raises:
        ValueError: no evaluation, or more than one protocol.
    """
    names = {evaluation.metrics.protocol for evaluation in evaluations}
    if len(names) != 1:
        raise ValueError(f"one protocol per table, found {sorted(names) or 'no evaluation'}")
    protocol = find_protocol(names.pop())
    header = ["model", "mAP (step)", "mAP (trapezoid)", "mINP"]
    header += [f"CMC@{rank}" for rank in CMC_RANKS]
    lines = [f"# Evaluation, protocol {protocol.name}", "", _row(header)]
    lines.append(_row(["---"] + ["---:"] * (len(header) - 1)))
    for evaluation in evaluations:
        metrics = evaluation.metrics
        values = [metrics.mean_ap, metrics.mean_ap_trapezoid, metrics.mean_inp]
        values += [metrics.cmc_at(rank) for rank in CMC_RANKS]
        lines.append(_row([_escape(evaluation.label), *(percent(value) for value in values)]))
    lines += ["", f"**{protocol.name}**: {protocol.rule} Source: {protocol.source}.", ""]
    lines += [
        f"- mAP (step): {STEP_RULE}.",
        f"- mAP (trapezoid): {TRAPEZOID_RULE}.",
        f"- mINP: {INP_RULE}.",
        f"- Ties: {TIE_RULE}.",
    ]
    if any(evaluation.reranking is not None for evaluation in evaluations):
        lines.append(f"- Re-ranked: {RERANK_RULE}.")
    lines.append("")
    for evaluation in evaluations:
        metrics, model = evaluation.metrics, evaluation.model
        how = "" if evaluation.reranking is None else f" {reranking_text(evaluation.reranking)};"
        lines.append(
            f"- {_escape(evaluation.label)}:{how} {metrics.num_queries} queries "
            f"({_escape(evaluation.query_source)}) against {evaluation.gallery_size} gallery "
            f"images ({_escape(evaluation.gallery_source)}); {unmatched_sentence(metrics)}; "
            f"{metrics.ties} queries with ties. "
            f"Model {model.model_sha256[:12]}, {model.precision}, {_escape(model.embedding)}, "
            f"{model.dim} dimensions."
        )
    return "\n".join(lines) + "\n"


def write_cmc_plot(path: Path, curves: Mapping[str, RetrievalMetrics]) -> None:
    """Draw CMC curves into a file; equal input gives equal bytes.

    Args:
        path: ends in .png or .svg; replaced if it exists (callers ask first).
        curves: metrics by label, drawn in this order.

    Raises:
        MissingExtraError: matplotlib is not installed.
        MtmlError: another suffix.
        ValueError: no curve.
    """
    if not curves:
        raise ValueError("at least one curve is needed")
    kind = path.suffix.lower()
    if kind not in (".png", ".svg"):
        raise MtmlError(f"{path}: a plot is written as .png or .svg; change the suffix")
    try:
        import matplotlib
        from matplotlib.figure import Figure
    except ImportError as error:
        raise MissingExtraError("the CMC plot needs matplotlib", "report") from error
    # the salt fixes the identifiers inside an SVG file; text as paths needs no font of the reader
    with matplotlib.rc_context({"svg.hashsalt": "cmc", "svg.fonttype": "path"}):
        figure = Figure(figsize=(6.4, 4.0), dpi=150, layout="constrained")
        axes = figure.add_subplot()
        for label, metrics in curves.items():
            ranks = np.arange(1, len(metrics.cmc) + 1)
            # matplotlib hides labels that begin with "_" and reads "$" as mathematics
            text = f" {label} (mAP {percent(metrics.mean_ap)} %)".replace("$", r"\$")
            axes.plot(ranks, metrics.cmc * 100, marker=".", markersize=4, linewidth=1.4, label=text)
        axes.set(xlabel="rank", ylabel="queries with a match (%)", ylim=(0, 101))
        axes.set_title(f"CMC, protocol {', '.join(sorted({m.protocol for m in curves.values()}))}")
        longest = max(len(metrics.cmc) for metrics in curves.values())
        axes.set_xticks([rank for rank in (1, 5, 10, 20, 30, 40, 50) if rank <= longest])
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(loc="lower right")
        with atomic_file(path) as temporary:
            # a date or a version would change the bytes
            nothing = {"Date": None} if kind == ".svg" else {"Software": None}
            figure.savefig(temporary, format=kind[1:], metadata=nothing)


def percent(fraction: float) -> str:
    """`fraction` as percent with one digit, without the sign; a dash for NaN."""
    return "–" if math.isnan(fraction) else f"{100 * fraction:.1f}"


def unmatched_sentence(metrics: RetrievalMetrics) -> str:
    """How many queries had no match and how they counted, as part of a sentence."""
    unmatched = metrics.num_queries - metrics.num_valid
    if unmatched == 0:
        return "every query has a match"
    how = "skipped in every mean" if metrics.unmatched == "skipped" else "counted as 0"
    return f"{unmatched} without a match, {how}"


def _number(value: float) -> float | None:
    """`value`, or None for NaN, which JSON does not have."""
    return None if math.isnan(value) else value


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _escape(text: str) -> str:
    """`text` on one line, without the characters that Markdown and HTML give a meaning."""
    flat = " ".join(text.split())
    return "".join(f"&#{ord(c)};" if c in "&<>|*_`[]\\" else c for c in flat)
