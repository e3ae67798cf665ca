"""Evaluation results for people: Markdown tables, in percent, with the rules below them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from mtml_deploy.embed.embeddings import ModelIdentity
from mtml_deploy.evaluation.ground_truth import GroundTruth
from mtml_deploy.evaluation.measures import DEFINITIONS, LISTED, RATES, Measure
from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.evaluation.own_copies import COPY_RULE
from mtml_deploy.output_kind import text_kind
from mtml_deploy.report.metrics_json import (
    EXPANSION_RULE,
    NORMALISED_RULE,
    RERANK_RULE,
    TRUTH_RULE,
    Evaluation,
    copies_sentence,
    expansion_text,
    one_protocol,
    reranking_text,
    unmatched_sentence,
)
from mtml_deploy.text import escaped, percent, table

METRICS_MARKDOWN: Final = text_kind("metrics as Markdown", r"\A# Evaluation, protocol ")
"""Also of drawn galleries."""


def metrics_markdown(evaluations: Sequence[Evaluation]) -> str:
    """Evaluations of one protocol as a Markdown page: a table, then what it was measured on.

    Args:
        evaluations: one or more, of one protocol.

    Returns:
        Markdown; percent in the table.

    Raises:
        ValueError: no evaluation, or more than one protocol.
    """
    protocol = one_protocol(evaluation.metrics.protocol for evaluation in evaluations)
    rows = [
        (escaped(evaluation.label), *_cells(LISTED, evaluation.metrics))
        for evaluation in evaluations
    ]
    titles = ["model", *(measure.title for measure in LISTED)]
    lines = [f"# Evaluation, protocol {protocol.name}", ""]
    lines += table(titles, rows, align="l" + "r" * len(LISTED))
    lines += _verification_table(evaluations)
    lines += ["", f"**{protocol.name}**: {protocol.rule} Source: {protocol.source}.", ""]
    lines += definition_lines()
    if any(evaluation.unit_length for evaluation in evaluations):
        lines.append(f"- Length 1: {NORMALISED_RULE}.")
    if any(evaluation.expansion is not None for evaluation in evaluations):
        lines.append(f"- Expanded: {EXPANSION_RULE}.")
    if any(evaluation.reranking is not None for evaluation in evaluations):
        lines.append(f"- Re-ranked: {RERANK_RULE}.")
    if any(evaluation.truth is not None for evaluation in evaluations):
        lines.append(f"- Ground truth: {TRUTH_RULE}.")
    if any(evaluation.copies is not None and evaluation.copies.queries
           for evaluation in evaluations):  # fmt: skip
        lines.append(f"- Own copy: {COPY_RULE}.")
    lines.append("")
    for evaluation in evaluations:
        metrics = evaluation.metrics
        how = "" if evaluation.expansion is None else f" {expansion_text(evaluation.expansion)};"
        how += "" if evaluation.reranking is None else f" {reranking_text(evaluation.reranking)};"
        lines.append(
            f"- {escaped(evaluation.label)}:{how} {evaluation.mode}, {metrics.num_queries} queries "
            f"({escaped(evaluation.query_source)}) against {evaluation.gallery_size} gallery "
            f"{evaluation.gallery_unit}s ({escaped(evaluation.gallery_source)}); "
            f"{unmatched_sentence(metrics)}; "
            f"{f'{copies}; ' if (copies := copies_sentence(evaluation.copies)) else ''}"
            f"{metrics.ties} queries with ties.{_truth_sentence(evaluation.truth)}"
            f"{_model_sentence(evaluation.model)}"
        )
    return "\n".join(lines) + "\n"


def _verification_table(evaluations: Sequence[Evaluation]) -> list[str]:
    """Lines of a table of the rates and their distances; none where no evaluation measured them."""
    rows = []
    for evaluation in evaluations:
        found = evaluation.metrics.verification
        if found is not None:
            points = zip(_cells(RATES, evaluation.metrics), found.distances, strict=True)
            cells = (cell for rate, distance in points for cell in (rate, _distance(distance)))
            pairs = str(found.positives), str(found.negatives)
            rows.append((escaped(evaluation.label), *cells, *pairs))
    if not rows:
        return []
    named = (title for rate in RATES for title in (rate.title, "nearer than"))
    titles = ["model", *named, "matching pairs", "other pairs"]
    return ["", *table(titles, rows, align="l" + "r" * (len(titles) - 1))]


def _cells(measures: Sequence[Measure], metrics: RetrievalMetrics) -> list[str]:
    """Measures in percent; a dash where there is no value."""
    return [percent(measure.take(metrics)) for measure in measures]


def _distance(distance: float | None) -> str:
    """A distance as a table shows it; a dash where there is none."""
    return percent(None) if distance is None else f"{distance:.5g}"


def _model_sentence(model: ModelIdentity | None) -> str:
    """Which model made the embeddings; empty where lists were given."""
    if model is None:
        return ""
    return (
        f" Model {model.model_sha256[:12]}, {model.precision}, {escaped(model.embedding)}, "
        f"{model.dim} dimensions."
    )


def definition_lines() -> list[str]:
    """How the numbers are defined, as a Markdown list."""
    return [f"- {title}: {rule}." for _, title, rule in DEFINITIONS]


def _truth_sentence(truth: GroundTruth | None) -> str:
    """Where a ground truth came from; empty where labels were used."""
    if truth is None:
        return ""
    files = ", ".join(
        f"{file.role} {escaped(file.path)} ({file.sha256[:12]})" for file in truth.files
    )
    doubt = ""
    if truth.contradictions:
        doubt = f" {truth.contradictions} of these matches have another vehicle id by the labels."
    return f" Ground truth: {files}.{doubt}"
