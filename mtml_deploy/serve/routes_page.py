"""The route of the search page."""

from __future__ import annotations

from functools import cache
from typing import Final

from fastapi import APIRouter, Response
from starlette.responses import HTMLResponse

from mtml_deploy.report.search_page.page import SERVICE_POLICY, service_page

router = APIRouter(include_in_schema=False)

# no page of others may frame it, and what it may do does not hang on its own words alone
_HEADERS: Final = {
    "content-security-policy": f"{SERVICE_POLICY}; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}


@router.get("/", response_class=HTMLResponse)
async def page() -> Response:
    """The page; it holds nothing of the gallery, so it needs no token."""
    return HTMLResponse(_text(), headers=_HEADERS)


@cache
def _text() -> str:
    """The page is the same for all."""
    return service_page()
