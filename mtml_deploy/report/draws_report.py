"""Evaluation results over several drawn galleries: JSON and Markdown, mean and spread.

In: the metrics of every draw. Out: text that tells how the galleries were drawn, and how much the
numbers vary with them. Fractions 0..1 in JSON, percent in tables.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from msgspec import to_builtins

from mtml_deploy.embed.embeddings import comparison_mode
from mtml_deploy.evaluation.measures import DEFINITIONS, LISTED, MEANS, RATES
from mtml_deploy.evaluation.protocols import find_protocol
from mtml_deploy.evaluation.random_galleries import DrawnMetrics, ImagePool
from mtml_deploy.report.metrics_json import (
    RERANK_RULE,
    SCHEMA,
    one_protocol,
    reranking_record,
    reranking_text,
    verification_record,
)
from mtml_deploy.report.metrics_markdown import definition_lines
from mtml_deploy.search.rerank import RerankOptions
from mtml_deploy.text import escaped, percent, table

SPREAD_RULE: Final = (
    "mean, standard deviation (divisor: draws - 1), smallest and largest value over the draws"
)

_MEASURES: Final = (*LISTED, *RATES)
"""Numbers whose spread is told."""


@dataclass(frozen=True)
class DrawnEvaluation:
    """Metrics of drawn galleries and what they were measured on.

    Attributes:
        label: how the model is called in tables.
        metrics: of every draw.
        pool: the images that were drawn from.
        reranking: parameters, if the orders were re-ranked; None for those of the L2 distances.
    """

    label: str
    metrics: DrawnMetrics
    pool: ImagePool
    reranking: RerankOptions | None = None


def drawn_json(evaluation: DrawnEvaluation, *, reranked: DrawnEvaluation | None = None) -> str:
    """Metrics of drawn galleries as JSON.

    Args:
        evaluation: what to write.
        reranked: the same draws after re-ranking; its results stand beside those before.

    Returns:
        Indented JSON, fractions 0..1; null where a value does not exist.
    """
    metrics, pool = evaluation.metrics, evaluation.pool
    protocol = find_protocol(metrics.protocol)
    record: dict[str, object] = {
        "schema": SCHEMA,
        "label": evaluation.label,
        "model": to_builtins(pool.images.model),
        "images": {
            "source": pool.images.source,
            "used": len(pool.images),
            "vehicles": metrics.gallery_size,
            "copies_left_out": pool.copies,
            "unknown_left_out": pool.unknown,
        },
        "protocol": {"name": protocol.name, "rule": protocol.rule, "source": protocol.source},
        "mode": comparison_mode(pool.images.unit, pool.images.unit),
        "draws": {"count": len(metrics.draws), "seed": metrics.seed},
        "definitions": {
            **{key: rule for key, _, rule in DEFINITIONS},
            "spread": SPREAD_RULE,
        },
        **_results(metrics),
    }
    if reranked is not None and reranked.reranking is not None:
        record["reranked"] = {
            "label": reranked.label,
            "rule": RERANK_RULE,
            **reranking_record(reranked.reranking),
            **_results(reranked.metrics),
        }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def _results(metrics: DrawnMetrics) -> dict[str, object]:
    """Spread of each measure and the numbers of each draw, for JSON."""
    spreads = {measure.key: metrics.spread(measure.take) for measure in _MEASURES}
    return {
        **{name: None if found is None else asdict(found) for name, found in spreads.items()},
        "per_draw": [
            {
                **{mean.key: mean.take(drawn) for mean in MEANS},
                "cmc": drawn.cmc.tolist(),
                "verification": verification_record(drawn.verification),
                "queries": drawn.num_queries,
                "queries_with_ties": drawn.ties,
            }
            for drawn in metrics.draws
        ],
    }


def drawn_rows(evaluations: Sequence[DrawnEvaluation]) -> list[tuple[str, ...]]:
    """Label, measure, and its mean, standard deviation and ends over the draws in percent."""
    rows = []
    for evaluation in evaluations:
        for measure in _MEASURES:
            found = evaluation.metrics.spread(measure.take)
            numbers = (
                [None] * 4 if found is None else [found.mean, found.std, found.low, found.high]
            )
            rows.append((evaluation.label, measure.title, *map(percent, numbers)))
    return rows


def drawn_markdown(evaluations: Sequence[DrawnEvaluation]) -> str:
    """Metrics of drawn galleries as a Markdown page: a table, then what it was measured on.

    Args:
        evaluations: one or more, of one protocol.

    Returns:
        Markdown; percent in the table.

    Raises:
        ValueError: no evaluation, or more than one protocol.
    """
    protocol = one_protocol(evaluation.metrics.protocol for evaluation in evaluations)
    rows = [(escaped(label), *cells) for label, *cells in drawn_rows(evaluations)]
    lines = [f"# Evaluation, protocol {protocol.name}", ""]
    lines += table(("model", "measure", "mean", "std", "min", "max"), rows, align="llrrrr")
    lines += ["", f"**{protocol.name}**: {protocol.rule} Source: {protocol.source}.", ""]
    lines += [*definition_lines(), f"- Spread: {SPREAD_RULE}."]
    if any(evaluation.reranking is not None for evaluation in evaluations):
        lines.append(f"- Re-ranked: {RERANK_RULE}.")
    lines.append("")
    for evaluation in evaluations:
        metrics, pool, model = evaluation.metrics, evaluation.pool, evaluation.pool.images.model
        how = "" if evaluation.reranking is None else f" {reranking_text(evaluation.reranking)};"
        lines.append(
            f"- {escaped(evaluation.label)}:{how} "
            f"{comparison_mode(pool.images.unit, pool.images.unit)}, "
            f"{len(metrics.draws)} draws, seed {metrics.seed}; "
            f"in each {metrics.draws[0].num_queries} queries against {metrics.gallery_size} "
            f"gallery {pool.images.unit}s, one of each vehicle, of "
            f"{escaped(pool.images.source)}; left out: "
            f"{pool.copies} copies, {pool.unknown} images of unknown vehicle; "
            f"{sum(drawn.ties for drawn in metrics.draws)} queries with ties in all draws. "
            f"Model {model.model_sha256[:12]}, {model.precision}, {escaped(model.embedding)}, "
            f"{model.dim} dimensions."
        )
    return "\n".join(lines) + "\n"
