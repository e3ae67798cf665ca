"""The route that searches the gallery."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from mtml_deploy.gallery.hit_lists import hit_values
from mtml_deploy.serve.answers import json_answer, model_values
from mtml_deploy.serve.body import read_uploads
from mtml_deploy.serve.openapi import IMAGES, answer, errors
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
    "/v1/search", openapi_extra=IMAGES, responses={**answer(_EXAMPLE), **errors(404, 409, 415)}
)
async def search(request: Request, asked: Annotated[SearchQuestion, Query()]) -> Response:
    """The nearest rows of the gallery to each image or box, or to all images as one vehicle."""
    service = service_of(request)
    gallery, where = service.gallery, asked.where()
    most = service.max_distance if asked.max_distance is None else asked.max_distance
    uploads = await read_uploads(request, most=service.options.images)
    embedded = await while_there(request, service.embed(uploads, asked.boxes()))
    facts_of(request).update(embedded.facts())
    queries = service.rows_of(embedded)
    if asked.as_one:
        queries = queries.pool("one")
    lists = await while_there(
        request,
        gallery.read(
            queries.model,
            lambda opened: search_rows(opened, queries, asked, where, max_distance=most),
        ),
    )
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
