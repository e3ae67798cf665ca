"""Work for a client, as long as it is there: who goes away cancels its own request alone.

In: a request and a coroutine. Out: what it gives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar, cast

from starlette.requests import ClientDisconnect, Request

from mtml_deploy.serve.service import Service

Answer = TypeVar("Answer")


def service_of(request: Request) -> Service:
    """The service that a request is for."""
    return cast(Service, request.app.state.service)


def facts_of(request: Request) -> dict[str, Any]:
    """What the log line of a request tells; routes add to it."""
    return cast(dict[str, Any], request.state.facts)


async def while_there(request: Request, work: Coroutine[Any, Any, Answer]) -> Answer:
    """What `work` gives; it is cancelled where the client goes away before.

    Args:
        request: its body was read.
        work: for it.

    Raises:
        ClientDisconnect: the client went away.
    """
    doing = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({doing, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not doing.done():
            raise ClientDisconnect
        return doing.result()
    finally:
        gone.cancel()
        if doing.cancel():
            await asyncio.wait({doing})


async def _gone(request: Request) -> None:
    """Return when the client goes away."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
