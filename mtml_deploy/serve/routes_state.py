"""Routes that tell whether and how the service works."""

from __future__ import annotations

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from mtml_deploy.report.search_page.facts import measured_at, model_label
from mtml_deploy.serve.answers import json_answer, model_values
from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.openapi import answer, errors
from mtml_deploy.serve.patience import service_of, while_there

router = APIRouter(tags=["state"])


@router.get("/live", responses={**answer({"live": True}), **errors()})
async def live(request: Request) -> Response:
    """Whether the process works; where it does not, start it anew."""
    if not service_of(request).alive:
        raise ApiError(503, "the model does not run any more; start the service anew")
    return json_answer({"live": True})


@router.get("/ready", responses={**answer({"ready": True}), **errors(409)})
async def ready(request: Request) -> Response:
    """Whether requests can be answered: the model is loaded, and the gallery can be read.

    A full queue is not told here, but by 429 to those who meet it.
    """
    service = service_of(request)
    if not service.alive:
        raise ApiError(503, "the model does not run any more; start the service anew")
    identity = service.identity
    if service.has_gallery:
        await while_there(request, service.gallery.read(identity, len))
    return json_answer({"ready": True})


@router.get(
    "/metrics",
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}, **errors()},
    response_class=Response,
)
async def metrics(request: Request) -> Response:
    """Counts, for Prometheus."""
    return Response(service_of(request).metrics.text(), media_type=CONTENT_TYPE_LATEST)


@router.get(
    "/v1/info",
    responses={
        **answer({"model": {"dim": 8192}, "gallery": "cars", "writable": False}),
        **errors(),
    },
)
async def info(request: Request) -> Response:
    """What the service offers: its model, its limits, and whether its gallery may be changed."""
    service = service_of(request)
    model, options = service.model, service.options
    return json_answer(
        {
            "model": model_values(model.identity),
            "label": model_label(service.artifact.manifest),
            "measured": measured_at(service.artifact.manifest),
            "warning": model.warning,
            "height": model.height,
            "width": model.width,
            "gallery": service.gallery.name if service.has_gallery else None,
            "writable": options.writable,
            "keeps_uploads": options.uploads is not None,
            "max_distance": service.max_distance,
            "max_distance_words": service.threshold and service.threshold.in_words(),
            "compare": request.app.state.compares,
            "limits": {
                "images": options.images,
                "body_bytes": options.body_bytes,
                "requests": options.requests,
                "queue": options.queue,
            },
        }
    )
