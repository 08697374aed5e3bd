"""GET /v1/models, POST /models/load and /models/unload: what is served, loaded or not; as llama-server's router has it.

Not for: when models are loaded and unloaded by themselves (``models`` of the server).
"""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.server.anthropic.errors import in_its_shape
from llama_bind.server.anthropic.models import model_info, model_page
from llama_bind.server.body import Body, read_body
from llama_bind.server.errors import PERMISSION, ApiError
from llama_bind.server.gate import caller_of
from llama_bind.server.replies import Reply
from llama_bind.server.requests import models_of, settings_of
from llama_bind.server.routes.described import described
from llama_bind.server.schemas.models import ModelRequest
from llama_bind.server.service import Service

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["models"])
    router.add_api_route("/v1/models", every, methods=["GET"], **described("The models"))
    router.add_api_route("/models", every, methods=["GET"], include_in_schema=False)
    router.add_api_route("/v1/models/{name:path}", one, methods=["GET"], **described("One model"))
    router.add_api_route("/models/load", load, methods=["POST"], **described("Load a model", ModelRequest))
    router.add_api_route("/models/unload", unload, methods=["POST"], **described("Unload a model", ModelRequest))
    return router


async def every(request: Request) -> Response:
    """The models that are served, loaded or not. Anthropic's clients get their own shape."""
    cards = [_card(service) for service in models_of(request).services]
    if in_its_shape(request.scope):
        return Reply(model_page(cards, request.query_params))
    return Reply({"object": "list", "data": cards})


async def one(request: Request, name: str) -> Response:
    """One model, by any of its names."""
    card = {**_card(models_of(request).named(name)), "id": name}
    return Reply(model_info(card) if in_its_shape(request.scope) else card)


async def load(request: Request) -> Response:
    """Begin to load a model; `GET /v1/models` says how far it is. Needs an admin's key where there are such."""
    service, body = await _named(request)
    if service.llm is None:
        models_of(request).begin(service)
    return Reply({"success": True}, headers=body.headers)


async def unload(request: Request) -> Response:
    """Unload a model, which the next request for it loads again. While requests use it a 409; `force` ends them."""
    service, body = await _named(request)
    await models_of(request).unload(service, force=body.value.get("force") is True)
    return Reply({"success": True}, headers=body.headers)


async def _named(request: Request) -> tuple[Service, Body]:
    admins: frozenset[str] = request.app.state.admins
    if admins and caller_of(request.scope).key not in admins:
        raise ApiError(403, PERMISSION, "not_an_admin", "This key may not load or unload models.")
    body = await read_body(request, ModelRequest, settings_of(request).server.max_body_bytes)
    return models_of(request).named(body.value["model"]), body


def _card(service: Service) -> dict[str, Any]:
    names = service.names
    return {
        "id": names[0],
        "object": "model",
        "created": service.created,
        "owned_by": "llama_bind",
        "aliases": list(names),
        "status": _status(service),
        "meta": service.facts(),
    }


def _status(service: Service) -> dict[str, Any]:
    state = service.state
    if state == "failed":
        return {"value": "unloaded", "failed": True}  # llama-server's words
    if state == "loading":
        return {"value": state, "progress": round(service.progress, 3)}
    return {"value": state}
