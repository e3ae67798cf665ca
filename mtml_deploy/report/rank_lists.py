"""Rank lists with what is known of their images: for pages, JSON files and terminals.

In: a ranking and the two sets it was made from. Out: for each query its nearest gallery images with
name, distance, labels and whether they show the same vehicle.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

import numpy as np
from msgspec import to_builtins

from mtml_deploy.data.clock import UNKNOWN_TIME, format_time
from mtml_deploy.data.ids import shown_id
from mtml_deploy.data.records import UNKNOWN
from mtml_deploy.embed.embeddings import Embeddings, comparison_mode
from mtml_deploy.errors import EmbeddingsError
from mtml_deploy.evaluation.metrics import RetrievalMetrics
from mtml_deploy.output_kind import json_kind
from mtml_deploy.report.metrics_json import EXPANSION_RULE, RERANK_RULE, reranking_record
from mtml_deploy.search.query_expansion import ExpansionOptions
from mtml_deploy.search.rank import Ranking
from mtml_deploy.search.rerank import RerankOptions
from mtml_deploy.text import printable

SCHEMA: Final = 1
"""Version of the layout of `rank_json`."""

RANK_JSON: Final = json_kind(
    "lists of mtml-deploy rank", "schema", "label", "model", "gallery_source", "queries"
)


@dataclass(frozen=True)
class RankedImage:
    """One place of a rank list.

    Attributes:
        rank: 1 is the nearest.
        row: gallery row.
        name: path of the image below the gallery's root.
        distance: L2 distance to the query; in a re-ranked list the re-ranked one, 0..1.
        vehicle_id: a number, or the text that the id is; -1 unknown.
        camera_id: likewise.
        match: whether it shows the query's vehicle; None where either id is unknown.
        time: when it was taken, ISO 8601 in UTC; None where that is not known.
    """

    rank: int
    row: int
    name: str
    distance: float
    vehicle_id: int | str
    camera_id: int | str
    match: bool | None
    time: str | None


@dataclass(frozen=True)
class RankedModel:
    """One model's ranking of a gallery for a query set.

    Attributes:
        label: how the model is called in pages and tables.
        query: Q images.
        gallery: G images.
        ranking: rows [Q, K] of `gallery`.
        metrics: of the same two sets; None where ids are unknown.
        reranking: parameters, if the lists were re-ranked; None for the order of L2 distances.
        expansion: parameters, if the queries were expanded; None for the queries as embedded.
    """

    label: str
    query: Embeddings
    gallery: Embeddings
    ranking: Ranking
    metrics: RetrievalMetrics | None
    reranking: RerankOptions | None = None
    expansion: ExpansionOptions | None = None

    def __post_init__(self) -> None:
        """Refuse parts that belong to different sets.

        Raises:
            ValueError: lengths differ, or the ranking names a row the gallery does not have.
        """
        lengths = {len(self.query), len(self.ranking.rows), len(self.ranking.distances)}
        if self.metrics is not None:
            lengths.add(self.metrics.num_queries)
        if len(lengths) > 1:
            raise ValueError(f"query set, ranking and metrics differ in length: {sorted(lengths)}")
        if self.ranking.rows.size and int(self.ranking.rows.max()) >= len(self.gallery):
            raise ValueError(
                f"the ranking names row {int(self.ranking.rows.max())}, "
                f"the gallery has {len(self.gallery)}"
            )

    def average_precision(self, query_row: int) -> float | None:
        """Step average precision of one query; None where it is not known or not counted."""
        if self.metrics is None or np.isnan(self.metrics.average_precision[query_row]):
            return None
        return float(self.metrics.average_precision[query_row])


def rank_list(model: RankedModel, query_row: int, *, length: int) -> tuple[RankedImage, ...]:
    """The first `length` places of one query's list, fewer where fewer remain.

    Args:
        model: whose ranking.
        query_row: which query.
        length: places wanted.

    Returns:
        The places, nearest first.
    """
    vehicle = int(model.query.vehicle_ids[query_row])
    places = []
    for rank, row in enumerate(model.ranking.rows[query_row, :length].tolist(), start=1):
        if row < 0:
            break
        found = int(model.gallery.vehicle_ids[row])
        places.append(
            RankedImage(
                rank=rank,
                row=row,
                name=model.gallery.names[row],
                distance=float(model.ranking.distances[query_row, rank - 1]),
                vehicle_id=shown_id(model.gallery.named(found)),
                camera_id=shown_id(model.gallery.named(model.gallery.camera_ids[row])),
                match=None if UNKNOWN in (vehicle, found) else vehicle == found,
                time=time_text(model.gallery, row),
            )
        )
    return tuple(places)


def time_text(images: Embeddings, row: int) -> str | None:
    """When the image of a row was taken, ISO 8601 in UTC; None where that is not known."""
    if images.times_us is None or images.times_us[row] == UNKNOWN_TIME:
        return None
    return format_time(int(images.times_us[row]))


def require_same_images(models: Sequence[RankedModel]) -> None:
    """Refuse to set models side by side that ranked different images.

    Args:
        models: one or more.

    Raises:
        EmbeddingsError: query or gallery names differ in number, text or order.
        ValueError: no model at all.
    """
    if not models:
        raise ValueError("at least one ranked model is needed")
    first = models[0]
    for other in models[1:]:
        for role, left, right in (
            ("query set", first.query, other.query),
            ("gallery", first.gallery, other.gallery),
        ):
            if left.names != right.names:
                raise EmbeddingsError(
                    f"{first.label} and {other.label} cannot be compared: the {role} of one is "
                    f"{left.source} ({len(left)} images), of the other {right.source} "
                    f"({len(right)} images), and names or order differ; embed the same images "
                    f"with both artifacts"
                )


def rank_json(
    model: RankedModel,
    *,
    length: int,
    expanded: RankedModel | None = None,
    reranked: RankedModel | None = None,
) -> str:
    """Rank lists of every query as JSON.

    Args:
        model: whose lists.
        length: places per query.
        expanded: the same model with expanded queries; its lists stand beside those before.
        reranked: the same model after re-ranking; its lists stand beside those before.

    Returns:
        An object with `schema`, `label`, `model` (identity), `mode` (what is compared with what),
        `query_source`, `gallery_source` and `queries`: for each, `row`, `name`, `vehicle_id`,
        `camera_id`, `average_precision` (null where it does not count) and `ranks`, the fields of
        `RankedImage`. Fractions are 0..1.
        With `expanded` or `reranked` also an object of that name: `label`, `rule`, parameters and
        `queries`.
    """
    record: dict[str, object] = {
        "schema": SCHEMA,
        "label": model.label,
        "model": to_builtins(model.query.model),
        "mode": comparison_mode(model.query.unit, model.gallery.unit),
        "query_source": model.query.source,
        "gallery_source": model.gallery.source,
        "queries": _query_records(model, length=length),
    }
    if expanded is not None and expanded.expansion is not None:
        record["expanded"] = {
            "label": expanded.label,
            "rule": EXPANSION_RULE,
            **asdict(expanded.expansion),
            "queries": _query_records(expanded, length=length),
        }
    if reranked is not None and reranked.reranking is not None:
        record["reranked"] = {
            "label": reranked.label,
            "rule": RERANK_RULE,
            **reranking_record(reranked.reranking),
            "expanded_queries": reranked.expansion is not None,
            "queries": _query_records(reranked, length=length),
        }
    return json.dumps(record, indent=1, allow_nan=False) + "\n"


def _query_records(model: RankedModel, *, length: int) -> list[dict[str, object]]:
    """The lists of every query, for JSON."""
    return [
        {
            "row": row,
            "name": name,
            "vehicle_id": shown_id(model.query.named(model.query.vehicle_ids[row])),
            "camera_id": shown_id(model.query.named(model.query.camera_ids[row])),
            "average_precision": model.average_precision(row),
            "ranks": [asdict(place) for place in rank_list(model, row, length=length)],
        }
        for row, name in enumerate(model.query.names)
    ]


def rank_text(model: RankedModel, *, length: int, limit: int) -> list[str]:
    """Rank lists of the first queries as lines for a terminal.

    Args:
        model: whose lists.
        length: places per query.
        limit: queries shown; a last line tells how many are not.

    Returns:
        Lines without line ends or control characters. A match is marked "+", another vehicle "-",
        an unknown one nothing.
    """
    lines = []
    for row, name in enumerate(model.query.names[:limit]):
        precision = model.average_precision(row)
        known = "" if precision is None else f"   AP {precision:.1%}"
        lines.append(f"{printable(name)}{known}")
        for place in rank_list(model, row, length=length):
            mark = {True: "+", False: "-", None: " "}[place.match]
            camera = place.camera_id
            camera = "" if camera == UNKNOWN else f"   camera {printable(str(camera))}"
            lines.append(
                f"  {place.rank:>3} {mark} {place.distance:>10.4g}   "
                f"{printable(place.name)}{camera}"
            )
    hidden = len(model.query) - limit
    if hidden > 0:
        lines.append(f"... and {hidden} more queries; --json or --html keep all of them")
    return lines
