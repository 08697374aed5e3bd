"""/v1/responses/{id}: stored responses fetched, streamed again, listed, cancelled, deleted.

A response is there for the API key that asked for it, and for no other. Not for: making responses (``responses``).
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.server.errors import INVALID, NOT_FOUND, ApiError
from llama_bind.server.gate import caller_of
from llama_bind.server.replies import Reply
from llama_bind.server.requests import settings_of
from llama_bind.server.responses.keeper import Keeper
from llama_bind.server.responses.store import Record
from llama_bind.server.routes.described import described
from llama_bind.server.sse import EventStream

__all__ = ["add_to", "event_stream", "keeper_of"]

MOST_ITEMS = 100
ITEMS = 20
TRUE = ("true", "True", "1")


def add_to(router: APIRouter) -> None:
    """Add these paths to the family's router."""
    for route, path, method, summary in (
        (fetch, "", "GET", "A stored response"),
        (delete, "", "DELETE", "Delete a stored response"),
        (cancel, "/cancel", "POST", "Cancel a response in the background"),
        (input_items, "/input_items", "GET", "What a stored response was given"),
    ):
        full = "/responses/{response_id}" + path
        router.add_api_route("/v1" + full, route, methods=[method], **described(summary))
        router.add_api_route(full, route, methods=[method], include_in_schema=False)


def keeper_of(request: Request) -> Keeper:
    """What the app that got the request keeps."""
    state = request.app.state
    if not hasattr(state, "responses"):
        state.responses = Keeper(settings_of(request).server)
    keeper: Keeper = state.responses
    return keeper


def event_stream(request: Request, frames: AsyncIterable[bytes], headers: dict[str, str] | None = None) -> EventStream:
    """Events that are bytes already."""
    comments = settings_of(request).server.keep_alive_comments
    return EventStream(frames, frame=bytes, end=b"", comments=comments, headers=headers)


def _record(request: Request, name: str) -> Record:
    record = keeper_of(request).store.get(caller_of(request.scope).key, name)
    if record is None:
        raise ApiError(404, NOT_FOUND, "not_found", f"There is no stored response with the id {name!r:.80}.")
    return record


async def fetch(request: Request, response_id: str) -> Response:
    """A stored response; with ?stream=true the events of one in the background, from ?starting_after on."""
    record = _record(request, response_id)
    if request.query_params.get("stream") not in TRUE:
        return Reply(record.response)
    if record.job is None:
        message = "Only responses that were made with background=true can be streamed again."
        raise ApiError(400, INVALID, "invalid_value", message, param="stream")
    return event_stream(request, record.job.read(_number(request, "starting_after", -1, low=0) + 1))


async def delete(request: Request, response_id: str) -> Response:
    """Delete a stored response; one that is being generated ends. What goes on from it has a copy of its items."""
    record = _record(request, response_id)
    await keeper_of(request).drop(record)
    return Reply({"id": response_id, "object": "response", "deleted": True})


async def cancel(request: Request, response_id: str) -> Response:
    """Cancel a response in the background; one that has ended stays as it is."""
    record = _record(request, response_id)
    if record.job is None:
        message = "Only responses that were made with background=true can be cancelled."
        raise ApiError(400, INVALID, "invalid_value", message)
    await record.job.cancel()
    return Reply(record.response)


async def input_items(request: Request, response_id: str) -> Response:
    """The items that a response was given, those of the responses before it included; newest first by default."""
    record = _record(request, response_id)
    order = request.query_params.get("order", "desc")
    if order not in ("asc", "desc"):
        raise ApiError(400, INVALID, "invalid_value", "order is asc or desc.", param="order")
    limit = _number(request, "limit", ITEMS, low=1, high=MOST_ITEMS)
    items = list(record.context if order == "asc" else reversed(record.context))
    after = request.query_params.get("after")
    if after is not None:
        place = next((n for n, item in enumerate(items) if item["id"] == after), None)
        if place is None:
            raise ApiError(400, INVALID, "invalid_value", f"There is no item {after!r:.80} here.", param="after")
        items = items[place + 1 :]
    page: list[dict[str, Any]] = items[:limit]
    first, last = (page[0]["id"], page[-1]["id"]) if page else ("", "")
    found = {"object": "list", "data": page, "first_id": first, "last_id": last, "has_more": len(items) > limit}
    return Reply(found)


def _number(request: Request, name: str, default: int, *, low: int, high: int = 2**53) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not text.isascii() or not text.isdigit() or len(text) > 16 or not low <= int(text) <= high:
        message = f"{name} is a whole number from {low} to {high}."
        raise ApiError(400, INVALID, "invalid_value", message, param=name)
    return int(text)
