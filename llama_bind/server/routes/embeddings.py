"""POST /v1/embeddings and /v1/rerank: vectors and scores. Not for: generating."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.aio import AsyncLlama
from llama_bind.server.body import Body, read_body
from llama_bind.server.errors import INVALID, ApiError
from llama_bind.server.native.prompts import read_prompt, read_text, split_prompts
from llama_bind.server.replies import Reply, unless_gone
from llama_bind.server.requests import call_options, model_for, settings_of
from llama_bind.server.routes.described import described, model_name
from llama_bind.server.schemas.embeddings import EMBEDDING_OPTIONS, RERANK_OPTIONS, EmbeddingRequest, RerankRequest
from llama_bind.server.written import rows_reply

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["embeddings"])
    router.add_api_route("/v1/embeddings", embed, methods=["POST"], **described("Embed texts", EmbeddingRequest))
    router.add_api_route("/v1/rerank", rank, methods=["POST"], **described("Rank documents", RerankRequest))
    for path in ("/rerank", "/reranking", "/v1/reranking"):
        router.add_api_route(path, rank, methods=["POST"], include_in_schema=False)
    return router


async def embed(request: Request) -> Response:
    """Embed texts; vectors have length 1 unless `normalize` is false."""
    body = await read_body(request, EmbeddingRequest, settings_of(request).server.max_body_bytes)
    return await answer(request, body, await model_for(request, body))


async def answer(request: Request, body: Body, llm: AsyncLlama) -> Response:
    """OpenAI's answer to a body."""
    given = body.value.get("input")
    if not given:
        raise ApiError(400, INVALID, "invalid_value", "input must not be empty.", param="input")
    if isinstance(given, list) and not any(isinstance(item, int) for item in given):
        _check_count(request, given, "input")
    if isinstance(given, dict) or _is_mixed(given):
        given = texts_of(given, llm, settings_of(request).server.max_inputs, "input")
    options: dict[str, Any] = {"normalize": True, **call_options(request, body, EMBEDDING_OPTIONS)}
    work = llm.create_embedding(given, model_name(request, body), **options)
    result = await unless_gone(request.receive, work)
    rows = result["data"]
    return await rows_reply(lambda: result, len(rows) * len(rows[0]["embedding"]), body.headers)


def _is_mixed(given: list[Any]) -> bool:
    """Whether something is in one of llama-server's forms: an object, or texts and token ids in one list."""
    if isinstance(given, str):
        return False
    lists = [given, *(item for item in given if isinstance(item, list))]
    kinds = [{type(item) for item in one} for one in lists]
    return dict in kinds[0] or any({str, int} <= kind for kind in kinds)


def texts_of(given: Any, llm: AsyncLlama, limit: int, param: str) -> list[str | list[int]]:
    """Texts in llama-server's forms, each as a text or its token ids.

    Raises:
        ApiError, InputError, TokenError, UnsupportedError: see ``native.prompts``.
    """
    reader = llm._session.prompts
    found: list[str | list[int]] = []
    for item in split_prompts(given, limit, param)[0]:
        text = read_text(item, param)
        if isinstance(text, str):
            found.append(text)
        else:
            found.append(read_prompt(text, reader, param) if text else [])
    return found


async def rank(request: Request) -> Response:
    """Rank documents for a query; in the shape of Jina, or with `texts` of Text Embeddings Inference."""
    body = await read_body(request, RerankRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    plain = body.value.get("documents") is None
    documents = body.value.get("texts") if plain else body.value["documents"]
    if not documents:
        raise ApiError(400, INVALID, "missing_required_parameter", "documents is missing or empty.", param="documents")
    _check_count(request, documents, "documents")
    options = call_options(request, body, RERANK_OPTIONS)
    work = llm.rerank(body.value["query"], documents, model=model_name(request, body), **options)
    result: Any = await unless_gone(request.receive, work)
    return Reply(_plain(result, body, documents) if plain else result, headers=body.headers)


def _plain(result: dict[str, Any], body: Body, texts: list[str]) -> list[dict[str, Any]]:
    with_text = body.value.get("return_text") is True
    return [
        {"index": r["index"], "score": r["relevance_score"], **({"text": texts[r["index"]]} if with_text else {})}
        for r in result["results"]
    ]


def _check_count(request: Request, items: list[Any], param: str) -> None:
    limit = settings_of(request).server.max_inputs
    if len(items) > limit:
        message = f"{len(items)} texts; this server takes at most {limit} in one request."
        raise ApiError(400, INVALID, "limit_exceeded", message, param=param)
