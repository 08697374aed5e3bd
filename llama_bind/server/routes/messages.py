"""POST /v1/messages and /v1/messages/count_tokens: Anthropic's API. Not for: its shapes (``anthropic``)."""

from __future__ import annotations

import functools
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.aio import AsyncLlama
from llama_bind.errors import UnsupportedError
from llama_bind.reading import in_reader, weight
from llama_bind.server.anthropic.errors import refusal
from llama_bind.server.anthropic.frames import PING, error_frame, frame
from llama_bind.server.anthropic.request import Asked, read_request
from llama_bind.server.anthropic.shape import OPENING, MessageShape
from llama_bind.server.body import Body, read_body
from llama_bind.server.errors import ApiError
from llama_bind.server.gate import caller_of
from llama_bind.server.replies import Reply, unless_gone
from llama_bind.server.requests import call_options, model_for, settings_of, wants_stream
from llama_bind.server.routes.described import described, model_name
from llama_bind.server.schemas.chat import OPTIONS as CHAT_OPTIONS
from llama_bind.server.schemas.messages import OPTIONS, CountRequest, MessagesRequest
from llama_bind.server.sse import EventStream
from llama_bind.session import Prepared

__all__ = ["routes"]

ERROR_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {
            "type": "object",
            "required": ["type", "message"],
            "properties": {"type": {"type": "string"}, "message": {"type": "string"}},
        },
        "request_id": {"type": "string"},
    },
}


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["messages"])
    told = described("Answer a conversation (Anthropic)", MessagesRequest, stream=True, error=ERROR_SCHEMA)
    router.add_api_route("/v1/messages", create, methods=["POST"], **told)
    told = described("Count the tokens of a conversation (Anthropic)", CountRequest, error=ERROR_SCHEMA)
    router.add_api_route("/v1/messages/count_tokens", count, methods=["POST"], **told)
    return router


async def create(request: Request) -> Response:
    """Answer a conversation (Anthropic's Messages API)."""
    body = await read_body(request, MessagesRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    asked, options = _asked(request, body)
    stream = wants_stream(body)
    options |= {"max_tokens": body.value["max_tokens"], "model": model_name(request, body), "stream": stream}
    prepare = functools.partial(_prepared, llm, asked, options)
    size = weight(asked.messages, options)
    result: Any = await unless_gone(request.receive, llm._answer(prepare, size, stream=stream))
    return _event_stream(request, result, body.headers) if stream else Reply(result, headers=body.headers)


async def count(request: Request) -> Response:
    """Count the tokens that a conversation has as a prompt, without computing it."""
    body = await read_body(request, CountRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    asked, options = _asked(request, body)
    work = in_reader(weight(asked.messages, options), llm._session.chat, asked.messages, options)
    prepared = await unless_gone(request.receive, work)
    return Reply({"input_tokens": len(prepared.requests[0].prompt)}, headers=body.headers)


def _asked(request: Request, body: Body) -> tuple[Asked, dict[str, Any]]:
    """What a body asks for, and the options of the call."""
    asked = read_request(body.value)
    given = Body({**body.of(OPTIONS), **asked.options}, body.headers, body.size)
    return asked, call_options(request, given, CHAT_OPTIONS)


def _prepared(llm: AsyncLlama, asked: Asked, options: dict[str, Any]) -> Prepared[Any]:
    """The library's chat, with an answer in Anthropic's shape. Runs in a worker thread."""
    session = llm._session
    if session.params.chat_handler is not None:
        raise UnsupportedError("a model with a chat_handler answers at /v1/chat/completions only")
    chat = session.chat(asked.messages, options)
    shape = MessageShape(
        options["model"],
        len(chat.requests[0].prompt),
        reader=chat.shape.reader,
        stops=asked.options.get("stop", ()),
        limit=options["max_tokens"],
        show_thinking=asked.show_thinking,
    )
    return Prepared(chat.requests, shape, True)


def _event_stream(request: Request, events: Any, headers: dict[str, str]) -> EventStream:
    server, caller = settings_of(request).server, caller_of(request.scope)

    def refused(error: ApiError) -> Response:
        return refusal(request.scope, error, server.retry_after, caller.id)

    return EventStream(
        events,
        frame=frame,
        failed=functools.partial(error_frame, request_id=caller.id),
        refused=refused,
        opening=OPENING,
        end=b"",
        comment=PING,
        comments=server.keep_alive_comments,
        headers=headers,
    )
