"""POST /extras/tokenize, /extras/tokenize/count, /extras/detokenize, as llama-cpp-python's server has them.

Not for: llama-server's /tokenize and /detokenize (``tokens``).
"""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.reading import in_reader
from llama_bind.server.body import Body, read_body
from llama_bind.server.replies import Reply
from llama_bind.server.requests import model_for, settings_of
from llama_bind.server.routes.described import described
from llama_bind.server.schemas.tokens import DetokenizeRequest, InputRequest

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(prefix="/extras", tags=["llama-cpp-python"])
    router.add_api_route("/tokenize", tokenize, methods=["POST"], **described("Text to tokens", InputRequest))
    router.add_api_route("/tokenize/count", count, methods=["POST"], **described("Count tokens", InputRequest))
    router.add_api_route("/detokenize", detokenize, methods=["POST"], **described("Tokens to text", DetokenizeRequest))
    return router


async def _tokens(request: Request) -> tuple[list[int], Body]:
    body = await read_body(request, InputRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    text = body.value["input"]
    return await in_reader(len(text), llm.tokenize, text, True, True), body


async def tokenize(request: Request) -> Response:
    """The tokens of a text, those that begin it included; names of control tokens count as those tokens."""
    tokens, body = await _tokens(request)
    return Reply({"tokens": tokens}, headers=body.headers)


async def count(request: Request) -> Response:
    """How many tokens that are."""
    tokens, body = await _tokens(request)
    return Reply({"count": len(tokens)}, headers=body.headers)


async def detokenize(request: Request) -> Response:
    """The text of tokens without control tokens; what is no character is a replacement character."""
    body = await read_body(request, DetokenizeRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    tokens = body.value["tokens"]
    text = await in_reader(len(tokens), llm.detokenize, tokens)
    return Reply({"text": text.decode("utf-8", "replace")}, headers=body.headers)
