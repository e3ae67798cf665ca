"""The upper part of the rank-list page: legend, what is shown and how, what a reader must know.

In: ranked models and the protocol. Out: sentences, plain text that the template escapes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mtml_deploy.defaults import Which
from mtml_deploy.evaluation.measures import MEANS
from mtml_deploy.evaluation.protocols import Protocol
from mtml_deploy.report.metrics_json import (
    EXPANSION_RULE,
    RERANK_RULE,
    expansion_text,
    reranking_text,
    unmatched_sentence,
)
from mtml_deploy.report.rank_lists import RankedModel


@dataclass(frozen=True)
class Mark:
    """How a place is marked.

    Attributes:
        kind: CSS class.
        sign: shown besides the colour, which alone would exclude some readers.
        words: what it means.
    """

    kind: str
    sign: str
    words: str


MARKS: Final = {
    True: Mark("match", "✓", "same vehicle"),
    False: Mark("other", "✗", "other vehicle"),
    None: Mark("unknown", "", "vehicle not known"),
}
"""By `RankedImage.match`."""

_ORDERS: Final = {
    "first": "in the order of the set",
    "best": "highest AP first",
    "worst": "lowest AP first",
    "spread": "spread evenly from the highest to the lowest AP",
    "gain": "largest gain of AP first",
}


def shown_sentences(
    models: Sequence[RankedModel],
    protocol: Protocol,
    *,
    which: Which,
    baseline: RankedModel | None,
    shown: int,
    missing: int,
) -> list[str]:
    """Which queries and gallery images are on the page, and which are not.

    Args:
        models: all models of the page.
        protocol: what was left out of the rankings.
        which: how the queries were chosen.
        baseline: what gains are measured against.
        shown: number of queries on the page.
        missing: images without a picture.

    Returns:
        Sentences.
    """
    model, total = models[0], len(models[0].query)
    order = _ORDERS[which]
    if model.metrics is None and which == "spread":
        order = "spread evenly over the set"
    elif baseline is not None and which == "gain":
        order = (
            f"those whose AP differs most between {model.label} and {baseline.label}: the largest "
            f"gain of {model.label} first, its largest loss last"
        )
    elif len(models) > 1 and which != "first":
        order += f" of {model.label}"
    how_many = f"All {total:,} queries" if shown == total else f"{shown:,} of {total:,} queries"
    sentences = [f"{how_many}, {order}."]
    if protocol.excludes_same_camera or protocol.excludes_unknown:
        sentences.append("Gallery images the protocol leaves out are not shown.")
    if missing:
        sentences.append(f"{missing:,} images could not be read and are empty tiles.")
    return sentences


def notes(models: Sequence[RankedModel]) -> list[str]:
    """What a reader must know to trust the page, besides the protocol.

    Args:
        models: all models of the page; numbers are those of the first.

    Returns:
        A note each.
    """
    model = models[0]
    said = [
        "The number above an image is its rank, the number below it the L2 distance of its "
        "embedding to the query's; equal distances are ordered by gallery row.",
        "A frame is coloured where the vehicle ids of the image and of the query are known.",
    ]
    for other in models:
        if other.expansion is not None:
            said.append(f"{other.label}: {EXPANSION_RULE}; {expansion_text(other.expansion)}.")
        if other.reranking is not None:
            said.append(
                f"{other.label}: the number below an image is its re-ranked distance; "
                f"{RERANK_RULE}; {reranking_text(other.reranking)}."
            )
    if model.metrics is None:
        said.append("There are no metrics: they need labels that these images do not have.")
    else:
        step, trapezoid = MEANS[:2]
        said.append(f"AP and mAP: {step.rule}. {trapezoid.title}: {trapezoid.rule}.")
        said.append(f"{model.metrics.num_queries:,} queries: {unmatched_sentence(model.metrics)}.")
    return said
