"""POST /completion, /infill, /embedding, /embeddings, as llama-server has them beside OpenAI's endpoints.

Not for: ``/completions``, which is OpenAI's here, or what the bodies mean (``server.native``).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.aio import AsyncLlama, AsyncStream
from llama_bind.embeddings import Asker
from llama_bind.reading import in_reader, weight
from llama_bind.server.body import Body, read_body
from llama_bind.server.errors import INVALID, ApiError
from llama_bind.server.native.options import Wanted, generation_settings, translated
from llama_bind.server.native.prompts import read_prompts
from llama_bind.server.native.shape import NativeShape
from llama_bind.server.replies import Reply, error_reply, unless_gone
from llama_bind.server.requests import call_options, model_for, settings_of
from llama_bind.server.routes import embeddings
from llama_bind.server.routes.described import described, model_name
from llama_bind.server.schemas.embeddings import VECTOR_FIELDS
from llama_bind.server.schemas.native import (
    INFILL_OPTIONS,
    OPTIONS,
    NativeEmbeddingRequest,
    NativeInfillRequest,
    NativeRequest,
)
from llama_bind.server.sse import EventStream
from llama_bind.server.written import rows_reply

__all__ = ["routes"]

Floats = npt.NDArray[np.float32]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["llama-server"])
    router.add_api_route(
        "/completion", complete, methods=["POST"], **described("Continue texts", NativeRequest, stream=True)
    )
    router.add_api_route(
        "/infill", infill, methods=["POST"], **described("Fill a gap", NativeInfillRequest, stream=True)
    )
    router.add_api_route("/embedding", embed, methods=["POST"], **described("Embed texts", NativeEmbeddingRequest))
    router.add_api_route("/embeddings", embed_either, methods=["POST"], include_in_schema=False)
    return router


# -- texts -------------------------------------------------------------------------------------------------------


async def complete(request: Request) -> Response:
    """Continue one text or several (llama-server's own shape)."""
    body = await read_body(request, NativeRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    limit = settings_of(request).server.max_prompts

    def prepare(options: Mapping[str, Any]) -> list[Any]:
        session = llm._session
        prompts = read_prompts(body.value["prompt"], session.prompts, limit)
        return [session.completion(prompt, options) for prompt in prompts]

    return await _answer(request, body, llm, OPTIONS, prepare)


async def infill(request: Request) -> Response:
    """Fill the gap between a prefix and a suffix (llama-server's own shape)."""
    body = await read_body(request, NativeInfillRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    prefix, suffix, extra = body.value["input_prefix"], body.value["input_suffix"], body.value.get("input_extra")
    for index, file in enumerate(extra or ()):
        if not isinstance(file.get("text"), str) or not isinstance(file.get("filename", ""), str):
            message = f"input_extra[{index}] must be an object with text and filename, both texts."
            raise ApiError(400, INVALID, "invalid_value", message, param="input_extra")

    def prepare(options: Mapping[str, Any]) -> list[Any]:
        return [llm._session.infill(prefix, suffix, {**options, "extra": extra})]

    return await _answer(request, body, llm, INFILL_OPTIONS, prepare)


async def _answer(
    request: Request,
    body: Body,
    llm: AsyncLlama,
    names: frozenset[str],
    prepare: Callable[[Mapping[str, Any]], list[Any]],
) -> Response:
    """Run what `prepare` makes of a body's options, all of it at once."""
    wanted, session = Wanted.of(body.value), llm._session
    own = Body(translated(body.value, session.prompts), body.headers)
    options = {**call_options(request, own, names), "stream": wanted.stream or wanted.watches}
    prepared = await unless_gone(request.receive, in_reader(weight(body.value), prepare, options))
    requests = [one for part in prepared for one in part.requests]
    grammar = str(options.get("grammar") or "")
    shape = NativeShape(
        requests,
        [session.vocab.detokenize(list(one.prompt), False, True).decode("utf-8", "replace") for one in requests],
        [generation_settings(one, wanted, session.vocab, grammar) for one in requests],
        model_name(request, body),
        wanted,
        llm.n_ctx(),
    )
    every = dataclasses.replace(prepared[0], requests=requests, shape=shape, usage=False)
    running = llm._start(every)
    shape.stop = lambda index: running.handles[index].cancel()
    if wanted.stream:
        server = settings_of(request).server
        return EventStream(
            AsyncStream(every, running),
            refused=functools.partial(error_reply, retry_after=server.retry_after),
            end=b"",
            comments=server.keep_alive_comments,
            headers=body.headers,
        )

    async def collect() -> list[dict[str, Any]]:
        while running.left:
            shape.add(*await running.next())
        return shape.result()

    results = await unless_gone(request.receive, collect())
    return Reply(results[0] if len(results) == 1 else results, headers=body.headers)


# -- vectors -----------------------------------------------------------------------------------------------------


async def embed(request: Request) -> Response:
    """Embed texts (llama-server's own shape): a list with an object for each, which has a list of vectors."""
    body = await read_body(request, NativeEmbeddingRequest, settings_of(request).server.max_body_bytes)
    return await _embedded(request, body, await model_for(request, body))


async def embed_either(request: Request) -> Response:
    """OpenAI's answer, but where it has no shape for what is asked: `content`, or a vector for each token."""
    body = await read_body(request, NativeEmbeddingRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    if body.value.get("content") is not None or llm._session.embeddings.pooling == "none":
        return await _embedded(request, body, llm)
    return await embeddings.answer(request, body, llm)


async def _embedded(request: Request, body: Body, llm: AsyncLlama) -> Response:
    param = "content" if body.value.get("content") is not None else "input"
    given = body.value.get(param)
    if given is None:
        raise ApiError(400, INVALID, "missing_required_parameter", "content is missing.", param="content")
    texts = embeddings.texts_of(given, llm, settings_of(request).server.max_inputs, param)
    asker = Asker.of(call_options(request, body, frozenset(VECTOR_FIELDS)), "embedding")
    vectors = await unless_gone(request.receive, _vectors(llm, texts, asker))
    by_token = llm._session.embeddings.pooling == "none"
    norm = body.value.get("embd_normalize")

    def rows() -> list[dict[str, Any]]:
        found = [vector if by_token else _scaled(vector, 2 if norm is None else norm)[None] for vector in vectors]
        return [{"index": index, "embedding": row.tolist()} for index, row in enumerate(found)]

    return await rows_reply(rows, sum(vector.size for vector in vectors), body.headers)


async def _vectors(llm: AsyncLlama, texts: list[Any], asker: Asker) -> list[Floats]:
    call = await in_reader(weight(texts), llm._session.embeddings.read, texts, asker)
    return call.vectors(await llm._computed(call.requests))


def _scaled(vector: Floats, norm: int) -> Floats:
    """A vector as ``common_embd_normalize`` (vendor/llama.cpp, common/common.cpp) scales it."""
    if norm < 0:
        return vector
    size = np.abs(vector.astype(np.float64))
    if norm == 0:
        length = size.max() / 32760.0
    elif norm == 2:
        length = float(np.sqrt((size**2).sum()))
    else:
        length = float((size**norm).sum() ** (1.0 / norm))
    scaled: Floats = (vector / length if length > 0 else np.zeros_like(vector)).astype(np.float32)
    return scaled
