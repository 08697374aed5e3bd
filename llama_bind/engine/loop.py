"""`Engine`: requests go in from any thread, events come out. What works behind it is `worker.Worker`.

Not for: the work itself.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, TypeVar

from llama_bind.engine.guessing import Drafter
from llama_bind.engine.handle import Events, RequestHandle
from llama_bind.engine.request import Request
from llama_bind.engine.slots import SlotState
from llama_bind.engine.stats import EngineStats
from llama_bind.engine.store import TieredStore
from llama_bind.engine.worker import Worker, exiting

if TYPE_CHECKING:
    from llama_bind.engine.runner import Runner

__all__ = ["Engine"]

T = TypeVar("T")


class Engine:
    """Runs requests on a context, from any number of threads.

    Args:
        runner: Made by the facade; the engine's thread is the only one to use it from here on.
        max_queue: Most requests that wait besides those that run; None for any number.
        step_target: Seconds that a step should take at most while anything decodes; None: as long as it takes.
        drafter: Guesses next tokens for requests that bring no proposer.
        store: Keeps what the context has no room for; the caller closes it, after the engine.
    """

    def __init__(
        self,
        runner: Runner,
        max_queue: int | None = None,
        step_target: float | None = None,
        drafter: Drafter | None = None,
        store: TieredStore | None = None,
    ) -> None:
        self._worker = Worker(runner, max_queue, step_target, drafter, store)
        if not exiting.is_registered:
            exiting.register()
        self._finalizer = weakref.finalize(self, Worker.shutdown, self._worker)
        self._worker.thread.start()

    def submit(self, request: Request, events: Events | None = None) -> RequestHandle:
        """Queue a request; its events go to `events` where given.

        Raises:
            ClosedError, ForkedError: this engine cannot take requests any more.
            ContextOverflowError: the prompt alone does not fit.
            InputError: an empty prompt.
            GrammarError: nothing can be held to its constraint.
            QueueFullError: `max_queue` requests wait already.
        """
        handle = self._worker.submit(request, events)
        handle.owner = self  # a stream works on after its model was dropped
        return handle

    def prepare(self, constraint: Hashable) -> None:
        """Compile what a request is to be held to, if that is not done; requests that bring it then start at once.

        Raises:
            GrammarError: nothing can be held to it.
        """
        self._worker.runner.make_constraint(constraint)

    def call(self, function: Callable[[Runner], T]) -> T:
        """Run a function on the engine thread between two steps and give its result (or raise what it raised)."""
        return self._worker.call(function)

    def forget(self) -> None:
        """Clear the memory of all slots that are not running."""
        self._worker.call(lambda _: self._worker.steps.forget_free())

    def set_store(self, store: TieredStore | None) -> None:
        """Keep what the context has no room for in `store` from now on; None: nowhere."""
        self._worker.call(lambda _: self._worker.keeper.use(store))

    def remembered(self) -> tuple[int, list[int]]:
        """The slot that was used last, and the tokens that its memory holds; none while it runs."""
        return self._worker.call(
            lambda _: (self._worker.steps.last_slot, self._worker.scheduler.slots.tokens(self._worker.steps.last_slot))
        )

    def free_slot(self) -> int | None:
        """A slot that does not run, None when all do."""
        return self._worker.call(lambda _: next((held.slot for held in self._worker.scheduler.slots.free), None))

    def restore(self, slot: int, tokens: list[int]) -> None:
        """The memory of a free slot now holds `tokens` (a state was loaded)."""
        self._worker.call(lambda _: self._worker.steps.restore(slot, tokens))

    @property
    def limits(self) -> tuple[int, int]:
        """Most tokens of a text that is continued, and of one that is embedded."""
        return self._worker.limit, self._worker.embed_limit

    @property
    def stats(self) -> EngineStats:
        return self._worker.snapshot()

    @property
    def slots(self) -> list[SlotState]:
        """The requests that run, by slot."""
        return self._worker.slots()

    @property
    def unfinished(self) -> int:
        """Requests that have not ended."""
        return self._worker.desk.unfinished

    @property
    def progress(self) -> tuple[int, ...] | None:
        """Numbers that change as the engine gets on; None while it has nothing to do."""
        return self._worker.progress()

    @property
    def closed(self) -> bool:
        return self._worker.flight.stopping.is_set()

    def close(self) -> None:
        """End all requests with `ClosedError` and stop the thread. Safe to call twice and from any thread."""
        self._finalizer()
