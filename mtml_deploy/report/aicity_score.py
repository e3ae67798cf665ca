"""The score of a track2.txt as Markdown for people and as JSON for programs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from mtml_deploy.evaluate.aicity.score import PROTOCOL, VehicleIds
from mtml_deploy.evaluate.metrics import RetrievalMetrics
from mtml_deploy.report.metrics_json import (
    CMC_RANKS,
    INP_RULE,
    STEP_RULE,
    TRAPEZOID_RULE,
    unmatched_sentence,
)
from mtml_deploy.text import escaped, percent, table_row

SCHEMA: Final = 1
"""Version of the layout of `score_json`."""


@dataclass(frozen=True)
class Score:
    """Metrics of a file and what they were measured on.

    Attributes:
        file: the file.
        metrics: the result of `score`.
        query: vehicles of the queries.
        gallery: vehicles of the gallery.
    """

    file: Path
    metrics: RetrievalMetrics
    query: VehicleIds
    gallery: VehicleIds


def score_markdown(result: Score) -> str:
    """A table in percent, then the rules and what it was measured on.

    Args:
        result: what to show.

    Returns:
        Markdown.
    """
    metrics = result.metrics
    header = ["file", "mAP (step)", "mAP (trapezoid)", "mINP"]
    header += [f"CMC@{rank}" for rank in CMC_RANKS]
    values = [metrics.mean_ap, metrics.mean_ap_trapezoid, metrics.mean_inp]
    values += [metrics.cmc_at(rank) for rank in CMC_RANKS]
    lines = [
        f"# Score, protocol {PROTOCOL.name}",
        "",
        table_row(header),
        table_row(["---"] + ["---:"] * len(values)),
        table_row([escaped(result.file.name), *(percent(value) for value in values)]),
        "",
        f"**{PROTOCOL.name}**: {PROTOCOL.rule} Source: {PROTOCOL.source}.",
        "",
        f"- mAP (step): {STEP_RULE}.",
        f"- mAP (trapezoid): {TRAPEZOID_RULE}.",
        f"- mINP: {INP_RULE}.",
        "",
        f"- {metrics.num_queries} queries ({escaped(result.query.source)}) against "
        f"{len(result.gallery.ids)} gallery images ({escaped(result.gallery.source)}), "
        f"image-to-image; {unmatched_sentence(metrics)}.",
    ]
    return "\n".join(lines) + "\n"


def score_json(result: Score) -> str:
    """The same as JSON, fractions 0..1, with the average precision of each query.

    Args:
        result: what to write.

    Returns:
        Indented JSON; null for a query that does not count.
    """
    metrics = result.metrics
    precision = metrics.average_precision.tolist()
    record = {
        "schema": SCHEMA,
        "file": str(result.file),
        "mode": "image-to-image",
        "query": {"source": result.query.source, "images": metrics.num_queries},
        "gallery": {"source": result.gallery.source, "images": len(result.gallery.ids)},
        "protocol": {"name": PROTOCOL.name, "rule": PROTOCOL.rule, "source": PROTOCOL.source},
        "definitions": {
            "mean_ap": STEP_RULE,
            "mean_ap_trapezoid": TRAPEZOID_RULE,
            "mean_inp": INP_RULE,
        },
        "mean_ap": metrics.mean_ap,
        "mean_ap_trapezoid": metrics.mean_ap_trapezoid,
        "mean_inp": metrics.mean_inp,
        "cmc": metrics.cmc.tolist(),
        "queries": {
            "all": metrics.num_queries,
            "valid": metrics.num_valid,
            "unmatched": metrics.num_queries - metrics.num_valid,
            "unmatched_count_as": metrics.unmatched,
        },
        "average_precision": [None if math.isnan(value) else value for value in precision],
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"
