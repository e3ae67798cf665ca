"""Evaluation results for programs: JSON, and what was done before, in words for every report.

In: metrics and where they come from. Out: text that names model, protocol and both definitions of
average precision, so that a number is never seen without its rule. Fractions 0..1.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Final

from msgspec import to_builtins

from mtml_deploy.embed.embeddings import Embeddings, ModelIdentity, comparison_mode
from mtml_deploy.embed.rows import Unit
from mtml_deploy.evaluation.ground_truth import GroundTruth
from mtml_deploy.evaluation.measures import DEFINITIONS, FPR_TEXTS, MEANS
from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.evaluation.own_copies import COPY_RULE, OwnCopies
from mtml_deploy.evaluation.protocols import Protocol, find_protocol
from mtml_deploy.evaluation.verification import Verification
from mtml_deploy.output_kind import json_kind
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rerank import RerankOptions
from mtml_deploy.text import json_number

SCHEMA: Final = 1
"""Version of the layout of `metrics_json`."""

METRICS_JSON: Final = json_kind("metrics as JSON", "schema", "label", "protocol", "definitions")
"""Also of drawn galleries."""

TRUTH_RULE: Final = (
    "matches and images left out were read from files in place of vehicle ids and cameras; of the "
    "protocol, list length and the counting of queries without a match hold"
)
RERANK_RULE: Final = (
    "k-reciprocal encoding (Zhong et al., CVPR 2017) over all queries and gallery images; a "
    "distance is lambda times the squared L2 distance, divided by the query's largest, plus "
    "1 - lambda times the Jaccard distance"
)
NORMALISED_RULE: Final = (
    "embeddings are scaled to length 1 first, so that the order of L2 distances is that of cosines"
)
EXPANSION_RULE: Final = (
    "alpha query expansion (Radenović et al., TPAMI 2018): to the direction of each query those of "
    "its nearest gallery images that take part are added, weighted by cosine^alpha; the query's "
    "length stays"
)


@dataclass(frozen=True)
class Evaluation:
    """Metrics and what they were measured on.

    Attributes:
        label: how the model is called in tables.
        metrics: the result.
        model: which model made the embeddings; None where lists were given.
        query_source: what was asked to be embedded as queries.
        query_names: [Q] image names, row-aligned with `metrics.average_precision`.
        gallery_source: what was asked to be embedded as gallery.
        gallery_size: G.
        reranking: parameters, if the order was re-ranked; None for the order of the L2 distances.
        truth: what replaced the labels; None where they were used.
        copies: of queries in the gallery; None where they were not looked for.
        expansion: parameters, if the queries were expanded; None for the queries as embedded.
        unit_length: the embeddings were scaled to length 1 before.
        query_unit: what a row of the query set stands for.
        gallery_unit: what a row of the gallery stands for.
    """

    label: str
    metrics: RetrievalMetrics
    model: ModelIdentity | None
    query_source: str
    query_names: tuple[str, ...]
    gallery_source: str
    gallery_size: int
    reranking: RerankOptions | None = None
    truth: GroundTruth | None = None
    copies: OwnCopies | None = None
    expansion: ExpansionOptions | None = None
    unit_length: bool = False
    query_unit: Unit = "image"
    gallery_unit: Unit = "image"

    @property
    def mode(self) -> str:
        """What was compared with what, for example "image-to-track"."""
        return comparison_mode(self.query_unit, self.gallery_unit)


def one_protocol(names: Iterable[str]) -> Protocol:
    """The protocol that all rows of a table share.

    Args:
        names: protocol of each row.

    Returns:
        The protocol.

    Raises:
        ValueError: no row, or more than one protocol.
    """
    found = set(names)
    if len(found) != 1:
        raise ValueError(f"one protocol per table, found {sorted(found) or 'no evaluation'}")
    return find_protocol(found.pop())


def describe_evaluation(
    label: str,
    metrics: RetrievalMetrics,
    query: Embeddings,
    gallery: Embeddings,
    *,
    reranking: RerankOptions | None = None,
    truth: GroundTruth | None = None,
    copies: OwnCopies | None = None,
    expansion: ExpansionOptions | None = None,
    unit_length: bool = False,
) -> Evaluation:
    """`metrics` with the identity of the sets `evaluate` was given.

    Args:
        label: how to call the model in tables.
        metrics: result of `evaluate(query, gallery, ...)`.
        query: the query set.
        gallery: the gallery.
        reranking: parameters, if the order was re-ranked.
        truth: what replaced the labels; None where they were used.
        copies: of queries in the gallery; None where they were not looked for.
        expansion: parameters, if the queries were expanded.
        unit_length: the embeddings were scaled to length 1 before.

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
        truth=truth,
        copies=copies,
        expansion=expansion,
        unit_length=unit_length,
        query_unit=query.unit,
        gallery_unit=gallery.unit,
    )


