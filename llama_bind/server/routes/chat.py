"""POST /v1/chat/completions: conversations answered. Not for: plain texts (``completions``)."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.reading import in_reader, weight
from llama_bind.server.body import read_body
from llama_bind.server.errors import INVALID, ApiError
from llama_bind.server.replies import Reply, unless_gone
from llama_bind.server.requests import call_options, model_for, settings_of, wants_stream
from llama_bind.server.routes.described import FINGERPRINT, described, event_stream, model_name
from llama_bind.server.routes.tokens import prompt_text
from llama_bind.server.schemas.chat import OPTIONS, ChatRequest

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["chat"])
    router.add_api_route(
        "/v1/chat/completions", create, methods=["POST"], **described("Answer a conversation", ChatRequest, stream=True)
    )
    router.add_api_route("/chat/completions", create, methods=["POST"], include_in_schema=False)
    return router


async def create(request: Request) -> Response:
    """Answer a conversation (OpenAI's chat completions)."""
    body = await read_body(request, ChatRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    if body.value.get("add_generation_prompt") is True and body.value.get("continue_final_message") is True:
        message = "add_generation_prompt opens a turn, continue_final_message goes on with the last; ask for one."
        raise ApiError(400, INVALID, "invalid_value", message, param="continue_final_message")
    options = {**call_options(request, body, OPTIONS), "model": model_name(request, body)}
    stream = wants_stream(body)
    options["stream"] = stream
    result: Any = await unless_gone(request.receive, llm.create_chat_completion(body.value["messages"], **options))
    if stream:
        return event_stream(request, result, body.headers, opening=options.get("n") or 1)
    found = {**result, "system_fingerprint": FINGERPRINT}
    if body.value.get("verbose") is True:  # as llama-server: what the model was given
        messages = body.value["messages"]
        prompt = await in_reader(weight(messages, options), prompt_text, llm, messages, {**options, "stream": False})
        found["__verbose"] = {"prompt": prompt}
    return Reply(found, headers=body.headers)
