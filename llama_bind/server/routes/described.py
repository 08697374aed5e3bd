"""What several routes share: their words for /openapi.json, how a stream is sent, the names in answers.

Not for: what they do.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncIterable, Mapping, MutableMapping
from typing import Any

from pydantic import BaseModel
from starlette.requests import Request

from llama_bind.lib._pin import COMMIT, VERSION
from llama_bind.server.body import Body
from llama_bind.server.replies import error_reply
from llama_bind.server.requests import service_of, settings_of
from llama_bind.server.schemas.base import request_body
from llama_bind.server.sse import EventStream, data_event

__all__ = ["FINGERPRINT", "described", "event_stream", "model_name"]

FINGERPRINT = f"b{VERSION}-{COMMIT[:9]}"
"""Which llama.cpp computes: OpenAI's system_fingerprint, llama-server's build."""

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": ["string", "null"]},
            },
        }
    },
}


def described(
    summary: str,
    body: type[BaseModel] | None = None,
    *,
    stream: bool = False,
    error: Mapping[str, Any] = ERROR_SCHEMA,
    media: str = "application/json",
) -> dict[str, Any]:
    """Arguments of a route for its documentation; `error`: the schema of its errors; `media`: what an answer is."""
    content: dict[str, Any] = {media: {"schema": {}}}
    if stream:
        content["text/event-stream"] = {"schema": {"type": "string"}}
    failed = {"description": "An error.", "content": {"application/json": {"schema": error}}}
    found: dict[str, Any] = {
        "summary": summary,
        "responses": {200: {"description": "The answer.", "content": content}, "4XX": failed, "5XX": failed},
    }
    if body is not None:
        found["openapi_extra"] = request_body(body)
    return found


def event_stream(
    request: Request, chunks: AsyncIterable[Any], headers: dict[str, str], opening: int = 0
) -> EventStream:
    """Chunks in OpenAI's shape as a stream; `opening` of them say nothing yet."""
    server = settings_of(request).server
    return EventStream(
        chunks,
        frame=_frame,
        refused=functools.partial(error_reply, retry_after=server.retry_after),
        opening=opening,
        comments=server.keep_alive_comments,
        headers=headers,
    )


def _frame(chunk: MutableMapping[str, Any]) -> bytes:
    chunk["system_fingerprint"] = FINGERPRINT
    return data_event(chunk)


def model_name(request: Request, body: Body) -> str:
    """What the answer calls the model: as the request did, so that a client finds its own name again."""
    return body.value.get("model") or service_of(request).names[0]
