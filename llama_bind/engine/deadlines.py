"""Calls back when a time has come. One thread, started when there is a first deadline.

Not for: what happens then (worker).
"""

from __future__ import annotations

import heapq
import itertools
import threading
import time
from collections.abc import Callable

__all__ = ["Deadlines"]


PURGE = 1024
"""Deadlines from which on those that nobody needs any more are looked for."""


class Deadlines:
    """A heap of times and a thread that waits for the next one. Its callbacks must be quick and must not raise."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[[], None], Callable[[], bool]]] = []
        self._next_purge = PURGE
        self._order = itertools.count()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def add(self, seconds: float, callback: Callable[[], None], needed: Callable[[], bool]) -> None:
        """Call `callback` in `seconds` from now, on this object's thread, unless it is not `needed` any more."""
        with self._changed:
            heapq.heappush(self._heap, (time.monotonic() + seconds, next(self._order), callback, needed))
            if len(self._heap) >= self._next_purge:  # most requests end long before their deadlines
                self._heap = [entry for entry in self._heap if entry[3]()]
                heapq.heapify(self._heap)
                self._next_purge = 2 * len(self._heap) + PURGE
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(target=self._main, name="llama_bind deadlines", daemon=True)
                self._thread.start()
            self._changed.notify()

    def close(self) -> None:
        """Forget all deadlines and end the thread."""
        with self._changed:
            self._closed = True
            self._heap.clear()
            self._changed.notify()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _main(self) -> None:
        while True:
            with self._changed:
                while not self._closed and (not self._heap or self._heap[0][0] > time.monotonic()):
                    self._changed.wait(self._heap[0][0] - time.monotonic() if self._heap else None)
                if self._closed:
                    return
                _, _, callback, needed = heapq.heappop(self._heap)
            if needed():
                callback()
            del callback, needed  # or the last ones would be kept until the next
