"""Asks an engine what it knows of itself, once for however many want to know; while it does not answer, the last answer
counts.

Not for: what is asked.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import Generic, TypeVar

from llama_bind.errors import LlamaBindError

__all__ = ["Asking"]

T = TypeVar("T")

TIMEOUT = 2.0
"""Seconds to wait for an answer: while an engine's process starts again there is none."""


class Asking(Generic[T]):
    """One question. Used by one event loop."""

    def __init__(self) -> None:
        self._task: asyncio.Task[T] | None = None
        self.last: T | None = None

    async def ask(self, question: Callable[[], T] | None) -> T | None:
        """The answer to a question that may wait, on a thread of its own; None as the question: whom to ask is gone.

        Gives the last answer that is known where there is no new one in time, None where there never was one.
        """
        if question is not None and self._task is None:
            self._task = asyncio.ensure_future(asyncio.to_thread(question))
            self._task.add_done_callback(self._answered)
        if self._task is not None:
            await asyncio.wait({self._task}, timeout=TIMEOUT)
        return self.last

    def _answered(self, task: asyncio.Task[T]) -> None:
        self._task = None
        with contextlib.suppress(LlamaBindError, asyncio.CancelledError):  # it ends, and knows nothing any more
            self.last = task.result()
