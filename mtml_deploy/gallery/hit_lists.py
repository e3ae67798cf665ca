"""Hits with what is known of their rows, as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Final

from msgspec import to_builtins

from mtml_deploy.data.clock import format_time
from mtml_deploy.data.ids import shown_id
from mtml_deploy.data.records import ORIENTATIONS, UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.gallery.cut import Cut
from mtml_deploy.gallery.tuning import Tuning
from mtml_deploy.gallery.values import Hit, RowRecord
from mtml_deploy.output_kind import json_kind
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rerank import RerankOptions
from mtml_deploy.text import printable

SCHEMA: Final = 1

HITS_JSON: Final = json_kind(
    "lists of mtml-deploy search", "schema", "gallery", "model", "query_source", "queries"
)


def hits_json(
    gallery: str,
    queries: Embeddings,
    lists: Sequence[Sequence[Hit]],
    *,
    expansion: ExpansionOptions | None = None,
    rerank: RerankOptions | None = None,
    shortlist: int | None = None,
    tuning: Tuning | None = None,
    cut: Cut | None = None,
) -> str:
    """All lists as JSON.

    Args:
        gallery: its name.
        queries: Q images.
        lists: [Q] their hits.
        expansion: parameters, if the queries were expanded.
        rerank: parameters, if the lists were re-ranked.
        shortlist: rows of each query that took part in that.
        tuning: of the approximate index, if that was used.
        cut: where lists end, if they were cut.

    Returns:
        An object with `schema`, `gallery`, `model` (identity), `query_source`, `expansion` (null
        or `neighbours` and `alpha`), `rerank` (null or `k1`, `k2`, `weight` and `shortlist`),
        `approximate` (null or the fields of `Tuning`), `max_distance` (null or `distance` and
        `calibrated`, null or what was measured) and `queries`: for each, `name` and `ranks`, each
        with `rank`, `row`, `distance`, `reranked` and `place_before` (null without re-ranking),
        `path`, `vehicle_id`, `camera_id`, `orientation`, `tracklet_id` (-1 unknown, a text where
        the id is one) and `time` (ISO 8601 UTC or null).
    """
    record = {
        "schema": SCHEMA,
        "gallery": gallery,
        "model": to_builtins(queries.model),
        "query_source": queries.source,
        "expansion": None if expansion is None else asdict(expansion),
        "rerank": None if rerank is None else {**asdict(rerank), "shortlist": shortlist},
        "approximate": to_builtins(tuning),
        "max_distance": None
        if cut is None
        else {"distance": cut.distance, "calibrated": to_builtins(cut.record)},
        "queries": [
            {"name": name, "ranks": [hit_values(hit) for hit in hits]}
            for name, hits in zip(queries.names, lists, strict=True)
        ],
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def hits_text(
    queries: Embeddings,
    lists: Sequence[Sequence[Hit]],
    *,
    limit: int,
    nearest: Sequence[float | None] = (),
) -> list[str]:
    """The lists of the first queries as lines for a terminal.

    Args:
        queries: Q images.
        lists: [Q] their hits.
        limit: queries shown; a last line tells how many are not.
        nearest: distance of each query's nearest row before the lists were cut, None where there
            was no row; empty where they were not cut.

    Returns:
        Lines without line ends or control characters: rank, distance, row, path, what is known;
        after re-ranking also the re-ranked distance and the place before.
    """
    lines = []
    found = zip(queries.names, lists, nearest or [None] * len(lists), strict=True)
    for name, hits, before_cut in list(found)[:limit]:
        lines.append(printable(name))
        if not hits and before_cut is not None:
            lines.append(f"  no row is near enough: the nearest is at {before_cut:.4g}")
        elif not hits:
            lines.append("  no row passes the filter")
        for hit in hits:
            record = hit.stored.record
            known = [
                f"{word} {printable(str(id_))}"
                for word, id_ in (("vehicle", record.vehicle_id), ("camera", record.camera_id))
                if id_ != UNKNOWN
            ]
            if record.orientation != UNKNOWN:
                known.append(ORIENTATIONS[record.orientation])
            if record.time_us is not None:
                known.append(format_time(record.time_us))
            facts = f"   {', '.join(known)}" if known else ""
            before = ""
            if hit.reranked is not None:
                before = f" re-ranked {hit.reranked:.4f}, was {hit.place_before:<5}"
            lines.append(
                f"  {hit.rank:>3} {hit.distance:>10.4g}{before}   row {hit.stored.row:<8} "
                f"{printable(record.path)}{facts}"
            )
    hidden = len(lists) - limit
    if hidden > 0:
        lines.append(f"... and {hidden} more queries; --json keeps all of them")
    return lines


def hit_values(hit: Hit) -> dict[str, object]:
    """One place as JSON values."""
    return {
        "rank": hit.rank,
        "row": hit.stored.row,
        "distance": hit.distance,
        "reranked": hit.reranked,
        "place_before": hit.place_before,
        **record_values(hit.stored.record),
    }


def record_values(record: RowRecord) -> dict[str, object]:
    """What is known of a row as JSON values."""
    return {
        "path": record.path,
        "vehicle_id": shown_id(record.vehicle_id),
        "camera_id": shown_id(record.camera_id),
        "orientation": record.orientation,
        "tracklet_id": shown_id(record.tracklet_id),
        "time": None if record.time_us is None else format_time(record.time_us),
    }
