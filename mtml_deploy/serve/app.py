"""The application: its routes, its errors, its description.

In: a service. Out: what a server runs.
"""

from __future__ import annotations

from typing import Final

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response

from mtml_deploy.errors import MtmlError
from mtml_deploy.serve import (
    routes_change,
    routes_embed,
    routes_gallery,
    routes_page,
    routes_search,
    routes_state,
)
from mtml_deploy.serve.api_error import CODES, ApiError, told
from mtml_deploy.serve.gate import GONE, Gate
from mtml_deploy.serve.service import Service
from mtml_deploy.version import __version__

COMPARED: Final = "/compare"
"""Where the routes of a second model begin, which the page shows beside the first."""


def make_app(service: Service, compared: Service | None = None) -> Gate:
    """The application of a service, behind its gate.

    Args:
        service: what answers.
        compared: of another model and its gallery, below `COMPARED`; None offers none.
    """
    app = _application(service)
    app.state.compares = compared is not None
    if compared is not None:
        app.mount(COMPARED, _application(compared))
    return Gate(app, service.options, service.metrics)


def _application(service: Service) -> FastAPI:
    """The routes of a service."""
    app = FastAPI(
        title="mtml-deploy serve",
        version=__version__,
        summary="Vehicle re-identification: embeddings of images, and a gallery to search.",
        docs_url=None,
        redoc_url=None,
    )
    app.state.service = service
    app.state.compares = False
    groups = (
        routes_page,
        routes_state,
        routes_embed,
        routes_search,
        routes_gallery,
        routes_change,
    )
    for routes in groups:
        app.include_router(routes.router)
    app.add_exception_handler(ApiError, _answer)
    app.add_exception_handler(MtmlError, _answer)
    app.add_exception_handler(RequestValidationError, _answer)
    app.add_exception_handler(HTTPException, _answer)
    app.add_exception_handler(ClientDisconnect, _nobody)
    app.add_exception_handler(Exception, _answer)  # the gate writes it to the log
    return app


async def _answer(request: Request, error: Exception) -> Response:
    """An error as a client gets it."""
    refusal = _refusal(error)
    body = refusal.body(request.state.request_id)
    return Response(body, refusal.status, headers=refusal.headers)


async def _nobody(request: Request, error: Exception) -> Response:
    """The answer that nobody reads: the client went away."""
    return Response(status_code=GONE)


def _refusal(error: Exception) -> ApiError:
    """What a client is told of an error."""
    if isinstance(error, ApiError):
        return error
    if isinstance(error, MtmlError):
        return told(error)
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"][1:])
        return ApiError(422, f"{place or first['loc'][0]}: {first['msg']}; correct it"[:1000])
    if isinstance(error, HTTPException):
        status = error.status_code if error.status_code in CODES else 400
        return ApiError(status, f"{error.detail}; see /openapi.json for what there is")
    return ApiError(500, "something went wrong; the log of the service tells more")
