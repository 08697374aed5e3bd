"""Starting llama.cpp once per process: libraries, guard, log, backends.

Nothing happens at import. A process that was forked after the start cannot use llama.cpp any more (its threads did not
come along), so it gets `ForkedError` instead of a hang.

Not for: listing devices (``devices``).
"""

from __future__ import annotations

import atexit
import ctypes
import threading
from typing import Any

from llama_bind.core import log
from llama_bind.core.handle import process_generation
from llama_bind.errors import ForkedError, InputError
from llama_bind.lib import ggml_h, guard_h, llama_h, mtmd_h
from llama_bind.lib._ctypes import resolve

__all__ = ["ensure_backend", "numa_init"]

_NUMA = {False: 0, True: 1, "disabled": 0, "distribute": 1, "isolate": 2, "numactl": 3, "mirror": 4}

_lock = threading.Lock()
_started_in: int | None = None
_numa: int | None = None
_keep: list[Any] = []


def ensure_backend() -> None:
    """Start llama.cpp if it was not: call before any other native function.

    Raises:
        LibraryNotFoundError: the native libraries cannot be loaded.
        ForkedError: llama.cpp was started before this process was forked off.
    """
    global _started_in
    if _started_in is not None:
        if _started_in != process_generation():
            raise ForkedError("llama.cpp")
        return
    with _lock:
        if _started_in is not None:
            return
        callback = log.native_callback(ggml_h.ggml_log_callback)
        _keep.append(callback)
        llama_h.llama_log_set(callback, None)
        guard_h.lb_guard_install()
        mtmd_h.mtmd_log_set(callback, None)
        llama_h.llama_backend_init()
        atexit.register(_stop_logging)
        _started_in = process_generation()


def numa_init(strategy: bool | str | int) -> None:
    """Choose the NUMA strategy: False, True or "distribute", "isolate", "numactl", "mirror". Once per process; the
    same again is fine.

    Raises:
        InputError: unknown, or another strategy was chosen before.
    """
    global _numa
    value = _NUMA.get(strategy, strategy if isinstance(strategy, int) else None)
    if value is None or value not in range(5):
        raise InputError(f"numa must be one of {', '.join(map(repr, _NUMA))}, not {strategy!r}", param="numa")
    if value == 0:
        return
    ensure_backend()
    with _lock:
        if _numa is not None and _numa != value:
            raise InputError("another NUMA strategy was chosen earlier in this process", param="numa")
        if _numa is None:
            llama_h.llama_numa_init(value)
            _numa = value


def _stop_logging() -> None:
    """The library goes on living after the interpreter: its last words must not reach Python."""
    drop = ctypes.cast(resolve(guard_h.lb_log_drop), ggml_h.ggml_log_callback)
    llama_h.llama_log_set(drop, None)
    mtmd_h.mtmd_log_set(drop, None)
