"""Which part of a thread's CPU time goes to native calls: every C function of `llama_bind.lib` gets a clock around it.

The clock is the thread's CPU time, so that a machine with other work does not change what is found. The clocks cost
about a microsecond a call, all of which counts as Python's: what is found is an upper bound. ctypes' own conversion of
arguments and results counts as part of the call.

Not for: measuring speed; the clocks slow the process down.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

from llama_bind.lib import _ctypes

__all__ = ["Calls", "python_time_per_step"]

Call = tuple[int, str, int, int]
"""Thread, C function, the thread's CPU time at start and end in ns."""

CALLED_BY_C = frozenset({"lb_abort_flag", "lb_log_drop"})
"""Functions whose address is handed to C, which calls them itself."""


class Calls:
    """Records the native calls of this process from `install` on.

    Install it before the first native call: functions are bound when they are first used.
    """

    def __init__(self) -> None:
        self.log: list[Call] = []

    def install(self) -> None:
        declare = _ctypes._declare

        def declare_timed(binding: _ctypes.Binding, restype: Any, argtypes: list[Any]) -> Any:
            function = declare(binding, restype, argtypes)
            return function if binding.name in CALLED_BY_C else self._timed(binding.name, function)

        _ctypes._declare = declare_timed

    def take(self) -> list[Call]:
        """The calls so far, which are forgotten."""
        log, self.log = self.log, []
        return log

    def _timed(self, name: str, function: Any) -> Callable[..., Any]:
        now, thread = time.thread_time_ns, threading.get_ident

        def timed(*arguments: Any) -> Any:
            start = now()
            result = function(*arguments)
            self.log.append((thread(), name, start, now()))
            return result

        return timed


def python_time_per_step(calls: list[Call], step: str) -> list[float]:
    """Microseconds of CPU time between native calls, for each step.

    A step goes from one call of a function whose name ends in `step` to the next one in the same thread (the one that
    made most such calls). The first two steps are left out: caches fill.

    Raises:
        ValueError: fewer than four steps.
    """
    threads = [thread for thread, name, _, _ in calls if name.endswith(step)]
    if not threads:
        raise ValueError(f"no native function {step} was called")
    engine = max(set(threads), key=threads.count)
    gaps: list[float] = []
    start = native = 0
    for _, name, begin, end in (call for call in calls if call[0] == engine):
        if name.endswith(step):
            if start:
                gaps.append((begin - start - native) / 1e3)
            start, native = begin, 0
        native += end - begin
    if len(gaps) < 3:
        raise ValueError(f"{len(gaps) + 1} steps are too few")
    return gaps[2:]
