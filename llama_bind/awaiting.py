"""How asyncio waits for requests: their events come into the event loop, as a stream of chunks or a whole result.

Not for: what is asked (``aio``), or shapes (``results``).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from llama_bind.chat_results import ChatShape
from llama_bind.results import TextShape
from llama_bind.session import Prepared
from llama_bind.values import FinishEvent, PieceEvent

if TYPE_CHECKING:
    from llama_bind.engine.handle import Event, RequestHandle
    from llama_bind.engine.request import Request

__all__ = ["AsyncStream", "Mailbox", "Meter", "MeteredMailbox", "Running", "collected"]

C = TypeVar("C")
S = TypeVar("S", TextShape, ChatShape)


class Meter(Protocol):
    """What is told of calls, see `AsyncLlama._metered`."""

    def check(self, requests: Sequence[Request], /) -> None:
        """Requests are about to be submitted. What it raises keeps them from it."""

    def submitted(self, requests: Sequence[Request], /) -> None:
        """They were."""

    def finished(self, event: FinishEvent, /) -> None:
        """A request has ended, also one that was cancelled; called by the engine's thread, so it must be quick."""


class Mailbox:
    """Brings events from the engine's thread into an event loop; wakes it once for all that came meanwhile."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._items: deque[tuple[RequestHandle, Event]] = deque()
        self._there = asyncio.Event()
        self._called = False

    def put(self, item: tuple[RequestHandle, Event], /) -> None:
        """Called by the engine's thread."""
        self._items.append(item)
        if not self._called:
            self._called = True
            with contextlib.suppress(RuntimeError):  # the loop has ended, and with it whoever would read
                self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._called = False
        self._there.set()

    async def get(self) -> tuple[RequestHandle, Event]:
        while not self._items:
            self._there.clear()
            if not self._items:
                await self._there.wait()
        return self._items.popleft()


class MeteredMailbox(Mailbox):
    """One that tells a meter of ends."""

    def __init__(self, meter: Meter) -> None:
        super().__init__()
        self._meter = meter

    def put(self, item: tuple[RequestHandle, Event], /) -> None:
        if isinstance(item[1], FinishEvent):
            self._meter.finished(item[1])
        super().put(item)


class Running:
    """Submitted requests and the way to their events. Whoever leaves early calls `cancel`."""

    def __init__(self, handles: Sequence[RequestHandle], mailbox: Mailbox) -> None:
        self.handles = list(handles)
        self._index = {handle: i for i, handle in enumerate(self.handles)}
        self._mailbox = mailbox
        self.left = len(self.handles)

    async def next(self) -> tuple[int, PieceEvent | FinishEvent]:
        """The next event, and which request it belongs to."""
        try:
            handle, event = await self._mailbox.get()
        except BaseException:  # the task was cancelled
            self.cancel()
            raise
        if isinstance(event, BaseException):
            self.cancel()
            raise event
        self.left -= isinstance(event, FinishEvent)
        return self._index[handle], event

    def cancel(self) -> None:
        """End what still runs."""
        if self.left:
            self.left = 0
            for handle in self.handles:
                handle.cancel()


class AsyncStream(Generic[C]):
    """The chunks of a streamed call: ``async for``. Closing it or dropping it cancels the request."""

    def __init__(self, prepared: Prepared[Any], running: Running) -> None:
        self._prepared = prepared
        self._running = running
        self._ready: deque[C] = deque(prepared.shape.opening())
        self._closed = False

    def __aiter__(self) -> AsyncStream[C]:
        return self

    async def __anext__(self) -> C:
        while not self._ready:
            if self._closed or not self._running.left:
                raise StopAsyncIteration
            index, event = await self._running.next()
            shape, usage = self._prepared.shape, self._prepared.usage
            self._ready.extend(shape.chunks(index, event, usage=usage))
            if not self._running.left:
                self._ready.extend(shape.closing(usage=usage))
        return self._ready.popleft()

    async def aclose(self) -> None:
        """Cancel what still runs; no more chunks come."""
        self._closed = True
        self._ready.clear()
        self._running.cancel()

    async def __aenter__(self) -> AsyncStream[C]:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __del__(self) -> None:
        self._running.cancel()


async def collected(prepared: Prepared[S], running: Running) -> S:
    """The shape of a call with all its events."""
    while running.left:
        prepared.shape.add(*await running.next())
    return prepared.shape
