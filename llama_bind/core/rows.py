"""Embeddings out of native memory, copied. Not for: computing them (``context``)."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

import numpy as np
import numpy.typing as npt

from llama_bind.errors import InputError
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._guard import check_guard

if TYPE_CHECKING:
    from llama_bind.core.context import Context

    Floats = npt.NDArray[np.float32]

__all__ = ["last_rows", "pooled", "row"]


def row(context: Context, i: int) -> Floats:
    """See `Context.embeddings`."""
    _check_int32(i, "i")
    with context._use() as pointer:
        array = guard_h.lb_llama_get_embeddings_ith(pointer, i)
        if not array:
            _refuse(f"the last batch has no embedding at {i}; ask for output of that token", "i")
        return np.ctypeslib.as_array(array, (context.model.n_embd_out,)).astype(np.float32, copy=True)


def last_rows(context: Context, count: int) -> Floats:
    """See `Context.embedding_rows`."""
    _check_int32(count, "count")
    if count < 1:
        raise InputError(f"count must be at least 1, not {count}", param="count")
    if context.pooling_type != llama_h.LLAMA_POOLING_TYPE_NONE:
        raise InputError("this context pools; ask for the embedding of a sequence", param="count")
    with context._use() as pointer:
        # Rows lie one after the other; asking for the first of them checks that there are so many.
        array = guard_h.lb_llama_get_embeddings_ith(pointer, -count)
        if not array:
            _refuse(f"the last batch has no {count} embeddings", "count")
        return np.ctypeslib.as_array(array, (count, context.model.n_embd_out)).astype(np.float32, copy=True)


def pooled(context: Context, seq_id: int) -> Floats:
    """See `Context.embeddings_seq`."""
    _check_int32(seq_id, "seq_id")
    with context._use() as pointer:
        array = guard_h.lb_llama_get_embeddings_seq(pointer, seq_id)
        if not array:
            _refuse(f"the last batch gave no pooled embedding of sequence {seq_id}", "seq_id")
        rank = context.pooling_type == llama_h.LLAMA_POOLING_TYPE_RANK
        length = context.model.n_cls_out if rank else context.model.n_embd_out
        return np.ctypeslib.as_array(array, (length,)).astype(np.float32, copy=True)


def _refuse(message: str, param: str) -> NoReturn:
    check_guard()
    raise InputError(message, param=param)


def _check_int32(value: int, name: str) -> None:
    if not isinstance(value, (int, np.integer)) or not -(2**31) <= value < 2**31:
        raise InputError(f"{name} must be a 32-bit integer, not {value!r}", param=name)
