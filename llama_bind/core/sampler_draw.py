"""How native code draws with a chain: over the whole vocabulary, or by a shorter way to the same token.

A sampler that only keeps the k likeliest tokens makes those before it that do nothing, and the list of all candidates,
unnecessary: native code finds the k in one pass over the logits and gives them to the samplers after it
(``native/llama_bind_draw.cpp``). The token and the state of the chain are the same as with the whole of it.

Not for: grammars, which stand beside the chain (``sampler``), or what goes into a chain (``sampler_chain``).
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from llama_bind.core.handle import pin_all, unpin_all
from llama_bind.core.sampler_chain import Stage, remembers
from llama_bind.core.sampler_native import native
from llama_bind.errors import InputError, NativeAbortError
from llama_bind.lib import guard_h
from llama_bind.lib._guard import check_guard

if TYPE_CHECKING:
    from llama_bind.core.context import Context
    from llama_bind.core.sampler import Sampler

__all__ = ["MAX_TOP_K", "Drawer", "chain_struct"]

MAX_TOP_K = 256
"""Above, sorting what is kept costs so much that a shorter way there saves little."""

GREEDY = -1


def chain_struct(stages: Sequence[Stage], chain: int) -> Any:
    """The ``lb_chain`` of a chain with these stages. It keeps the biases; the chain must outlive its use."""
    struct = guard_h.lb_chain()
    struct.chain = ctypes.cast(chain, type(struct.chain))
    biases = stages[0].args if stages[0].name == "logit_bias" else None
    first = 0 if biases is None else 1
    while first < len(stages) and _is_idle(stages[first]):
        first += 1
    stage = stages[first]
    if stage.name == "greedy":
        struct.top_k = GREEDY
    elif stage.name == "top_k" and 1 <= stage.args[0] <= MAX_TOP_K:
        struct.top_k, struct.rest = stage.args[0], first + 1
    if struct.top_k and biases is not None:
        struct.n_biases, struct.biases = biases[1], biases[2]
    return struct


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
        self._last: list[Sampler] = []

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
            self._last = samplers
        self._outputs[:count] = outputs
        resources = [sampler._resource for sampler in samplers]
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
