"""GET /v1/models: what is served. Not for: loading or unloading."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.server.replies import Reply
from llama_bind.server.requests import service_of
from llama_bind.server.routes.described import described
from llama_bind.server.service import Service

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["models"])
    router.add_api_route("/v1/models", every, methods=["GET"], **described("The models"))
    router.add_api_route("/models", every, methods=["GET"], include_in_schema=False)
    router.add_api_route("/v1/models/{name:path}", one, methods=["GET"], **described("One model"))
    return router


async def every(request: Request) -> Response:
    """The models that are served, loaded or not."""
    return Reply({"object": "list", "data": [_card(service_of(request))]})


async def one(request: Request, name: str) -> Response:
    """One model, by any of its names."""
    service = service_of(request)
    service.named(name)
    return Reply({**_card(service), "id": name})


def _card(service: Service) -> dict[str, Any]:
    names = service.names
    return {
        "id": names[0],
        "object": "model",
        "created": service.created,
        "owned_by": "llama_bind",
        "aliases": list(names),
        "meta": service.facts(),
    }
