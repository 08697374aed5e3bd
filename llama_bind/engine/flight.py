"""What is being computed right now, and stopping it from another thread. Not for: deciding what to stop for."""

from __future__ import annotations

import threading
from collections.abc import Callable

from llama_bind.engine.scheduler import StepPlan
from llama_bind.engine.sequence import Sequence

__all__ = ["Flight"]


class Flight:
    """Guards the plan in flight against the threads that cancel. `abort` stops the decode that is running."""

    def __init__(self, abort: Callable[[], None]) -> None:
        self.lock = threading.RLock()  # the garbage collector may cancel a dropped stream at any place
        self.stopping = threading.Event()
        self._abort = abort
        self._plan: StepPlan | None = None

    def begin(self, plan: StepPlan) -> None:
        """A plan starts. What was cancelled before is stopped at once."""
        with self.lock:
            self._plan = plan
            if self.stopping.is_set():
                self._abort()
            self._abort_if_useless()

    def end(self, ready: Callable[[], None]) -> None:
        """The plan has ended; `ready` clears an abort that came too late."""
        with self.lock:
            self._plan = None
            ready()

    def stop(self) -> None:
        """Compute nothing more."""
        with self.lock:
            self.stopping.set()
            if self._plan is not None:
                self._abort()

    def cancel(self, sequence: Sequence | None) -> None:
        """Nobody waits for a sequence any more: stop the decode if it is for nobody else."""
        with self.lock:
            if sequence is not None:
                sequence.cancelled = True
            self._abort_if_useless()

    def _abort_if_useless(self) -> None:
        if self._plan is not None and all(c.sequence.cancelled for c in self._plan.chunks):
            self._abort()
