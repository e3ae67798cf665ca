"""What a terminal shows of an evaluation or a verdict: the numbers, without the rules behind them.

In: results. Out: tables whose numbers are rounded for people; the pages hold the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from mtml_deploy.evaluation.measures import LISTED, RATES, Measure
from mtml_deploy.parity.judge import ParityResult
from mtml_deploy.parity.verdict import BOUND_TITLES, bound_rows, retrieval_rows
from mtml_deploy.report.draws_report import DrawnEvaluation, drawn_rows
from mtml_deploy.report.metrics_json import Evaluation as JudgedPair
from mtml_deploy.report.metrics_json import unmatched_sentence
from mtml_deploy.text import percent

_SHORT: Final = {"mAP (step)": "mAP", "mAP (trapezoid)": "trapezoid"}
"""Titles that would make a table wider than a terminal."""


@dataclass(frozen=True)
class ShortTable:
    """A table of text.

    Attributes:
        titles: of the columns.
        rows: as many cells each.
        align: "l" or "r" for each column.
    """

    titles: Sequence[str]
    rows: Sequence[Sequence[str]]
    align: str


def judged_on(judged: Sequence[JudgedPair | DrawnEvaluation]) -> list[str]:
    """What was measured on what, a line for each pair of queries and gallery."""
    lines = []
    for row in judged:
        if isinstance(row, DrawnEvaluation):
            drawn = row.metrics
            line = (
                f"{drawn.protocol}: {len(drawn.draws)} draws of {drawn.gallery_size} gallery "
                f"images out of {row.pool.images.source}, seed {drawn.seed}"
            )
        else:
            line = (
                f"{row.metrics.protocol}: {row.metrics.num_queries} queries of {row.query_source} "
                f"against {row.gallery_size} {row.gallery_unit}s of {row.gallery_source}; "
                f"{unmatched_sentence(row.metrics)}"
            )
        if line not in lines:
            lines.append(line)
    return lines


def evaluation_tables(judged: Sequence[JudgedPair | DrawnEvaluation]) -> list[ShortTable]:
    """The measures in percent; rates that no row has are left out."""
    drawn = [row for row in judged if isinstance(row, DrawnEvaluation)]
    if drawn:
        titles = ("percent", "measure", "mean", "std", "min", "max")
        rows = [row for row in drawn_rows(drawn) if any(cell != percent(None) for cell in row[2:])]
        return [ShortTable(titles, rows, "llrrrr")]
    pairs = [row for row in judged if isinstance(row, JudgedPair)]
    rates = [rate for rate in RATES if any(rate.take(row.metrics) is not None for row in pairs)]
    return [_columns(pairs, measures) for measures in (LISTED, rates) if measures]


def _columns(rows: Sequence[JudgedPair], measures: Sequence[Measure]) -> ShortTable:
    """A line of each result, a column of each measure."""
    return ShortTable(
        ("percent", *(_SHORT.get(measure.title, measure.title) for measure in measures)),
        [
            (row.label, *(percent(measure.take(row.metrics)) for measure in measures))
            for row in rows
        ],
        "l" + "r" * len(measures),
    )


def parity_tables(result: ParityResult) -> list[ShortTable]:
    """Every bound with what was measured, and what became of mAP and CMC."""
    retrieval = [row[:4] for row in retrieval_rows(result, digits=1)]
    return [
        ShortTable(BOUND_TITLES, bound_rows(result), "lrll"),
        ShortTable(("percent", "reference", "candidate", "change"), retrieval, "lrrr"),
    ]
