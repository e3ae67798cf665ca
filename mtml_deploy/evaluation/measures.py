"""Every measure of an evaluation, each once: what it is called, its rule, and how it is taken.

In: `RetrievalMetrics`. Out: numbers with their names, fractions 0..1; whoever shows them makes them
percent. A new mean is computed in `metrics.py` and named in `MEANS`, and every report has it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.evaluation.verification import ONE_IN

CMC_RANKS: Final = (1, 5, 10)
"""Ranks that tables show."""

FPR_TEXTS: Final = tuple(f"{1 / one_in:.0e}".replace("e-0", "e-") for one_in in ONE_IN)
"""The false positive rates as text, for example "1e-4"."""

TPR_RULE: Final = (
    "over all pairs of a query of known vehicle and a gallery image that takes part, the largest "
    "share of the matching pairs that one threshold on the distance accepts while it accepts at "
    "most this share of the other pairs; equal distances are accepted or refused together, nothing "
    "is interpolated, and there is no value where the other pairs are too few"
)
DISTANCE_RULE: Final = (
    "the threshold of that rate: the matching pairs that are nearer are the share that is given; "
    "on the scale of the distances that order the gallery"
)
TIE_RULE: Final = "equal distances are ordered by gallery row"


@dataclass(frozen=True)
class Measure:
    """One number of an evaluation.

    Attributes:
        key: its name in JSON.
        title: its name in tables.
        tag: its name in the log of a training.
        rule: how it is defined, as part of a sentence.
        take: gives the fraction 0..1 of a result; None where the result has none.
    """

    key: str
    title: str
    tag: str
    rule: str
    take: Callable[[RetrievalMetrics], float | None]


def _cmc(rank: int) -> Measure:
    """One place of the CMC curve."""
    return Measure(
        key=f"cmc_at_{rank}",
        title=f"CMC@{rank}",
        tag=f"CMC@{rank}",
        rule=f"share of the counted queries with a match in the first {rank}",
        take=lambda metrics: metrics.cmc_at(rank),
    )


def _rate(place: int, text: str) -> Measure:
    """The true positive rate at one false positive rate."""
    return Measure(
        key=f"tpr_at_fpr_{text}",
        title=f"TPR@FPR {text}",
        tag=f"TPR@FPR_{text}",
        rule=TPR_RULE,
        take=lambda metrics: metrics.verification.tpr[place] if metrics.verification else None,
    )


MEANS: Final = (
    Measure(
        key="mean_ap",
        title="mAP (step)",
        tag="mAP",
        rule="mean over the matches of the precision at the rank of each match",
        take=lambda metrics: metrics.mean_ap,
    ),
    Measure(
        key="mean_ap_trapezoid",
        title="mAP (trapezoid)",
        tag="mAP_trapezoid",
        rule=(
            "area under the precision-recall curve by the trapezoid rule, precision 1 before the "
            "first rank"
        ),
        take=lambda metrics: metrics.mean_ap_trapezoid,
    ),
    Measure(
        key="mean_inp",
        title="mINP",
        tag="mINP",
        rule="mean over the queries of number of matches / rank of the last match",
        take=lambda metrics: metrics.mean_inp,
    ),
)
"""Means over the counted queries; the first one is what models are chosen by."""

LISTED: Final = (*MEANS, *map(_cmc, CMC_RANKS))
"""What lists alone tell: one table."""

RATES: Final = tuple(_rate(place, text) for place, text in enumerate(FPR_TEXTS))
"""What distances tell besides: `RetrievalMetrics.verification`."""

DEFINITIONS: Final = (
    *((measure.key, measure.title, measure.rule) for measure in MEANS),
    ("tpr_at_fpr", "TPR@FPR", TPR_RULE),
    ("distance_at_fpr", "Nearer than", DISTANCE_RULE),
    ("ties", "Ties", TIE_RULE),
)
"""What every report states: name in JSON, name in tables, rule."""
