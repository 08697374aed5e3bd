"""What the caller holds while a request runs: its events, and the way to cancel it. Not for: asyncio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterator
from queue import SimpleQueue
from typing import Any, Protocol, TypeAlias

from llama_bind.engine.request import Request
from llama_bind.values import FinishEvent, PieceEvent, TokenLogprob

__all__ = ["Event", "EventQueue", "Events", "RequestHandle", "Stream", "events_of", "merged"]

Event = PieceEvent | FinishEvent | BaseException


class Events(Protocol):
    """Where events go: a queue of the handle's own, or one shared by several handles that are read together."""

    def put(self, item: tuple[RequestHandle, Event], /) -> None:
        """Take an event; called by the engine's thread, so it must not wait."""


EventQueue: TypeAlias = "SimpleQueue[tuple[RequestHandle, Event]]"


class RequestHandle:
    """One submitted request. Iterate over it for events; every method may be called from any thread.

    Leaving the iteration early does not cancel; `cancel()` does, and so does leaving `merged`.
    """

    def __init__(self, request: Request, cancel: Callable[[RequestHandle], None], events: Events | None = None) -> None:
        self.request = request
        own: EventQueue = SimpleQueue()
        self._queue = own if events is None else None
        self._events: Events = own if events is None else events
        self._cancel = cancel
        self.owner: object = None
        self._done = threading.Event()
        self.embedding: Any = None
        self.prompt_logprobs: list[TokenLogprob | None] = []

    @property
    def done(self) -> bool:
        """Whether the last event was delivered to the queue."""
        return self._done.is_set()

    def emit(self, event: PieceEvent) -> None:
        """Give a piece of text. Called by the engine only, once a token: as short as can be."""
        self._events.put((self, event))

    def deliver(self, event: FinishEvent | BaseException) -> None:
        """Give the last event. Called by the engine only."""
        self._done.set()
        self._events.put((self, event))

    def cancel(self) -> None:
        """Ask the engine to end the request, with a `FinishEvent` of reason "cancelled". Harmless after its end."""
        self._cancel(self)

    def __iter__(self) -> Iterator[PieceEvent | FinishEvent]:
        """The events up to and with the `FinishEvent`.

        Raises:
            LlamaBindError: what ended the request early, raised in place of the finish.
            TypeError: the events go to a queue that was given.
        """
        if self._queue is None:
            raise TypeError("this handle's events go to another queue; read them there")
        return events_of(self._queue)


def events_of(queue: EventQueue) -> Iterator[PieceEvent | FinishEvent]:
    """The events of one request from its queue."""
    while True:
        event = queue.get()[1]
        if isinstance(event, BaseException):
            raise event
        yield event
        if isinstance(event, FinishEvent):
            return


Stream = Generator[tuple[int, PieceEvent | FinishEvent], None, None]


def merged(handles: list[RequestHandle], events: EventQueue) -> Stream:
    """The events of several handles that share `events`, each with its handle's index, as they come.

    Leaving early cancels what still runs: by an exception, by closing the generator, or by dropping it.
    """
    stream = _merge(handles, events)
    next(stream)  # a generator that was never started would not see that it is dropped
    return stream


def _merge(handles: list[RequestHandle], events: EventQueue) -> Stream:
    index = {handle: i for i, handle in enumerate(handles)}
    left = len(handles)
    try:
        yield -1, PieceEvent("")
        while left:
            handle, event = events.get()
            if isinstance(event, BaseException):
                raise event
            left -= isinstance(event, FinishEvent)
            yield index[handle], event
    finally:
        if left:
            for handle in handles:
                handle.cancel()
