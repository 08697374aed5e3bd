"""Runs a function in a thread of its own that nothing waits for at the end of the program.

The threads of an executor are joined when the interpreter or an event loop ends: a tool that hangs would hang both.
Not for: work of the library itself.
"""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

__all__ = ["called", "in_thread"]


def in_thread(function: Callable[[], Any]) -> Future[Any]:
    """Start it, with the caller's context variables; the future gets what it returns or raises."""
    future: Future[Any] = Future()
    future.set_running_or_notify_cancel()  # it cannot be cancelled any more: its result always finds the future
    context = contextvars.copy_context()

    def work() -> None:
        try:
            result = context.run(function)
        except BaseException as error:  # also SystemExit, for whoever waits
            future.set_exception(error)
        else:
            future.set_result(result)

    threading.Thread(target=work, name="llama_bind tool", daemon=True).start()
    return future


def called(function: Callable[..., Any], values: dict[str, Any]) -> Any:
    """Call a function that may be async, where no event loop runs."""
    result = function(**values)
    return asyncio.run(_awaited(result)) if hasattr(result, "__await__") else result


async def _awaited(result: Any) -> Any:
    return await result
