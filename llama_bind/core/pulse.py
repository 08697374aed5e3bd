"""How far a long step is: counts the nodes of its compute graph, so that another thread sees it get on.

llama.cpp asks its abort callback before each node that the CPU computes. The usual callback is native and costs
nothing; this one is Python and costs a microsecond or two, so it is for steps that take seconds. Not for: stopping
(`Context.request_abort` does, through this one too), or nodes that a GPU computes.
"""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from llama_bind.lib import ggml_h, guard_h
from llama_bind.lib._ctypes import resolve
from llama_bind.lib._guard import check_guard

if TYPE_CHECKING:
    from llama_bind.core.context import Context

__all__ = ["Pulse"]


class Pulse:
    """Counts for one context. The thread that computes uses `counting`; any thread reads `nodes`."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._count = count = [0]
        flag = context._abort

        def beat(_data: Any) -> bool:  # refers to neither the context nor this object, which so are freed at once
            count[0] += 1
            return flag.value != 0

        self._counting = ggml_h.ggml_abort_callback(beat)
        self._usual = ctypes.cast(resolve(guard_h.lb_abort_flag), ggml_h.ggml_abort_callback)

    @property
    def nodes(self) -> int:
        """Nodes that were computed while it counted, ever."""
        return self._count[0]

    @contextlib.contextmanager
    def counting(self) -> Iterator[None]:
        """Count while the block runs; not where a callback of the program's own is asked."""
        if self._context.params.abort_callback is not None:
            yield
            return
        self._use(self._counting)
        try:
            yield
        finally:
            if not self._context.closed:
                self._use(self._usual)

    def _use(self, callback: Any) -> None:
        with self._context._use_guard as pointer:
            guard_h.lb_llama_set_abort_callback(pointer, callback, ctypes.addressof(self._context._abort))
            check_guard()
