"""Streams of server-sent events: one JSON text a chunk, comments while nothing comes, an end when the client leaves.

What fails in the middle is an event with OpenAI's error object, and the stream still ends as it should, so that the
connection serves the next request. Not for: what is in the chunks, or clients that stop reading (``protocol``).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from starlette.responses import Response

from llama_bind.server.errors import ApiError, api_error
from llama_bind.server.replies import dumps, error_reply, gone, settled

__all__ = ["DONE", "EventStream", "data_event", "error_event"]

Send: TypeAlias = Callable[[MutableMapping[str, Any]], Awaitable[None]]

DONE = b"data: [DONE]\n\n"
"""How OpenAI ends a stream."""
COMMENT = b": still here\n\n"
HEADERS = (
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),  # nginx would hold the chunks back
)
logger = logging.getLogger("llama_bind.server")


def data_event(value: Any) -> bytes:
    """A chunk as an event."""
    return b"data: %b\n\n" % dumps(value)


def error_event(error: ApiError) -> bytes:
    """An error as an event."""
    return data_event(error.body())


class EventStream(Response):
    """Sends the events of a stream while it comes.

    The answer begins with the first chunk, so that what fails before it is an answer with a status of its own; a stream
    that has none for long begins with a comment.

    Args:
        chunks: What is streamed; closed at the end by its ``aclose``, where it has one.
        frame: A chunk as bytes.
        failed: An error in the stream as bytes.
        refused: An error before its beginning as an answer.
        opening: Chunks that come at once and say nothing yet: the answer begins after them.
        end: The last bytes.
        comment: What is sent while no chunk comes.
        comments: Seconds without a chunk after which it is sent.
        headers: Further headers.
    """

    def __init__(
        self,
        chunks: AsyncIterable[Any],
        *,
        frame: Callable[[Any], bytes] = data_event,
        failed: Callable[[ApiError], bytes] = error_event,
        refused: Callable[[ApiError], Response] = error_reply,
        opening: int = 0,
        end: bytes = DONE,
        comment: bytes = COMMENT,
        comments: float = 15.0,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(b"", 200, headers)
        self.raw_headers = [(k, v) for k, v in self.raw_headers if k != b"content-length"] + list(HEADERS)
        self._chunks = chunks
        self._frame = frame
        self._failed = failed
        self._refused = refused
        self._opening = opening
        self._end = end
        self._comment = comment
        self._comments = comments
        self._last = time.monotonic()
        self._begun = False
        self._held = b""
        self._beginning = asyncio.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Serve the stream (ASGI)."""
        leaving = asyncio.ensure_future(gone(receive))
        pump = asyncio.ensure_future(self._pump(scope, receive, send))
        try:
            while not pump.done() and not leaving.done():
                await asyncio.wait({pump, leaving}, timeout=self._comments, return_when=asyncio.FIRST_COMPLETED)
                if not pump.done() and time.monotonic() - self._last >= self._comments:
                    await self._begin(send)
                    await send({"type": "http.response.body", "body": self._comment, "more_body": True})
            if pump.done():
                pump.result()
        finally:
            await settled(pump, leaving)
            close = getattr(self._chunks, "aclose", None)
            if close is not None:
                await close()

    async def _begin(self, send: Send) -> None:
        """Send the headers and what was held back, once."""
        async with self._beginning:
            if not self._begun:
                await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
                self._begun = True
                if self._held:
                    await send({"type": "http.response.body", "body": self._held, "more_body": True})

    async def _pump(self, scope: Any, receive: Any, send: Send) -> None:
        frame, now, last = self._frame, time.monotonic, b""
        chunks = self._chunks.__aiter__()
        try:
            for _ in range(self._opening):
                self._held += frame(await chunks.__anext__())
            first = frame(await chunks.__anext__())
            await self._begin(send)
            await send({"type": "http.response.body", "body": first, "more_body": True})
            self._last = now()
            async for chunk in chunks:
                await send({"type": "http.response.body", "body": frame(chunk), "more_body": True})
                self._last = now()
        except StopAsyncIteration:  # there were no more chunks than this
            await self._begin(send)
        except Exception as error:
            told = api_error(error)
            if told.status >= 500:
                logger.error("a stream failed", exc_info=error)
            async with self._beginning:
                if not self._begun:
                    await self._refused(told)(scope, receive, send)
                    return
            last = self._failed(told)
        await send({"type": "http.response.body", "body": last + self._end, "more_body": False})
