"""Multi-token prediction: layers of some models that guess the token after the next from the hidden state.

The main context gives the hidden state of every token it computes; a second context of the same model runs the extra
layers on pairs of a token and the state before it (``LLAMA_CONTEXT_TYPE_MTP``). Not for: what to guess for whom
(``engine.mtp``).
"""

from __future__ import annotations

import ctypes
import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llama_bind.core.batch import Batch
from llama_bind.core.context import Context
from llama_bind.errors import InputError
from llama_bind.lib import _nextn, llama_h
from llama_bind.params import ContextParams

if TYPE_CHECKING:
    from llama_bind.core.model import Model

__all__ = ["StateBatch", "create_nextn_context", "nextn_params", "send_states", "state_of", "states_of"]

Floats = npt.NDArray[np.float32]


class StateBatch(Batch):
    """A batch whose tokens come with a hidden state each.

    Attributes:
        states: float32, shape (capacity, width).
    """

    __slots__ = ("states",)

    def __init__(self, n_tokens: int, width: int) -> None:
        super().__init__(n_tokens, 1)
        self.states: Floats = np.zeros((self.capacity, width), np.float32)
        fields: dict[str, Any] = dict(type(self.struct)._fields_)
        self.struct.embd = ctypes.cast(self.states.ctypes.data, fields["embd"])


def create_nextn_context(model: Model, params: ContextParams) -> Context:
    """A context that runs the model's extra layers; `StateBatch` is its input.

    Raises:
        InputError: the model has none, or was loaded without them.
        ContextError: as for `Context.create`.
    """
    if model.n_layer_nextn < 1 or not model.params.load_mtp:
        raise InputError("the model was loaded without multi-token-prediction layers", param="model")
    context = Context.create(model, params, ctx_type=llama_h.LLAMA_CONTEXT_TYPE_MTP)
    send_states(context, masked=True)
    return context


def send_states(context: Context, *, masked: bool) -> None:
    """Let every decode give hidden states: of all tokens, or (masked) of those that give logits."""
    with context._use_guard as pointer:
        _nextn.send_rows()(pointer, True, masked)


def states_of(context: Context, n_tokens: int) -> Floats:
    """The hidden states of the last decode's `n_tokens` tokens, copied; shape (n_tokens, width).

    Raises:
        InputError: the context does not give them.
    """
    with context._use_guard as pointer:
        return _copied(_nextn.get_rows()(pointer), (n_tokens, context.model.n_embd_out))


def state_of(context: Context, i: int) -> Floats:
    """The hidden state of token `i` of the last batch, copied; for contexts that give them masked."""
    with context._use_guard as pointer:
        return _copied(_nextn.get_row()(pointer, i), (context.model.n_embd_out,))


def _copied(address: int | None, shape: tuple[int, ...]) -> Floats:
    if not address:
        raise InputError("the last decode gave no hidden states there", param="i")
    array = (ctypes.c_float * int(np.prod(shape))).from_address(address)
    return np.array(np.frombuffer(memoryview(array), np.float32).reshape(shape))


def nextn_params(params: ContextParams, **changes: Any) -> ContextParams:
    """The options of a context for the extra layers: those of the main one, without what is for its outputs."""
    return dataclasses.replace(
        params, embedding=False, pooling_type="unspecified", abort_callback=None, eval_callback=None, **changes
    )
