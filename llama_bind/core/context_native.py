"""What stands behind a context: the right to call it, what it refers to, its callbacks and timings.

Nothing here refers to the `Context`, so nothing here keeps it alive. Not for: computing (``context``).
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_bind.core.callbacks import Carrier
from llama_bind.core.handle import Resource
from llama_bind.errors import ReentryError
from llama_bind.lib import ggml_backend_h, ggml_h, guard_h, llama_h
from llama_bind.lib._ctypes import resolve
from llama_bind.params import ContextParams

__all__ = ["Owned", "Perf", "Use", "perf_of", "pinned", "set_callbacks"]


@dataclasses.dataclass(frozen=True)
class Perf:
    """llama.cpp's own timings (zero while `ContextParams.no_perf`): seconds, counts of tokens, reused graphs."""

    load: float
    prompt: float
    generation: float
    n_prompt: int
    n_generated: int
    n_reused: int


def perf_of(data: Any) -> Perf:
    """From a ``llama_perf_context_data``."""
    return Perf(
        load=data.t_load_ms / 1e3,
        prompt=data.t_p_eval_ms / 1e3,
        generation=data.t_eval_ms / 1e3,
        n_prompt=data.n_p_eval,
        n_generated=data.n_eval,
        n_reused=data.n_reused,
    )


@contextlib.contextmanager
def pinned(resource: Resource) -> Iterator[int]:
    """The pointer of a resource, whose memory stays while the block runs."""
    pointer = resource.pin()
    try:
        yield pointer
    finally:
        resource.unpin()


class Use:
    """The right to call into the context: exclusive, and the memory stays until it is given back."""

    __slots__ = ("_lock", "_owner", "_resource")

    def __init__(self, resource: Resource) -> None:
        self._lock = threading.Lock()
        self._owner = 0
        self._resource = resource

    def __enter__(self) -> int:
        if not self._lock.acquire(False):
            if self._owner == threading.get_ident():
                raise ReentryError(self._resource.kind)
            self._resource.check()  # also: in a forked child the lock may be held by a thread that is not there
            self._lock.acquire()
        try:
            pointer = self._resource.pin()
        except BaseException:
            self._lock.release()
            raise
        self._owner = threading.get_ident()
        return pointer

    def __exit__(self, *_: object) -> None:
        self._owner = 0
        self._lock.release()
        self._resource.unpin()


class Owned:
    """What the native context refers to, given back after it is freed. Never refers to the `Context`."""

    def __init__(self) -> None:
        self.abort = ctypes.c_int32(0)
        self.stopped = False  # by the eval callback
        self.carriers: list[Carrier] = []
        self.adapters: list[Resource] = []
        self.views: dict[int, npt.NDArray[np.float32]] = {}

    def free(self, pointer: int) -> None:
        llama_h.llama_free(pointer)
        self.release_adapters()
        self.carriers.clear()

    def release_adapters(self) -> None:
        adapters, self.adapters = self.adapters, []
        for resource in adapters:
            resource.unhold()

    def begin_close(self) -> None:
        self.abort.value = 1
        self.views.clear()


def set_callbacks(struct: Any, params: ContextParams, owned: Owned) -> None:
    """Put the abort and eval callbacks into the struct; `owned` keeps them."""
    flag = owned.abort
    struct.abort_callback_data = ctypes.addressof(flag)
    if params.abort_callback is None:
        struct.abort_callback = ctypes.cast(resolve(guard_h.lb_abort_flag), ggml_h.ggml_abort_callback)
    else:
        ask = params.abort_callback
        carrier = Carrier(
            lambda: flag.value != 0 or ask(), ggml_h.ggml_abort_callback, stop=lambda *_: True, answer=bool
        )
        owned.carriers.append(carrier)
        struct.abort_callback = carrier.callback
    if params.eval_callback is not None:
        # In the "ask" call True means: compute up to here and show me. Only after that can it be stopped.
        evaluate = params.eval_callback

        def answer(tensor: Any, ask: bool) -> bool:
            go_on = bool(evaluate(tensor, ask))
            if not ask and not go_on:
                owned.stopped = True
            return go_on

        carrier = Carrier(
            answer,
            ggml_backend_h.ggml_backend_sched_eval_callback,
            stop=lambda _tensor, ask: bool(ask),
            answer=bool,
        )
        owned.carriers.append(carrier)
        struct.cb_eval = carrier.callback
