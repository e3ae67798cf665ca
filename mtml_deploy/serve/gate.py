"""The gate that every request passes: who may ask, how much at once, and what is written of it.

An ASGI application around the other. It answers by itself where a request is refused before
anybody looks at it, and where nobody caught an error.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
import re
import time
import uuid
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from mtml_deploy.serve.api_error import ApiError
from mtml_deploy.serve.json_logs import FACTS
from mtml_deploy.serve.metrics import Metrics
from mtml_deploy.serve.options import ServeOptions, is_loopback

logger = logging.getLogger(__name__)

OPEN: Final = frozenset({"/", "/live", "/ready"})
"""Paths that need no token: they tell nothing but whether it works, or are the page itself."""

_ID: Final = re.compile(r"[\w.:-]{1,64}", re.ASCII)
GONE: Final = 499
"""Status in logs and metrics where the client went away."""


class Gate:
    """An application with its gate."""

    def __init__(self, app: ASGIApp, options: ServeOptions, metrics: Metrics) -> None:
        """Nothing is asked yet."""
        self._app, self._options, self._metrics = app, options, metrics
        self._in_work = 0
        self.ending = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1003})
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        facts: dict[str, Any] = {}
        scope["state"] = {**scope.get("state", {}), "request_id": request_id, "facts": facts}
        started = time.monotonic()
        status = 0

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [
                    *message.get("headers", ()),
                    (b"x-request-id", request_id.encode()),
                    (b"x-content-type-options", b"nosniff"),
                    *([(b"connection", b"close")] if self.ending or status == 413 else []),
                ]
            await send(message)

        counted = "/v1/" in scope["path"]
        error: Exception | None = None
        try:
            self._require_allowed(scope["path"], headers)
            if counted:
                self._require_room()
            self._in_work += counted
            self._metrics.in_work.set(self._in_work)
            try:
                await self._app(scope, self._limited(receive, headers), sending)
            finally:
                self._in_work -= counted
                self._metrics.in_work.set(self._in_work)
        except ApiError as refusal:
            await _answer(sending, refusal, request_id)
        except ClientDisconnect:
            status = status or GONE
        except Exception as found:  # nobody else would answer
            error = found
            if not status:
                told = ApiError(500, "something went wrong; the log of the service tells more")
                await _answer(sending, told, request_id)
        finally:
            self._tell(scope, status or GONE, time.monotonic() - started, facts, error)

    def _require_allowed(self, path: str, headers: Headers) -> None:
        """Refuse who may not ask.

        Raises:
            ApiError: 401 without the token, 403 from a page of somebody else.
        """
        host = headers.get("host", "")
        origin = headers.get("origin")
        # a page of another site may make a browser ask us, with or without what it can read
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            raise ApiError(403, f"a page of {origin[:200]} asks, expected one of this service")
        if path in OPEN:
            return
        token = self._options.token
        if token:
            found = headers.get("authorization", "").encode("utf-8", "replace")
            if not hmac.compare_digest(found, b"Bearer " + token.encode()):
                raise ApiError(
                    401,
                    "no valid token was shown, expected the header "
                    "'Authorization: Bearer TOKEN'; ask who runs this service for it",
                )
        elif not is_loopback(urlsplit(f"//{host}").hostname or ""):
            # without a token, a name that somebody else lets lead here must not be enough
            raise ApiError(403, f"the host is {host[:200]!r}, expected localhost or its address")

    def _require_room(self) -> None:
        """Refuse a request where enough others are worked on.

        Raises:
            ApiError: 429, or 503 at the end.
        """
        if self.ending:
            raise ApiError(503, "the service ends; ask again later", retry_after_s=1)
        if self._in_work >= self._options.requests:
            raise ApiError(
                429,
                f"{self._in_work} requests are worked on, expected fewer than "
                f"{self._options.requests}; ask again later",
                retry_after_s=1,
            )

    def _limited(self, receive: Receive, headers: Headers) -> Receive:
        """`receive`, up to as many bytes as a request may have, each part in time."""
        most = self._options.body_bytes
        length = headers.get("content-length", "")
        told = int(length) if length.isascii() and length.isdigit() and len(length) < 19 else 0
        found, whole = 0, False

        async def limited() -> Message:
            nonlocal found, whole
            if told > most:
                raise _too_large(told, most)
            if whole:
                return await receive()
            try:
                async with asyncio.timeout(self._options.body_s):
                    message = await receive()
            except TimeoutError as error:
                raise ApiError(
                    408,
                    f"nothing more of the request came for {self._options.body_s:g} s, expected "
                    "all of it; send it again",
                ) from error
            found += len(message.get("body", b""))
            if found > most:
                raise _too_large(found, most)
            whole = not message.get("more_body", False)
            return message

        return limited

    def _tell(
        self,
        scope: Scope,
        status: int,
        seconds: float,
        facts: dict[str, Any],
        error: Exception | None,
    ) -> None:
        """Count a request, and write a line of it."""
        route = getattr(scope.get("route"), "path", "none")
        self._metrics.requests.labels(route, scope["method"], str(status)).inc()
        self._metrics.seconds.labels(route).observe(seconds)
        if status == 429:
            self._metrics.refused.inc()
        client = scope.get("client")
        line = {
            "request_id": scope["state"]["request_id"],
            "method": scope["method"],
            "path": scope["path"],
            "status": status,
            "ms": round(seconds * 1000, 2),
            "client": client[0] if client else None,
            **facts,
        }
        quiet = scope["path"] in OPEN or scope["path"] == "/metrics"
        level = logging.ERROR if error else logging.DEBUG if quiet else logging.INFO
        logger.log(level, "request", exc_info=error, extra={FACTS: line})


def _too_large(found: int, most: int) -> ApiError:
    """The refusal of a request that is too long."""
    return ApiError(
        413,
        f"the request has {found:,} bytes or more, expected at most {most:,}; send less at once",
    )


async def _answer(send: Send, refusal: ApiError, request_id: str) -> None:
    """Send a refusal."""
    body = refusal.body(request_id)
    headers = {**refusal.headers, "content-length": str(len(body))}
    await send(
        {
            "type": "http.response.start",
            "status": refusal.status,
            "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
        }
    )
    await send({"type": "http.response.body", "body": body})
