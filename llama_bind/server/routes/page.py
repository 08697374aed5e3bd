"""GET /: the chat page and its files, with fingerprints so that a browser fetches each once.

Not for: what is in them (``chat_page``), or for API clients, who ask below /v1.
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.server.chat_page import HEADERS, INDEX, PREFIX, page_files
from llama_bind.server.errors import NOT_FOUND, ApiError
from llama_bind.server.requests import settings_of

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter()
    router.add_api_route("/", page, methods=["GET", "HEAD"], include_in_schema=False)
    router.add_api_route(PREFIX + "{name}", file, methods=["GET", "HEAD"], include_in_schema=False)
    return router


async def page(request: Request) -> Response:
    """The page itself."""
    return _sent(request, INDEX)


async def file(request: Request, name: str) -> Response:
    """One of its files."""
    return _sent(request, None if name == INDEX else name)  # whose addresses are those of /


def _sent(request: Request, name: str | None) -> Response:
    found = page_files().get(name) if name and settings_of(request).server.chat_page else None
    if found is None:
        raise ApiError(404, NOT_FOUND, "not_found", "There is nothing at this path.")
    headers = {**HEADERS, "ETag": found.etag}
    known = request.headers.get("if-none-match", "")
    if found.etag in known or known.strip() == "*":
        return Response(status_code=304, headers=headers)
    return Response(found.content, headers={**headers, "Content-Type": found.media_type})
