"""Routes that change the gallery."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from mtml_deploy.serve.answers import json_answer
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.body import read_json, read_uploads
from mtml_deploy.serve.changes import AddQuestion, Relabelling, RemoveQuestion
from mtml_deploy.serve.openapi import IMAGES, RELABELLING, answer, errors
from mtml_deploy.serve.patience import facts_of, service_of, while_there
from mtml_deploy.serve.service import Service
from mtml_deploy.serve.uploads import add_uploads

router = APIRouter(tags=["gallery"])


@router.post(
    "/v1/gallery",
    openapi_extra=IMAGES,
    responses={
        **answer({"rows": [{"name": "car.jpg", "row": 321, "new": True}]}),
        **errors(404, 409, 415),
    },
)
async def add(request: Request, asked: Annotated[AddQuestion, Query()]) -> Response:
    """Embed images and add them; on disk when the answer comes.

    An image that is there already keeps its row and what is known of it. So a request without an
    answer can be sent again.
    """
    service = _changed(request)
    labels = asked.labels()
    uploads = await read_uploads(request, most=service.options.images)
    embedded = await while_there(request, service.embed(uploads))
    facts_of(request).update(embedded.facts())
    model = service.identity
    added = await service.gallery.write(
        model,
        lambda opened: add_uploads(
            opened,
            model,
            uploads,
            embedded.outputs,
            labels,
            tells_orientation=service.tells_orientation,
            folder=service.options.uploads,
        ),
    )
    rows = zip(uploads, added.rows.tolist(), added.is_new.tolist(), strict=True)
    return json_answer(
        {"rows": [{"name": upload.name, "row": row, "new": new} for upload, row, new in rows]}
    )


@router.patch(
    "/v1/gallery",
    openapi_extra=RELABELLING,
    responses={**answer({"changed": 2}), **errors(404, 409, 415)},
)
async def relabel(request: Request) -> Response:
    """Change what is known of rows: what is left out stays, null makes it unknown."""
    service = _changed(request)
    wanted = await read_json(request, Relabelling)
    labels = wanted.told()
    changed = await service.gallery.write(
        service.identity, lambda opened: opened.relabel(wanted.rows, labels)
    )
    if not changed:
        raise ApiError(404, "the gallery has none of these rows", code="no_row")
    return json_answer({"changed": changed})


@router.delete("/v1/gallery", responses={**answer({"removed": 3}), **errors(404, 409)})
async def remove(request: Request, asked: Annotated[RemoveQuestion, Query()]) -> Response:
    """Remove the rows that are named, or all that pass a filter; they are not found any more."""
    service = _changed(request)
    removed = await service.gallery.write(
        service.identity, lambda opened: opened.remove(asked.chosen(opened))
    )
    return json_answer({"removed": removed})


def _changed(request: Request) -> Service:
    """The service, if its gallery may be changed.

    Raises:
        ApiError: 403 where it may not.
    """
    service = service_of(request)
    if not service.options.writable:
        raise ApiError(
            403,
            "the gallery of this service may not be changed; start it with --writable",
            code="read_only",
        )
    _ = service.gallery  # there is one
    return service
