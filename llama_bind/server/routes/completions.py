"""POST /v1/completions: texts continued. Not for: conversations (``chat``)."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.prompts import Prompt
from llama_bind.server.body import Body, read_body
from llama_bind.server.errors import INVALID, ApiError
from llama_bind.server.replies import Reply, unless_gone
from llama_bind.server.requests import call_options, model_for, settings_of, wants_stream
from llama_bind.server.routes.described import FINGERPRINT, described, event_stream, model_name
from llama_bind.server.schemas.completions import OPTIONS, CompletionRequest
from llama_bind.server.several import joined, merged

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["completions"])
    router.add_api_route(
        "/v1/completions", create, methods=["POST"], **described("Continue texts", CompletionRequest, stream=True)
    )
    router.add_api_route("/completions", create, methods=["POST"], include_in_schema=False)
    return router


async def create(request: Request) -> Response:
    """Continue one text or several (OpenAI's legacy completions)."""
    body = await read_body(request, CompletionRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    prompts = _prompts(body, settings_of(request).server.max_prompts)
    options = {**call_options(request, body, OPTIONS), "model": model_name(request, body)}
    stream = wants_stream(body)
    options["stream"] = stream
    calls = [llm.create_completion(prompt, **options) for prompt in prompts]
    results = await unless_gone(request.receive, _all(calls))
    if not stream:
        return Reply({**joined(results), "system_fingerprint": FINGERPRINT}, headers=body.headers)
    chunks = results[0] if len(results) == 1 else merged(results, options.get("n") or 1)
    return event_stream(request, chunks, body.headers)


async def _all(calls: list[Any]) -> list[Any]:
    """The results of all calls, or the first error; then the others are cancelled."""
    tasks = [asyncio.ensure_future(call) for call in calls]
    try:
        return await asyncio.gather(*tasks)
    except BaseException:
        for task in tasks:
            task.cancel()
        for result in await asyncio.gather(*tasks, return_exceptions=True):
            if hasattr(result, "aclose"):
                await result.aclose()
        raise


def _prompts(body: Body, limit: int) -> list[Prompt]:
    given = body.value["prompt"]
    if isinstance(given, str) or (given and _are_ids(given)):
        return [given]
    if not given:
        raise ApiError(400, INVALID, "invalid_value", "prompt must not be an empty list.", param="prompt")
    for index, item in enumerate(given):
        if not isinstance(item, str) and not (isinstance(item, list) and _are_ids(item)):
            message = f"prompt.{index}: must be a text or a list of token ids."
            raise ApiError(400, INVALID, "invalid_type", message, param="prompt")
    if len(given) > limit:
        message = f"{len(given)} prompts; this server takes at most {limit} in one request."
        raise ApiError(400, INVALID, "limit_exceeded", message, param="prompt")
    return list(given)


def _are_ids(items: list[Any]) -> bool:
    return set(map(type, items)) <= {int}  # there may be millions, and true is not 1
