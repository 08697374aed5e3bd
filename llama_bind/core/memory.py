"""The memory of a context (K and V cache, recurrent state): which positions of which sequences it holds.

Every argument is checked here, because llama.cpp ends the process for a wrong sequence id. Called from the thread that
owns the context, like everything of a `Context`.

Not for: deciding what to keep (``engine``), or saving (``state``).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_bind.errors import InputError, UnsupportedError
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._guard import check_guard

if TYPE_CHECKING:
    from llama_bind.core.context import Context

__all__ = ["Memory"]

_LOW, _HIGH = -(2**31), 2**31 - 1


class Memory:
    """The memory of `context` (``llama_memory_t``). Ranges are positions p0 to p1 without p1; -1 is "from the start"
    and "to the end". A context without memory (an encoder) takes every call and holds nothing.

    Raises (every method):
        InputError: a sequence id outside 0 to n_seq_max - 1, or a position that is not a 32-bit integer.
        ClosedError: the context was closed.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._n_seq_max = context.n_seq_max
        self._pointer = context._memory_pointer

    @property
    def exists(self) -> bool:
        """Whether the model keeps anything between decodes (encoders do not)."""
        return self._pointer is not None

    @property
    def can_shift(self) -> bool:
        """Whether positions can be changed (`seq_add`, `seq_div`): not with M-RoPE, and not where the type of the K
        cache makes llama.cpp crash (bf16, and quantized types unless the heads are a multiple of 64 wide).
        """
        if self._context.model.is_mrope or not self._context._can_rotate_k:
            return False
        with self._context._use():
            return bool(llama_h.llama_memory_can_shift(self._pointer))

    def clear(self, data: bool = True) -> None:
        """Forget everything; `data` also zeroes the buffers."""
        with self._context._use():
            guard_h.lb_llama_memory_clear(self._pointer, bool(data))
            check_guard()

    def seq_rm(self, seq_id: int, p0: int = -1, p1: int = -1) -> bool:
        """Remove positions of a sequence (of all for -1). False when the memory cannot be cut there (recurrent and
        hybrid models); removing a whole sequence always works.
        """
        if seq_id != -1:
            self._check_seq(seq_id, "seq_id")
        p0, p1 = _position(p0, "p0"), _position(p1, "p1")
        with self._context._use():
            done = guard_h.lb_llama_memory_seq_rm(self._pointer, seq_id, p0, p1)
            check_guard()
        return bool(done)

    def seq_cp(self, src: int, dst: int, p0: int = -1, p1: int = -1) -> None:
        """Make positions of sequence `src` belong to `dst` too. No data is copied in a unified cache.

        Raises:
            UnsupportedError: a part of a sequence in a cache that is not unified.
        """
        self._check_seq(src, "src")
        self._check_seq(dst, "dst")
        p0, p1 = _position(p0, "p0"), _position(p1, "p1")
        if src == dst:
            return
        if not self._context.kv_unified and (p0 > 0 or 0 <= p1 <= self.seq_pos_max(src)):
            raise UnsupportedError(
                "a part of a sequence can only be copied in a unified cache; make the context with kv_unified=True"
            )
        if not self._context.kv_unified:
            p0 = p1 = -1
        with self._context._use():
            guard_h.lb_llama_memory_seq_cp(self._pointer, src, dst, p0, p1)
            check_guard()

    def seq_keep(self, seq_id: int) -> None:
        """Forget all other sequences (of the same stream, when the cache is not unified)."""
        self._check_seq(seq_id, "seq_id")
        with self._context._use():
            guard_h.lb_llama_memory_seq_keep(self._pointer, seq_id)
            check_guard()

    def seq_add(self, seq_id: int, p0: int, p1: int, delta: int) -> None:
        """Add `delta` to positions. What falls below 0 is forgotten.

        Raises:
            UnsupportedError: the memory cannot shift.
        """
        self._check_shift(seq_id)
        p0, p1, delta = _position(p0, "p0"), _position(p1, "p1"), _position(delta, "delta")
        if delta == 0:
            return
        if self.seq_pos_max(seq_id) + delta > _HIGH:
            raise InputError("the positions would leave 32 bits", param="delta")
        with self._context._use():
            guard_h.lb_llama_memory_seq_add(self._pointer, seq_id, p0, p1, delta)
            check_guard()

    def seq_div(self, seq_id: int, p0: int, p1: int, d: int) -> None:
        """Divide positions by `d`, at least 1.

        Raises:
            UnsupportedError: the memory cannot shift.
        """
        self._check_shift(seq_id)
        p0, p1, d = _position(p0, "p0"), _position(p1, "p1"), _position(d, "d")
        if d < 1:
            raise InputError("d must be at least 1", param="d")
        with self._context._use():
            guard_h.lb_llama_memory_seq_div(self._pointer, seq_id, p0, p1, d)
            check_guard()

    def seq_pos_min(self, seq_id: int) -> int:
        """The lowest position held, -1 when there is none."""
        self._check_seq(seq_id, "seq_id")
        with self._context._use():
            return int(llama_h.llama_memory_seq_pos_min(self._pointer, seq_id))

    def seq_pos_max(self, seq_id: int) -> int:
        """The highest position held, -1 when there is none."""
        self._check_seq(seq_id, "seq_id")
        with self._context._use():
            return int(llama_h.llama_memory_seq_pos_max(self._pointer, seq_id))

    def _check_seq(self, seq_id: int, param: str) -> None:
        if not isinstance(seq_id, int) or not 0 <= seq_id < self._n_seq_max:
            raise InputError(f"{param} must be 0 to {self._n_seq_max - 1}, not {seq_id!r}", param=param)

    def _check_shift(self, seq_id: int) -> None:
        self._check_seq(seq_id, "seq_id")
        if not self.can_shift:
            raise UnsupportedError("the memory of this context cannot shift positions (can_shift is False)")


def _position(value: int, param: str) -> int:
    if not isinstance(value, int) or not _LOW <= value <= _HIGH:
        raise InputError(f"{param} must be a 32-bit integer, not {value!r}", param=param)
    return value