def metrics_json(
    evaluation: Evaluation,
    *,
    normalised: Evaluation | None = None,
    expanded: Evaluation | None = None,
    reranked: Evaluation | None = None,
) -> str:
    """One evaluation as JSON.

    Args:
        evaluation: what to write.
        normalised: the same sets scaled to length 1; its results stand beside those as embedded.
        expanded: the same sets with expanded queries; its results stand beside those before.
        reranked: the same sets after re-ranking; its results stand beside those before.

    Returns:
        Indented JSON, fractions 0..1; null where a value does not exist (a skipped query).
    """
    metrics = evaluation.metrics
    protocol = find_protocol(metrics.protocol)
    record: dict[str, object] = {
        "schema": SCHEMA,
        "label": evaluation.label,
        "model": to_builtins(evaluation.model),
        "mode": evaluation.mode,
        "query": {
            "source": evaluation.query_source,
            f"{evaluation.query_unit}s": metrics.num_queries,
        },
        "gallery": {
            "source": evaluation.gallery_source,
            f"{evaluation.gallery_unit}s": evaluation.gallery_size,
        },
        "protocol": {"name": protocol.name, "rule": protocol.rule, "source": protocol.source},
        "ground_truth": None if evaluation.truth is None else _truth_record(evaluation.truth),
        "own_copies": None if evaluation.copies is None else _copies_record(evaluation.copies),
        "definitions": {key: rule for key, _, rule in DEFINITIONS},
        **_results(evaluation),
    }
    if normalised is not None:
        record["normalised"] = {
            "label": normalised.label,
            "rule": NORMALISED_RULE,
            **_results(normalised),
        }
    if expanded is not None and expanded.expansion is not None:
        record["expanded"] = {
            "label": expanded.label,
            "rule": EXPANSION_RULE,
            **asdict(expanded.expansion),
            **_results(expanded),
        }
    if reranked is not None and reranked.reranking is not None:
        record["reranked"] = {
            "label": reranked.label,
            "rule": RERANK_RULE,
            **reranking_record(reranked.reranking),
            "expanded_queries": reranked.expansion is not None,
            **_results(reranked),
        }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def reranking_record(options: RerankOptions) -> dict[str, float]:
    """Parameters of re-ranking under the names of its paper, for JSON."""
    return {"k1": options.k1, "k2": options.k2, "lambda": options.weight}


def reranking_text(options: RerankOptions) -> str:
    """Parameters of re-ranking as part of a sentence."""
    return f"k1 {options.k1}, k2 {options.k2}, lambda {options.weight:g}"


def expansion_text(options: ExpansionOptions) -> str:
    """Parameters of query expansion as part of a sentence."""
    return f"{options.neighbours} images, alpha {options.alpha:g}"


def _results(evaluation: Evaluation) -> dict[str, object]:
    """The numbers of one evaluation, for JSON."""
    metrics = evaluation.metrics
    return {
        **{mean.key: json_number(mean.take(metrics)) for mean in MEANS},
        "cmc": [json_number(value) for value in metrics.cmc.tolist()],
        "verification": verification_record(metrics.verification),
        "queries": {
            "all": metrics.num_queries,
            "valid": metrics.num_valid,
            "unmatched": metrics.num_queries - metrics.num_valid,
            "unmatched_count_as": metrics.unmatched,
            "with_ties": metrics.ties,
        },
        "average_precision": [
            {"query": name, "value": json_number(value)}
            for name, value in zip(
                evaluation.query_names, metrics.average_precision.tolist(), strict=True
            )
        ],
    }


def verification_record(verification: Verification | None) -> dict[str, object] | None:
    """Rates, distances and numbers of pairs, for JSON; None where they were not measured."""
    if verification is None:
        return None
    return {
        "positive_pairs": verification.positives,
        "negative_pairs": verification.negatives,
        "tpr_at_fpr": dict(zip(FPR_TEXTS, verification.tpr, strict=True)),
        "distance_at_fpr": dict(zip(FPR_TEXTS, verification.distances, strict=True)),
    }


def _truth_record(truth: GroundTruth) -> dict[str, object]:
    """Where a ground truth came from, for JSON."""
    return {
        "rule": TRUTH_RULE,
        "files": [asdict(file) for file in truth.files],
        "contradictions": truth.contradictions,
    }


def _copies_record(copies: OwnCopies) -> dict[str, object]:
    """Queries that are in the gallery themselves, for JSON."""
    return {"rule": COPY_RULE, "queries": copies.queries, "left_out": copies.left_out}


def copies_sentence(copies: OwnCopies | None) -> str:
    """How many queries meet their own copy and what became of it; "" where none does."""
    if copies is None or not copies.queries:
        return ""
    queries, meet, their = ("1 query", "meets", "its") if copies.queries == 1 else (
        f"{copies.queries:,} queries", "meet", "their"
    )  # fmt: skip
    how = "was left out" if copies.left_out else "counts as a match"
    return f"{queries} {meet} {their} own copy in the gallery, which {how}"


def unmatched_sentence(metrics: RetrievalMetrics) -> str:
    """How many queries had no match and how they counted, as part of a sentence."""
    unmatched = metrics.num_queries - metrics.num_valid
    if unmatched == 0:
        return "every query has a match"
    how = "skipped in every mean" if metrics.unmatched == "skipped" else "counted as 0"
    return f"{unmatched} without a match, {how}"
