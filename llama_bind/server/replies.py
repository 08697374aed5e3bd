"""Answers: JSON written once, errors in their shape, and work that ends when nobody waits for it any more.

Not for: streams (``sse``), or what is in an answer.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Coroutine, MutableMapping
from typing import Any, TypeVar

from starlette.responses import Response

from llama_bind.errors import CancelledError
from llama_bind.server.errors import ApiError

__all__ = ["Reply", "dumps", "error_reply", "gone", "settled", "unless_gone"]

T = TypeVar("T")

_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def dumps(value: Any) -> bytes:
    """Compact JSON. Lone surrogates, which UTF-8 cannot hold, do not come this far: bodies with them are refused."""
    return _encode(value).encode("utf-8")


class Reply(Response):
    """A JSON answer."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return dumps(content)


def error_reply(error: ApiError, retry_after: int = 1, body: dict[str, Any] | None = None) -> Reply:
    """An error as an answer; `body`: in another shape than OpenAI's."""
    headers = dict(error.headers)
    if error.retry:
        headers["Retry-After"] = str(retry_after)
    return Reply(error.body() if body is None else body, error.status, headers)


async def gone(receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
    """Return when the client has closed its connection (or has its answer)."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def unless_gone(receive: Callable[[], Awaitable[MutableMapping[str, Any]]], work: Coroutine[Any, Any, T]) -> T:
    """The result of `work`, which is cancelled when the client leaves.

    Raises:
        CancelledError: The client has left; nobody will read the answer.
    """
    task, leaving = asyncio.ensure_future(work), asyncio.ensure_future(gone(receive))
    try:
        await asyncio.wait({task, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if task.done():
            return task.result()
        raise CancelledError("the client closed the connection")
    finally:
        await settled(task, leaving)


async def settled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks and wait for their end."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
