"""Responses that are generated without their client: what goes on, and the events so far for whoever reads them.

Not for: what the events say (``writer``), or how long they are kept (``store``).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any

from llama_bind.server.responses.frames import frame
from llama_bind.server.responses.request import retold
from llama_bind.server.responses.writer import Event, ResponseWriter

__all__ = ["Job"]

logger = logging.getLogger("llama_bind.server")


class Job:
    """A response in the making, and afterwards its events: the one with number `n` is the n-th.

    Args:
        writer: Writes it.
        events: They come out of this; closed at the end by its ``aclose``.
        ended: Called when it has ended, however it did.

    Attributes:
        done: No more events come.
    """

    def __init__(self, writer: ResponseWriter, events: Any, ended: Callable[[], None]) -> None:
        self.done = False
        self._writer = writer
        self._events = events
        self._ended = ended
        self._frames: list[bytes] = []
        self._more: asyncio.Event | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def size(self) -> int:
        """Bytes of the events."""
        return sum(map(len, self._frames))

    def start(self) -> asyncio.Task[None]:
        """Begin; the task ends with the response and raises nothing."""
        self._task = asyncio.ensure_future(self._run())
        return self._task

    async def _run(self) -> None:
        last: list[Event] = []
        try:
            async for event in self._events:
                self._add([event])
        except asyncio.CancelledError:
            last = self._writer.cancelled()
        except Exception as error:
            told = retold(error)
            if told.status >= 500:
                logger.error("a response in the background failed", exc_info=error)
            last = self._writer.failed(told)
        self.done = True
        self._add(last)
        self._ended()
        await self._events.aclose()

    async def cancel(self) -> None:
        """End it, and wait until it has ended."""
        if self._task is not None and not self.done:
            await asyncio.sleep(0)  # a task that is cancelled before it has begun would never know
            self._task.cancel()
            await asyncio.wait({self._task})

    def _add(self, events: list[Event]) -> None:
        self._frames += [frame(event) for event in events]
        more, self._more = self._more, None
        if more is not None:
            more.set()

    async def read(self, start: int = 0) -> AsyncIterator[bytes]:
        """The events from that number on, those that are still to come as they come."""
        place = start
        while True:
            while place < len(self._frames):
                yield self._frames[place]
                place += 1
            if self.done:
                return
            if self._more is None:
                self._more = asyncio.Event()
            await self._more.wait()
