"""Generating token by token for a sequence that runs alone: one native call for each token.

After each token the caches of a processor are full of weights, and every object that Python touches comes from memory
again; so the way from one token to the next is as short as it can be. Not for: several sequences, guesses, or callers
that look at logits (`Context.decode` and `Sampler.sample` serve those).
"""

from __future__ import annotations

import ctypes
import functools
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_bind.core import log
from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.core.sampler import Sampler
from llama_bind.lib import guard_h
from llama_bind.lib._ctypes import retype

__all__ = ["Stepper"]


@functools.cache
def _native_step() -> Any:
    arguments = [ctypes.c_void_p] * 2 + [ctypes.c_int32] * 2 + [ctypes.c_void_p] * 2
    return retype(guard_h.lb_step, restype=ctypes.c_int32, argtypes=arguments)


class Stepper:
    """A context manager whose value is a function (token, position) -> next token.

    The context is in use as long as the block runs: other threads that call it wait.

    Args:
        context: Where the sequence is.
        sampler: Chooses the next token and accepts it; without a grammar (see `can_step`).
        seq_id: The sequence.
    """

    def __init__(self, context: Context, sampler: Sampler, seq_id: int) -> None:
        self._context = context
        self._sampler = sampler
        self._batch = Batch(1, 1)
        self._batch.append(0, 0, seq_id, True)
        self._code = ctypes.c_int32(0)
        self._place = 0
        self._pointer = 0

    @staticmethod
    def can_step(context: Context, sampler: Sampler) -> bool:
        """Whether this context and sampler need nothing from Python between two tokens."""
        return not (context._carriers or sampler.has_grammar or context._broken or not context._has_memory)

    def __enter__(self) -> Any:
        """The function; it raises what `Context.decode` and `Sampler.sample` raise."""
        pointer = self._pointer = self._context._use_guard.__enter__()
        self._sampler._resource.pin()
        step, self._place = _native_step(), log.mark()
        batch, code = ctypes.addressof(self._batch.struct), ctypes.addressof(self._code)
        chain = self._sampler.native_chain
        fail = self._fail

        def next_token(token: int, position: int) -> int:
            found: int = step(pointer, batch, token, position, chain, code)
            return found if found >= 0 else fail()

        return next_token

    def logits(self) -> npt.NDArray[np.float32]:
        """What the last token was drawn from, as `Context.logits`; only within the block."""
        address = self._context._logits_ith(self._pointer, -1)
        assert address is not None  # a step that gave a token has them
        view = self._context._views.get(address)
        return self._context._view(address) if view is None else view

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._sampler._resource.unpin()
        self._context._use_guard.__exit__()

    def _fail(self) -> int:
        self._context._after(self._code.value, self._place, "llama_decode")
        raise AssertionError("a step that gave no token has a reason")
