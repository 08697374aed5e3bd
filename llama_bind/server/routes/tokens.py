"""POST /tokenize, /detokenize, /apply-template, as llama-server has them. Not for: generating."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.aio import AsyncLlama
from llama_bind.reading import in_reader, weight
from llama_bind.server.body import read_body
from llama_bind.server.replies import Reply
from llama_bind.server.requests import call_options, model_for, settings_of
from llama_bind.server.routes.described import described
from llama_bind.server.schemas.chat import OPTIONS
from llama_bind.server.schemas.tokens import DetokenizeRequest, TemplateRequest, TokenizeRequest

__all__ = ["prompt_text", "routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["tokens"])
    router.add_api_route("/tokenize", tokenize, methods=["POST"], **described("Text to tokens", TokenizeRequest))
    router.add_api_route("/detokenize", detokenize, methods=["POST"], **described("Tokens to text", DetokenizeRequest))
    for path in ("/v1/chat/completions/input_tokens", "/chat/completions/input_tokens"):
        shown = path.startswith("/v1")
        about = described("Count the tokens of messages", TemplateRequest)
        router.add_api_route(path, count_chat, methods=["POST"], include_in_schema=shown, **about)
    router.add_api_route(
        "/apply-template", apply_template, methods=["POST"], **described("Messages to a prompt", TemplateRequest)
    )
    return router


async def tokenize(request: Request) -> Response:
    """The tokens of a text, with their pieces where asked for: text, or bytes where a piece is no whole character."""
    body = await read_body(request, TokenizeRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    parse = body.value.get("parse_special") is not False
    add = body.value.get("add_special") is True
    text, pieces = body.value["content"], body.value.get("with_pieces") is True
    tokens = await in_reader(weight(text), _tokens, llm, text, add, parse, pieces)
    return Reply({"tokens": tokens}, headers=body.headers)


def _tokens(llm: AsyncLlama, text: str | list[str | int], add: bool, parse: bool, pieces: bool) -> list[Any]:
    ids = _ids(llm, text, add, parse)
    return [{"id": token, "piece": _piece(llm, token)} for token in ids] if pieces else ids


def _ids(llm: AsyncLlama, content: str | list[str | int], add: bool, parse: bool) -> list[int]:
    """Token ids stand for themselves; a text that comes first is what a text begins with."""
    if isinstance(content, str):
        return llm.tokenize(content, add, parse)
    found: list[int] = []
    for place, part in enumerate(content):
        found += llm.tokenize(part, add and place == 0, parse) if isinstance(part, str) else [part]
    return found


def _piece(llm: AsyncLlama, token: int) -> str | list[int]:
    piece = llm.model.vocab.token_to_piece(token, special=True)
    try:
        return piece.decode("utf-8")
    except UnicodeDecodeError:
        return list(piece)


async def detokenize(request: Request) -> Response:
    """The text of tokens, control tokens included; what is no character is a replacement character."""
    body = await read_body(request, DetokenizeRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    tokens = body.value["tokens"]
    text = await in_reader(len(tokens), llm.detokenize, tokens, None, True)
    return Reply({"content": text.decode("utf-8", "replace")}, headers=body.headers)


async def apply_template(request: Request) -> Response:
    """The prompt that a conversation becomes, without running it."""
    body = await read_body(request, TemplateRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    messages, options = body.value["messages"], call_options(request, body, OPTIONS)
    prompt = await in_reader(weight(messages, options), prompt_text, llm, messages, options)
    return Reply({"prompt": prompt}, headers=body.headers)


async def count_chat(request: Request) -> Response:
    """How many tokens the prompt of a conversation has (llama-server's own)."""
    body = await read_body(request, TemplateRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    messages, options = body.value["messages"], call_options(request, body, OPTIONS)
    chat = await in_reader(weight(messages, options), llm._session.chat, messages, options)
    count = len(chat.requests[0].prompt)
    return Reply({"object": "response.input_tokens", "input_tokens": count}, headers=body.headers)


def prompt_text(llm: AsyncLlama, messages: list[Any], options: dict[str, Any]) -> str:
    """The very tokens that the engine would get, as text; without BOS, which is added again when the text is sent."""
    session = llm._session
    tokens = session.chat(messages, options).requests[0].prompt
    vocab = session.vocab
    if vocab.add_bos and tokens and tokens[0] == vocab.bos:
        tokens = tokens[1:]
    return vocab.detokenize(list(tokens), False, True).decode("utf-8", "replace")
