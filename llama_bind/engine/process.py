"""`EngineProcess`: what `Engine` offers, with the engine in a process of its own.

A crash in native code (or anything else that ends that process) ends the requests that it was computing and nothing
else: requests that still waited are computed by the next process, which is started at once. So does a process that
hangs, at work or while it loads: it is killed. The price is a message for each step, the time to pass prompts on, and
functions that must be picklable.

Not for: work on the context from this process (`Engine.call`); the process offers named operations instead.
"""

from __future__ import annotations

import logging
import os
import weakref
from collections.abc import Mapping
from typing import Any

from llama_bind.engine.child import Make, Progress, Start
from llama_bind.engine.handle import Events, RequestHandle
from llama_bind.engine.overflow import fitted
from llama_bind.engine.request import Request
from llama_bind.engine.stats import EngineStats
from llama_bind.engine.supervisor import Supervisor
from llama_bind.engine.wire import packed
from llama_bind.engine.worker import exiting
from llama_bind.errors import ForkedError

__all__ = ["EngineProcess"]

MOST_SECONDS_OF_A_PULSE = 5.0
"""How often a process that gets on says so."""


class EngineProcess:
    """Runs requests in a child process, from any number of threads.

    Args:
        make: Loads the model and starts the engine, in the child: a picklable function, called once for each process.
        max_queue: Most requests that wait besides those that run; None for any number.
        progress: Called here with the share loaded while the first process loads; False stops that.
        hang_timeout: Seconds without progress after which a process that has work is killed; 0: never.
        load_hang_timeout: Likewise for one that loads.

    Raises:
        UnsupportedError: `make` cannot be pickled, or the system is not POSIX.
        EngineFailedError: the process ended while loading, or had to be; says how, and what it wrote to standard error.
        LlamaBindError: whatever `make` raised in the child.
    """

    def __init__(
        self,
        make: Make,
        max_queue: int | None = None,
        progress: Progress | None = None,
        hang_timeout: float = 0.0,
        load_hang_timeout: float = 0.0,
    ) -> None:
        level = logging.getLogger("llama_bind").getEffectiveLevel()
        pulse = min([t / 4 for t in (hang_timeout, load_hang_timeout) if t > 0], default=0.0)
        pulse = min(pulse, MOST_SECONDS_OF_A_PULSE)
        start = Start(packed(make, "what the model is loaded with"), level, progress is not None, os.getcwd(), pulse)
        self._supervisor = Supervisor(start, max_queue, hang_timeout, load_hang_timeout)
        if not exiting.is_registered:
            exiting.register()
        self._finalizer = weakref.finalize(self, Supervisor.shutdown, self._supervisor)
        self._supervisor.thread.start()
        try:
            self._wait(progress)
        except BaseException:
            self.close()
            raise

    def _wait(self, progress: Progress | None) -> None:
        while True:
            kind, value = self._supervisor.news.get()
            if kind == "ready":
                return
            if kind == "failed":
                raise value
            assert progress is not None
            self._supervisor.reply(progress(value))

    def submit(self, request: Request, events: Events | None = None) -> RequestHandle:
        """Queue a request; its events go to `events` where given. While the process restarts, it waits.

        Raises:
            ClosedError, ForkedError, EngineFailedError: this engine cannot take requests any more.
            ContextOverflowError: the prompt alone does not fit.
            InputError: an empty prompt.
            QueueFullError: `max_queue` requests wait already.
            UnsupportedError: a function in the request cannot be pickled.
        """
        self._check_fork()
        self._supervisor.check_open()
        limit = self.limits[request.kind == "embed"]
        request = fitted(request, limit)
        handle = RequestHandle(request, self._supervisor.cancel, events)
        handle.owner = self  # a stream works on after its model was dropped
        self._supervisor.submit(handle, packed(request, "the request"))
        return handle

    def _check_fork(self) -> None:
        if self._supervisor.pid != os.getpid():
            raise ForkedError("this model's engine")

    def ask(self, name: str, *arguments: Any) -> Any:
        """The result of an operation that the process offers by name (see `Service.operations`).

        Raises:
            EngineCrashedError: the process ended meanwhile.
            LlamaBindError: whatever the operation raised.
        """
        self._check_fork()
        return self._supervisor.ask(name, arguments)

    def set(self, name: str, *arguments: Any) -> Any:
        """As `ask`, for what is to stay: each process that is started later is asked the same, before its requests."""
        self._check_fork()
        return self._supervisor.ask(name, arguments, keep=True)

    def forget(self) -> None:
        """Clear the memory of all slots that are not running."""
        self.ask("forget")

    @property
    def limits(self) -> tuple[int, int]:
        """Most tokens of a text that is continued, and of one that is embedded."""
        ready = self._supervisor.ready
        assert ready is not None
        return ready.limits

    @property
    def n_slots(self) -> int:
        """How many requests run at once."""
        ready = self._supervisor.ready
        assert ready is not None
        return ready.n_slots

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the process said of its model (see `Service.facts`)."""
        ready = self._supervisor.ready
        assert ready is not None
        return ready.facts

    @property
    def stats(self) -> EngineStats:
        """Counters of the process that runs now; they start anew with it."""
        stats: EngineStats = self.ask("stats")
        return stats

    @property
    def unfinished(self) -> int:
        """Requests that have not ended."""
        return self._supervisor.unfinished

    @property
    def restarts(self) -> int:
        """How many processes were started in place of one that had died."""
        return self._supervisor.restarts

    @property
    def process_id(self) -> int | None:
        """The process that is there now; None between two."""
        return self._supervisor.process_id

    @property
    def closed(self) -> bool:
        return self._supervisor.stopping.is_set()

    def close(self) -> None:
        """End all requests with `ClosedError` and the process. Safe to call twice and from any thread."""
        self._finalizer()
