"""How native code draws with a chain: over the whole vocabulary, or by a shorter way to the same token.

Most chains begin with samplers that do nothing and one that keeps the k likeliest tokens. Native code then finds these
in one pass over the logits, without a list of all candidates, and gives them to the samplers that follow
(``native/llama_bind_draw.cpp``). Biases and penalties may come first: they change few logits, and which is known. The
token and the state of the chain are the same as with the whole of it.

Not for: grammars, which stand beside the chain (``sampler``), or what goes into a chain (``sampler_chain``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llama_bind.core.handle import Resource, pin_all, unpin_all
from llama_bind.core.sampler_chain import Stage, remembers
from llama_bind.core.sampler_native import native
from llama_bind.errors import InputError, NativeAbortError
from llama_bind.lib import guard_h
from llama_bind.lib._guard import check_guard

if TYPE_CHECKING:
    from llama_bind.core.context import Context
    from llama_bind.core.sampler import Sampler

__all__ = ["MAX_HISTORY", "MAX_TOP_K", "Drawer", "chain_struct", "clear_history", "copy_history"]

MAX_TOP_K = 256
"""Above, sorting what is kept costs so much that a shorter way there saves little."""

MAX_HISTORY = 1024
"""Most tokens that penalties look back at on a shorter way: all of them are candidates there."""

GREEDY = -1


def chain_struct(stages: Sequence[Stage], chain: int) -> Any:
    """The ``lb_chain`` of a chain with these stages. It keeps the biases and the history; the chain must outlive it."""
    struct = guard_h.lb_chain()
    struct.chain = ctypes.cast(chain, type(struct.chain))
    at = 0
    if stages[0].name == "logit_bias":
        struct.n_biases, struct.biases = stages[0].args[1:]
        at = 1
    at = _after_idle(stages, at)
    if stages[at].name == "penalties" and 1 <= remembers(stages[at]) <= MAX_HISTORY:
        _set_history(struct, at, remembers(stages[at]))
        at = _after_idle(stages, at + 1)
    stage = stages[at]
    if stage.name == "top_k" and 1 <= stage.args[0] <= MAX_TOP_K:
        struct.top_k, struct.rest = stage.args[0], at + 1
    elif stage.name == "greedy":
        # Behind penalties: the likeliest token alone, which greedy then takes.
        struct.top_k, struct.rest = (1, at) if struct.history_size else (GREEDY, 0)
    return struct


def _set_history(struct: Any, index: int, size: int) -> None:
    struct.penalties, struct.history_size, struct.history = index, size, (ctypes.c_int32 * size)(*[-1] * size)


def clear_history(struct: Any) -> None:
    """Forget the accepted tokens, as a reset of the chain does."""
    if struct.history_size:
        _set_history(struct, struct.penalties, struct.history_size)


def copy_history(source: Any, target: Any) -> None:
    """Give an equal chain's struct the same accepted tokens."""
    if source.history_size:
        size = source.history_size * ctypes.sizeof(ctypes.c_int32)
        ctypes.memmove(target.history, source.history, size)
        target.history_next = source.history_next


def _after_idle(stages: Sequence[Stage], at: int) -> int:
    while at < len(stages) - 1 and _is_idle(stages[at]):
        at += 1
    return at


def _is_idle(stage: Stage) -> bool:
    """Whether a sampler changes nothing, whatever comes. Its arguments are C floats."""
    name, args = stage
    if name in ("penalties", "dry"):
        return not remembers(stage)
    if name == "top_k" or name == "top_n_sigma":
        return bool(args[0] <= 0)
    if name in ("top_p", "typical"):
        return bool(args[0] >= 1)
    if name == "min_p":
        return bool(args[0] <= 0)
    return name == "xtc" and (args[0] <= 0 or ctypes.c_float(args[1]).value > 0.5)


class Drawer:
    """Draws for many sequences after one decode of `context`, in one native call. One thread at a time.

    Args:
        context: Where the outputs are.
        capacity: Most sequences at once.
    """

    def __init__(self, context: Context, capacity: int) -> None:
        self._context = context
        self._outputs = np.zeros(capacity, np.int32)
        self._chains = np.zeros(capacity, np.uintp)
        self._tokens = np.zeros(capacity, np.int32)
        self._addresses = tuple(array.ctypes.data for array in (self._outputs, self._chains, self._tokens))
        self._last: list[Sampler] = []  # mostly the same as in the step before
        self._resources: list[Resource] = []

    def draw(self, samplers: list[Sampler], outputs: list[int]) -> list[int | BaseException]:
        """For each output the token that its sampler chooses and accepts, or why it chose none.

        Args:
            samplers: Of sequences that nobody else uses meanwhile, of this context's model, without grammars.
            outputs: Indices in the last batch.

        Raises:
            InputError: more than `capacity`, or lists of different lengths.
            ClosedError: a sampler or the context was closed.
        """
        count = len(samplers)
        if count > len(self._tokens) or count != len(outputs):
            raise InputError(f"draw for at most {len(self._tokens)} samplers, each with one output", param="samplers")
        if samplers != self._last:
            self._chains[:count] = [sampler.native_chain for sampler in samplers]
            self._last, self._resources = samplers, [sampler._resource for sampler in samplers]
        self._outputs[:count] = outputs
        resources = self._resources
        with self._context._use_guard as pointer:
            pin_all(resources)
            try:
                return self._sample_each(pointer, count)
            finally:
                unpin_all(resources)

    def _sample_each(self, pointer: int, count: int) -> list[int | BaseException]:
        outputs, chains, tokens = self._addresses
        draw_many = native().draw_many
        failed: list[tuple[int, BaseException]] = []
        done = draw_many(pointer, count, outputs, chains, tokens)
        while done < count:
            try:
                check_guard()
            except NativeAbortError as error:
                failed.append((done, error))
            done += 1
            done += draw_many(
                pointer, count - done, outputs + 4 * done, chains + self._chains.itemsize * done, tokens + 4 * done
            )
        found: list[Any] = self._tokens[:count].tolist()
        for place, reason in failed:
            found[place] = reason
        return found
