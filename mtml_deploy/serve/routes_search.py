"""The route that searches the gallery."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from mtml_deploy.embed.embeddings import Embeddings
from mtml_deploy.gallery.gallery import Gallery
from mtml_deploy.gallery.hit_lists import hit_values
from mtml_deploy.gallery.values import Hit
from mtml_deploy.serve.answers import json_answer, model_values
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.body import media_type, read_json, read_uploads
from mtml_deploy.serve.given_queries import GivenQueries
from mtml_deploy.serve.openapi import QUERIES, answer, errors
from mtml_deploy.serve.patience import facts_of, service_of, while_there
from mtml_deploy.serve.questions import SearchQuestion
from mtml_deploy.serve.search_rows import search_rows

router = APIRouter(tags=["search"])

_EXAMPLE = {
    "model": {"model_sha256": "1f...", "precision": "fp32", "embedding": "consensus", "dim": 1024},
    "gallery": "cars",
    "max_distance": None,
    "queries": [
        {
            "name": "car.jpg",
            "ranks": [
                {
                    "rank": 1,
                    "row": 12,
                    "distance": 7.5,
                    "reranked": None,
                    "place_before": None,
                    "path": "/data/0001_c003.jpg",
                    "vehicle_id": 41,
                    "camera_id": 3,
                    "orientation": 0,
                    "tracklet_id": -1,
                    "time": "2024-05-01T08:30:00+00:00",
                }
            ],
        }
    ],
}


@router.post(
    "/v1/search", openapi_extra=QUERIES, responses={**answer(_EXAMPLE), **errors(404, 409, 415)}
)
async def search(request: Request, asked: Annotated[SearchQuestion, Query()]) -> Response:
    """The nearest rows of the gallery to each image or box, or to all images as one vehicle.

    A body in JSON names rows of the gallery ("more like these") or embeddings in their place.
    """
    service = service_of(request)
    gallery, where = service.gallery, asked.where()
    most = service.max_distance if asked.max_distance is None else asked.max_distance
    queries_of = await _queries(request, asked)

    def look(opened: Gallery) -> tuple[Embeddings, tuple[tuple[Hit, ...], ...]]:
        queries = queries_of(opened)
        if asked.as_one:
            queries = queries.pool("one")
        return queries, search_rows(opened, queries, asked, where, max_distance=most)

    queries, lists = await while_there(request, gallery.read(service.identity, look))
    return json_answer(
        {
            "model": model_values(queries.model),
            "gallery": gallery.name,
            "max_distance": most,
            "queries": [
                {"name": name, "ranks": [hit_values(hit) for hit in hits]}
                for name, hits in zip(queries.names, lists, strict=True)
            ],
        }
    )


async def _queries(request: Request, asked: SearchQuestion) -> Callable[[Gallery], Embeddings]:
    """What gives the rows to search with, where the gallery is open."""
    service = service_of(request)
    if media_type(request) == "application/json":
        wanted = await read_json(request, GivenQueries)
        wanted.require_one()
        if asked.box:
            raise ApiError(422, "box is of an image, and the body has none; leave it out")
        model = service.identity
        given = wanted.vectors(model)
        return lambda opened: wanted.queries(opened, given, model)
    uploads = await read_uploads(request, most=service.options.images)
    embedded = await while_there(request, service.embed(uploads, asked.boxes()))
    facts_of(request).update(embedded.facts())
    rows = service.rows_of(embedded)
    return lambda opened: rows
