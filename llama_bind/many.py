"""A long list of prompts through one engine: only a few are read and submitted ahead of those that run.

`Many` knows what is submitted and what has come back; the facades wait for the events, each in its way. Not for: one
call with several choices (``session.Prepared``).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sized
from types import TracebackType
from typing import TYPE_CHECKING, Any

from llama_bind.errors import InputError, QueueFullError
from llama_bind.prompts import Prompt
from llama_bind.results import TextShape
from llama_bind.types import Completion
from llama_bind.values import FinishEvent

if TYPE_CHECKING:
    from llama_bind.engine.handle import Event, Events, RequestHandle
    from llama_bind.session import Prepared, Session

__all__ = ["Many"]

AHEAD = 32
"""Requests submitted beyond those that can run at once: enough for the engine to see who shares a beginning."""
PATIENCE = 0.01
"""Seconds between two looks whether a queue that others have filled has room again."""


class _Call:
    """A prompt in progress."""

    def __init__(self, index: int, prepared: Prepared[TextShape]) -> None:
        self.index = index
        self.prepared = prepared
        self.left = len(prepared.requests)


class Many:
    """Continues `prompts`, in their order. Leaving its context cancels what still runs.

    Args:
        prompts: Read one by one, as there is room.
        options: Of `create_completion`, the same for all.

    Attributes:
        total: How many prompts there are; None where they cannot be counted ahead.
        done: How many have their result.

    Raises:
        InputError: a single text in place of several.
    """

    def __init__(self, session: Session, prompts: Iterable[Prompt], options: Mapping[str, Any]) -> None:
        if isinstance(prompts, (str, bytes)) or not isinstance(prompts, Iterable):
            raise InputError("give several prompts, for example a list of texts", param="prompts")
        self.total = len(prompts) if isinstance(prompts, Sized) else None
        self.done = 0
        self._session = session
        self._options = {**options, "stream": False}
        self._prompts: Iterator[tuple[int, Prompt]] | None = iter(enumerate(prompts))
        self._next: _Call | None = None
        self._running: dict[RequestHandle, tuple[_Call, int]] = {}
        self._results: dict[int, Completion] = {}
        self._lock = threading.Lock()  # whoever leaves while another thread submits
        self._left = False
        n_slots, limit = session.started.n_slots, session.params.max_queue
        self._most = n_slots + AHEAD if limit is None else n_slots + limit
        # Half of a bounded queue is for others: they would be refused otherwise for as long as this takes.
        self._window = self._most if limit is None else n_slots + limit // 2

    @property
    def finished(self) -> bool:
        """Whether everything has its result."""
        return self._prompts is None and self._next is None and not self._running

    @property
    def has_room(self) -> bool:
        """Whether `fill` would submit something."""
        return (self._prompts is not None or self._next is not None) and len(self._running) < self._window

    def fill(self, events: Events) -> None:
        """Submit prompts while there is room. Waits while none runs because others have filled the queue.

        Raises:
            QueueFullError: one prompt asks for more choices than the queue can ever hold.
            LlamaBindError: what `create_completion` raises for a prompt.
        """
        while self.has_room and not self._left:
            call = self._next or self._read()
            if call is None:
                return
            n = len(call.prepared.requests)
            if self._running and len(self._running) + n > self._window:
                return
            try:
                self._submit(call, events)
            except QueueFullError:
                if n > self._most:
                    raise
                if self._running:
                    return
                time.sleep(PATIENCE)

    def take(self, handle: RequestHandle, event: Event) -> None:
        """Take an event that came.

        Raises:
            LlamaBindError: what ended a request early.
        """
        call, choice = self._running.get(handle, (None, 0))
        if call is None:  # a prompt's choices go in together or not at all: this one was taken back
            return
        if isinstance(event, BaseException):
            raise event
        call.prepared.shape.add(choice, event)
        if isinstance(event, FinishEvent):
            del self._running[handle]
            call.left -= 1
            if not call.left:
                self._results[call.index] = call.prepared.shape.result()
                self.done += 1

    def results(self) -> list[Completion]:
        """In the order of the prompts, when all have finished."""
        return [self._results[index] for index in range(self.done)]

    def __enter__(self) -> Many:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        with self._lock:
            self._left = True
            running = list(self._running)
        for handle in running:
            handle.cancel()

    def _read(self) -> _Call | None:
        assert self._prompts is not None
        found = next(self._prompts, None)
        if found is None:
            self._prompts = None
            return None
        self._next = _Call(found[0], self._session.completion(found[1], self._options))
        return self._next

    def _submit(self, call: _Call, events: Events) -> None:
        with self._lock:
            if self._left:
                return
            handles = self._session.submit(call.prepared.requests, events, call.prepared.shape)
            # before anyone else can read their events: those are read by whoever calls this, or after it
            self._running.update((handle, (call, choice)) for choice, handle in enumerate(handles))
            self._next = None
