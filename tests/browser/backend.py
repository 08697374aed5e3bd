"""The server with a model that says what a test wants, so that the page can be watched step by step.

All but the generating is real: routes, gate, streams, errors. Not for: what models say.
"""

from __future__ import annotations

import asyncio
import copy
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeAlias

from llama_bind import AsyncLlama
from llama_bind.server.app import create_app
from llama_bind.server.settings import Settings
from tests.llamas import shared
from tests.servers import listening

__all__ = ["Backend", "Gate", "backend", "saying"]

Answer: TypeAlias = Callable[[], AsyncIterator[Mapping[str, Any]]]
"""Gives the deltas of one answer; raises what fails."""
USAGE = {
    "prompt_tokens": 30,
    "completion_tokens": 7,
    "total_tokens": 37,
    "prompt_tokens_details": {"cached_tokens": 12},
}
TIMINGS = {"predicted_n": 7, "predicted_per_second": 41.25, "prompt_n": 18, "prompt_ms": 5.0, "cache_n": 12}


class Gate:
    """Holds an answer until the test lets it go on."""

    def __init__(self) -> None:
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    async def wait(self) -> None:
        while not self._open.is_set():
            await asyncio.sleep(0.01)


def saying(*parts: Any, reason: str = "stop") -> Answer:
    """An answer of texts and deltas; a `Gate` is waited for, an exception raised."""

    async def answer() -> AsyncIterator[Mapping[str, Any]]:
        for part in parts:
            if isinstance(part, Gate):
                await part.wait()
            elif isinstance(part, BaseException):
                raise part
            else:
                yield {"content": part} if isinstance(part, str) else part
        yield {"finish": reason}

    return answer


class Backend:
    """A server for tests.

    Attributes:
        url: Where the page is.
        answers: What is said next, one after the other; with none left it is the default.
        asked: The messages and options of each request.
        left: Answers whose reader left before their end.
        health: What /health says in place of the truth, as (status, body).
    """

    def __init__(self) -> None:
        self.url = ""
        self.answers: list[Answer] = []
        self.default: Answer = saying("Fine.")
        self.asked: list[dict[str, Any]] = []
        self.left = 0
        self.health: tuple[int, bytes] | None = None

    def reset(self) -> None:
        """Forget what was said."""
        self.answers.clear()
        self.asked.clear()
        self.left, self.health = 0, None

    async def create(self, messages: Any, **options: Any) -> AsyncIterator[dict[str, Any]]:
        """In place of `AsyncLlama.create_chat_completion`."""
        self.asked.append({"messages": copy.deepcopy(list(messages)), **options})
        return self._chunks(self.answers.pop(0) if self.answers else self.default)

    async def _chunks(self, answer: Answer) -> AsyncIterator[dict[str, Any]]:
        base = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "tiny"}

        def chunk(delta: Mapping[str, Any], reason: str | None = None) -> dict[str, Any]:
            return {**base, "choices": [{"index": 0, "delta": dict(delta), "finish_reason": reason}]}

        done = False
        try:
            yield chunk({"role": "assistant", "content": ""})
            async for delta in answer():
                yield chunk({}, delta["finish"]) if "finish" in delta else chunk(delta)
            yield {**base, "choices": [], "usage": USAGE, "timings": TIMINGS, "seed": 4711}
            done = True
        except GeneratorExit:
            self.left += not done
            raise
        except asyncio.CancelledError:
            self.left += 1
            raise


@contextmanager
def backend(**settings: Any) -> Iterator[Backend]:
    """A server while the block runs; `settings` are options of it."""
    made = Backend()
    llm = AsyncLlama.of(shared(n_seq_max=4))
    llm.create_chat_completion = made.create  # type: ignore[method-assign,assignment]
    app = create_app(Settings.of("tiny", **settings), llm=llm)

    async def watched(scope: Any, receive: Any, send: Any) -> None:
        if made.health is None or scope["type"] != "http" or scope["path"] != "/health":
            await app(scope, receive, send)
            return
        status, body = made.health
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    with listening(watched) as port:  # type: ignore[arg-type]
        made.url = f"http://127.0.0.1:{port}/"
        yield made
