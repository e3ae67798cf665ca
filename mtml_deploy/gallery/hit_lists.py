"""Hits with what is known of their rows, as text and JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

from mtml_deploy.embeddings import Embeddings
from mtml_deploy.gallery import Gallery
from mtml_deploy.gallery.records import Hits, StoredRow
from mtml_deploy.gallery.times import format_time
from mtml_deploy.rank_lists import printable
from mtml_deploy.records import ORIENTATIONS, UNKNOWN

SCHEMA: Final = 1


@dataclass(frozen=True)
class Hit:
    """One place of a list.

    Attributes:
        rank: place, 1 is nearest.
        distance: L2 distance to the query.
        stored: the row.
    """

    rank: int
    distance: float
    stored: StoredRow


def hit_lists(gallery: Gallery, hits: Hits) -> tuple[tuple[Hit, ...], ...]:
    """One list per query; a row that was removed since the search is left out.

    Args:
        gallery: which was searched.
        hits: what it found.

    Returns:
        The lists, nearest first.
    """
    known = {stored.row: stored for stored in gallery.rows(sorted(set(hits.rows.ravel().tolist())))}
    lists = []
    for rows, distances in zip(hits.rows.tolist(), hits.distances.tolist(), strict=True):
        left = [pair for pair in zip(rows, distances, strict=True) if pair[0] in known]
        lists.append(
            tuple(Hit(rank, distance, known[row]) for rank, (row, distance) in enumerate(left, 1))
        )
    return tuple(lists)


def hits_json(gallery: str, queries: Embeddings, lists: Sequence[Sequence[Hit]]) -> str:
    """All lists as JSON.

    Args:
        gallery: its name.
        queries: Q images.
        lists: [Q] their hits.

    Returns:
        An object with `schema`, `gallery`, `model` (identity), `query_source` and `queries`: for
        each, `name` and `ranks`, each with `rank`, `row`, `distance`, `path`, `vehicle_id`,
        `camera_id`, `orientation`, `tracklet_id` (-1 unknown) and `time` (ISO 8601 UTC or null).
    """
    record = {
        "schema": SCHEMA,
        "gallery": gallery,
        "model": asdict(queries.model),
        "query_source": queries.source,
        "queries": [
            {"name": name, "ranks": [_place(hit) for hit in hits]}
            for name, hits in zip(queries.names, lists, strict=True)
        ],
    }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def hits_text(queries: Embeddings, lists: Sequence[Sequence[Hit]], *, limit: int) -> list[str]:
    """The lists of the first queries as lines for a terminal.

    Args:
        queries: Q images.
        lists: [Q] their hits.
        limit: queries shown; a last line tells how many are not.

    Returns:
        Lines without line ends or control characters: rank, distance, row, path, what is known.
    """
    lines = []
    for name, hits in list(zip(queries.names, lists, strict=True))[:limit]:
        lines.append(printable(name))
        if not hits:
            lines.append("  no row passes the filter")
        for hit in hits:
            record = hit.stored.record
            known = [
                f"{word} {number}"
                for word, number in (("vehicle", record.vehicle_id), ("camera", record.camera_id))
                if number != UNKNOWN
            ]
            if record.orientation != UNKNOWN:
                known.append(ORIENTATIONS[record.orientation])
            if record.time_us is not None:
                known.append(format_time(record.time_us))
            facts = f"   {', '.join(known)}" if known else ""
            lines.append(
                f"  {hit.rank:>3} {hit.distance:>10.4g}   row {hit.stored.row:<8} "
                f"{printable(record.path)}{facts}"
            )
    hidden = len(lists) - limit
    if hidden > 0:
        lines.append(f"... and {hidden} more queries; --json keeps all of them")
    return lines


def _place(hit: Hit) -> dict[str, object]:
    """One place as JSON values."""
    record = hit.stored.record
    return {
        "rank": hit.rank,
        "row": hit.stored.row,
        "distance": hit.distance,
        "path": record.path,
        "vehicle_id": record.vehicle_id,
        "camera_id": record.camera_id,
        "orientation": record.orientation,
        "tracklet_id": record.tracklet_id,
        "time": None if record.time_us is None else format_time(record.time_us),
    }
