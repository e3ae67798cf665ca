"""Errors as clients get them: a status and `{"error": {"code", "message", "request_id"}}`.

In: exceptions of the library. Out: what a client is told; never a traceback.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

import orjson

from mtml_deploy.errors import (
    DataError,
    EmbeddingsError,
    ImageError,
    MemoryBudgetError,
    MtmlError,
    OutputExistsError,
)
from mtml_deploy.gallery.values import GalleryBusyError, GalleryError

CODES: Final = {
    400: "bad_request",
    401: "unauthorized",
    403: "forbidden",
    404: "not_found",
    405: "method_not_allowed",
    408: "timeout",
    409: "conflict",
    413: "too_large",
    415: "unsupported_media_type",
    422: "invalid",
    429: "busy",
    500: "internal",
    503: "unavailable",
}
"""The code of each status where nothing closer is known."""

_KINDS: Final[tuple[tuple[type[MtmlError], int, str], ...]] = (
    (ImageError, 422, "image"),
    (DataError, 422, "data"),
    (MemoryBudgetError, 422, "memory"),
    (EmbeddingsError, 409, "other_model"),
    (GalleryBusyError, 409, "gallery_busy"),
    (OutputExistsError, 409, "exists"),
    (GalleryError, 503, "gallery"),
)
"""The first that fits; all others are 503: something of the service is missing or has failed."""


class ApiError(Exception):
    """What a client is told in place of an answer.

    Attributes:
        status: of HTTP.
        code: a word for programs.
        retry_after_s: when to ask again; None tells nothing.
    """

    def __init__(
        self, status: int, message: str, *, code: str = "", retry_after_s: int | None = None
    ) -> None:
        """Say what was found, what was expected and what to do."""
        super().__init__(message)
        self.status = status
        self.code = code or CODES[status]
        self.retry_after_s = retry_after_s

    @property
    def headers(self) -> dict[str, str]:
        """Of the answer."""
        found = {"content-type": "application/json"}
        if self.retry_after_s is not None:
            found["retry-after"] = str(self.retry_after_s)
        if self.status == 401:
            found["www-authenticate"] = "Bearer"
        return found

    def body(self, request_id: str) -> bytes:
        """Of the answer."""
        return error_body(self.code, str(self), request_id)


def error_body(code: str, message: str, request_id: str) -> bytes:
    """The one shape of errors."""
    error: Mapping[str, str] = {"code": code, "message": message, "request_id": request_id}
    return orjson.dumps({"error": error}, default=str)


def told(error: MtmlError) -> ApiError:
    """What a client is told of an error of the library."""
    for kind, status, code in _KINDS:
        if isinstance(error, kind):
            return ApiError(status, str(error), code=code)
    return ApiError(503, str(error))
