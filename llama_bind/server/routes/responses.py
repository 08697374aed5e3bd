"""POST /v1/responses and /v1/responses/input_tokens: OpenAI's Responses API.

Not for: what is stored (``stored_responses``), or items and events (``server.responses``).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from llama_bind.errors import LlamaBindError
from llama_bind.reading import in_reader, weight
from llama_bind.server.body import Body, read_body
from llama_bind.server.errors import ApiError
from llama_bind.server.gate import caller_of
from llama_bind.server.replies import Reply, error_reply, unless_gone
from llama_bind.server.requests import call_options, model_for, settings_of, wants_stream
from llama_bind.server.responses.frames import frame, frames
from llama_bind.server.responses.request import read_request, retold
from llama_bind.server.responses.shape import OPENING
from llama_bind.server.responses.turn import Turn
from llama_bind.server.responses.writer import ResponseWriter
from llama_bind.server.routes import stored_responses
from llama_bind.server.routes.described import described, model_name
from llama_bind.server.routes.stored_responses import event_stream, keeper_of
from llama_bind.server.schemas.responses import OPTIONS, InputTokensRequest, ResponsesRequest
from llama_bind.server.sse import EventStream

__all__ = ["routes"]


def routes() -> APIRouter:
    """The router."""
    router = APIRouter(tags=["responses"], lifespan=_life)
    told = described("Answer (OpenAI's Responses API)", ResponsesRequest, stream=True)
    router.add_api_route("/v1/responses", create, methods=["POST"], **told)
    router.add_api_route("/responses", create, methods=["POST"], include_in_schema=False)
    told = described("Count the tokens of an input (OpenAI's Responses API)", InputTokensRequest)
    router.add_api_route("/v1/responses/input_tokens", count, methods=["POST"], **told)
    router.add_api_route("/responses/input_tokens", count, methods=["POST"], include_in_schema=False)
    stored_responses.add_to(router)
    return router


@contextlib.asynccontextmanager
async def _life(app: FastAPI) -> AsyncIterator[None]:
    yield
    keeper = getattr(app.state, "responses", None)
    if keeper is not None:
        await keeper.close()


async def create(request: Request) -> Response:
    """Answer an input."""
    body = await read_body(request, ResponsesRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    keeper, stream = keeper_of(request), wants_stream(body)
    with _their_names():
        turn = _turn(request, body, llm)
        asked = turn.asked
        writer = ResponseWriter(
            _told(turn), model_name(request, body), logprobs=asked.logprobs, seal=asked.seal, queued=asked.background
        )

        def ended() -> None:
            if asked.store and not asked.background:
                keeper.keep(turn.record(writer.response))

        prepare = functools.partial(turn.prepare, writer, ended)
        as_stream = stream or asked.background
        work = llm._answer(prepare, _weight(turn), stream=as_stream)
        result: Any = await unless_gone(request.receive, work)
    if asked.background:
        account = caller_of(request.scope).account
        job = await keeper.run(turn.record(writer.response), writer, result, account)
        if stream:
            return event_stream(request, job.read(), body.headers)
        return Reply(writer.snapshot(), headers=body.headers)
    return _stream(request, writer, result, ended, body) if stream else Reply(result, headers=body.headers)


async def count(request: Request) -> Response:
    """Count the tokens that an input has as a prompt, without computing it."""
    body = await read_body(request, InputTokensRequest, settings_of(request).server.max_body_bytes)
    llm = await model_for(request, body)
    with _their_names():
        turn = _turn(request, body, llm)
        chat = await unless_gone(request.receive, in_reader(_weight(turn), turn.chat))
    n_tokens = len(chat.requests[0].prompt)
    return Reply({"object": "response.input_tokens", "input_tokens": n_tokens}, headers=body.headers)


@contextlib.contextmanager
def _their_names() -> Iterator[None]:
    """What is wrong with a request is told by the names that its fields have here."""
    try:
        yield
    except LlamaBindError as error:
        told = retold(error)
        if told.status >= 500:
            raise
        raise told from error


def _turn(request: Request, body: Body, llm: Any) -> Turn:
    keeper = keeper_of(request)
    asked = read_request(body.value, can_store=keeper.can_store)
    options = call_options(request, Body(asked.options, body.headers, body.size), OPTIONS) | {"stream": True}
    return Turn.of(llm, body.value, asked, options, keeper.store, caller_of(request.scope).key)


def _weight(turn: Turn) -> int:
    size = weight(turn.given, turn.options)
    return size if turn.before is None else size + turn.before.context_size


def _told(turn: Turn) -> dict[str, Any]:
    """What the response says of the request, with what is in force where it said nothing."""
    defaults, options = turn.llm._session.defaults, turn.options
    sampling = {name: options.get(name, getattr(defaults, name)) for name in ("temperature", "top_p")}
    return {**turn.asked.told, **sampling}


def _stream(request: Request, writer: ResponseWriter, events: Any, ended: Any, body: Body) -> EventStream:
    server = settings_of(request).server

    def failed(error: ApiError) -> bytes:
        told = frames(writer.failed(retold(error)))
        ended()
        return told

    return EventStream(
        events,
        frame=frame,
        failed=failed,
        refused=functools.partial(error_reply, retry_after=server.retry_after),
        opening=OPENING,
        end=b"",
        comments=server.keep_alive_comments,
        headers=body.headers,
    )
