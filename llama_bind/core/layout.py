"""How the memory of many texts is laid out: a stream for each, or one cache for all; how many texts; how much context.

Measured on 2 cores with a model of 135 million parameters: 16 texts of 400 tokens decode at 192 tokens/s in streams of
their own and at 132 in one cache, in which attention passes over the cells of all. One cache takes less memory. Not
for: contexts made by hand (`Context.create` takes llama.cpp's options as they are).
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

from llama_bind.core import cpu
from llama_bind.core.context_params import DEFAULT_N_CTX, cache_type, cell_bytes
from llama_bind.params import ContextParams

if TYPE_CHECKING:
    from llama_bind.core.model import Model

__all__ = ["DEFAULT_N_SEQ_MAX", "with_layout"]

DEFAULT_N_SEQ_MAX = 4
MEMORY_SHARE = 8
"""Streams of their own are chosen where they take at most one part in this of the memory that is free."""
LEAST_STREAM = 4096
"""Tokens of context that each stream gets where nothing was asked for and the model's own would be too much for all;
where that is too much as well, one cache for all is better."""
MOST_N_CTX = 2**31 - 1


def with_layout(model: Model, params: ContextParams) -> ContextParams:
    """Options for `Context.create` in which `n_seq_max` and `kv_unified` are decided and `n_ctx` counts all texts.

    What is asked for is kept: `kv_unified`, `n_seq_max`, and `n_ctx` as the context of one text.
    """
    n_seq_max = params.n_seq_max or DEFAULT_N_SEQ_MAX
    unified = params.kv_unified
    n_ctx = params.n_ctx or model.n_ctx_train if params.n_ctx is not None else None
    if unified is None:
        stream = _stream(model, params, n_ctx) if params.n_seq_max else None
        unified = n_seq_max > 1 and stream is None
        n_ctx = n_ctx if unified or n_seq_max == 1 else stream
    if n_ctx is not None and not unified:
        n_ctx = min(n_ctx * n_seq_max, MOST_N_CTX)
    return dataclasses.replace(params, n_seq_max=n_seq_max, kv_unified=unified, n_ctx=n_ctx)


def _stream(model: Model, params: ContextParams, n_ctx: int | None) -> int | None:
    """Tokens of context for each text in a stream of its own; None where that takes too much memory.

    A context that was asked for (`n_ctx`) is not made smaller.
    """
    wanted = n_ctx or min(model.n_ctx_train or DEFAULT_N_CTX, DEFAULT_N_CTX)
    per_cell = cell_bytes(model, cache_type(params.type_k, "type_k"), cache_type(params.type_v, "type_v"))
    if per_cell is None:
        return wanted if model.is_recurrent else None  # its state is the same size in both
    free = cpu.available_memory()
    if free is None:
        return wanted
    there = free // MEMORY_SHARE // ((params.n_seq_max or 1) * per_cell)
    if there >= wanted:
        return wanted
    return LEAST_STREAM if n_ctx is None and there >= LEAST_STREAM else None
