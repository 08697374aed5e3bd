"""Many calls at once from threads, with a limit on how many and on how long. Not for: asyncio, or measuring them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

__all__ = ["Crowd"]

T = TypeVar("T")


class Crowd(Generic[T]):
    """Runs `jobs`, `at_once` of them at a time, and waits.

    Attributes:
        results: What each job gave; for one that failed, what it raised.
        wall: Seconds from the first start to the last end.

    Raises:
        TimeoutError: not all were done after `timeout` seconds. The threads are daemons: they end with the process.
    """

    def __init__(self, jobs: Sequence[Callable[[], T]], at_once: int, timeout: float) -> None:
        self.results: list[T | Exception | None] = [None] * len(jobs)
        self._jobs = list(enumerate(jobs))[::-1]
        self._lock = threading.Lock()
        start = time.perf_counter()
        threads = [threading.Thread(target=self._work, daemon=True) for _ in range(min(at_once, len(jobs)))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(max(0.0, start + timeout - time.perf_counter()))
        self.wall = time.perf_counter() - start
        if any(thread.is_alive() for thread in threads):
            left = sum(result is None for result in self.results)
            raise TimeoutError(f"{left} of {len(jobs)} calls were not done after {timeout:g} s")

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._jobs:
                    return
                index, job = self._jobs.pop()
            try:
                self.results[index] = job()
            except Exception as error:
                self.results[index] = error

    def values(self) -> list[T]:
        """The results.

        Raises:
            RuntimeError: a job failed; the first one's error is the cause.
        """
        values: list[T] = []
        for index, result in enumerate(self.results):
            if isinstance(result, Exception):
                raise RuntimeError(f"call {index} failed: {type(result).__name__}: {result}") from result
            assert result is not None
            values.append(result)
        return values

    def errors(self) -> list[Exception]:
        """What the jobs that failed raised."""
        return [result for result in self.results if isinstance(result, Exception)]
