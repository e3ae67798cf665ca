"""Routes of the gallery: what it holds, and pictures of its rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Request, Response
from fastapi import Path as InPath

from mtml_deploy.data.thumbnails import make_thumbnail
from mtml_deploy.gallery.hit_lists import record_values
from mtml_deploy.gallery.values import StoredRow
from mtml_deploy.serve.answers import json_answer
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.openapi import answer, errors
from mtml_deploy.serve.patience import service_of, while_there

router = APIRouter(tags=["gallery"])

RowNumber = Annotated[int, InPath(ge=1, le=(1 << 63) - 1, description="Number of the row.")]


@router.get("/v1/gallery", responses={**answer({"rows": 320}), **errors(404, 409)})
async def summary(request: Request) -> Response:
    """What the gallery holds, in numbers."""
    service = service_of(request)
    found = await while_there(
        request, service.gallery.read(service.identity, lambda opened: opened.summary())
    )
    return json_answer({"name": service.gallery.name, **msgspec.to_builtins(found)})


@router.get("/v1/gallery/{row}", responses={**answer({"row": 12}), **errors(404, 409)})
async def one_row(request: Request, row: RowNumber) -> Response:
    """What is known of a row."""
    stored = await _stored(request, row)
    return json_answer({"row": stored.row, **record_values(stored.record)})


@router.get(
    "/v1/gallery/{row}/thumbnail",
    responses={200: {"content": {"image/jpeg": {}}}, **errors(404, 409)},
    response_class=Response,
)
async def thumbnail(
    request: Request,
    row: RowNumber,
    side: Annotated[int, Query(ge=16, le=512, description="Pixels of the longer side.")] = 160,
) -> Response:
    """A small picture of a row, made anew from its pixels: a JPEG."""
    stored = await _stored(request, row)
    path = Path(stored.record.path)
    picture = None
    if path.is_absolute():  # no address of something else
        service = service_of(request)
        picture = await while_there(
            request, service.in_decoder(lambda: make_thumbnail(path, side=side))
        )
    if picture is None:
        raise ApiError(404, f"row {row} has no image here that can be shown", code="no_image")
    # a number is never given to another row, but another gallery may be put in the place of this
    headers = {"cache-control": "private, max-age=300"}
    return Response(picture.jpeg, media_type="image/jpeg", headers=headers)


async def _stored(request: Request, row: int) -> StoredRow:
    """A row of the gallery.

    Raises:
        ApiError: 404 where it does not hold it.
    """
    service = service_of(request)
    found = await while_there(
        request, service.gallery.read(service.identity, lambda opened: list(opened.rows([row])))
    )
    if not found:
        raise ApiError(404, f"the gallery has no row {row}", code="no_row")
    return found[0]
