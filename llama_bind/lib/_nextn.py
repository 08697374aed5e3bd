"""Hidden states for multi-token prediction: functions of llama.cpp that its C API does not have.

``src/llama-ext.h`` declares them for llama.cpp's own programs, in C++: they are exported under C++ names, of which one
fits the compiler of this build. Not for: what they are used for (``core.nextn``).
"""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from llama_bind.errors import SymbolNotFoundError
from llama_bind.lib import _loader

__all__ = ["get_row", "get_rows", "send_rows"]

_SEND = ("_Z26llama_set_embeddings_nextnP13llama_contextbb", "?llama_set_embeddings_nextn@@YAXPEAUllama_context@@_N1@Z")
_ROWS = ("_Z26llama_get_embeddings_nextnP13llama_context", "?llama_get_embeddings_nextn@@YAPEAMPEAUllama_context@@@Z")
_ROW = (
    "_Z30llama_get_embeddings_nextn_ithP13llama_contexti",
    "?llama_get_embeddings_nextn_ith@@YAPEAMPEAUllama_context@@H@Z",
)


def _function(names: tuple[str, ...], restype: Any, *argtypes: Any) -> Any:
    for name in names[:-1]:
        try:
            return _declared(name, restype, argtypes)
        except SymbolNotFoundError:
            continue
    return _declared(names[-1], restype, argtypes)


def _declared(name: str, restype: Any, argtypes: tuple[Any, ...]) -> Any:
    library, found = _loader.symbol("llama", name)
    function = library[found]
    function.restype, function.argtypes = restype, list(argtypes)
    return function


@functools.cache
def send_rows() -> Any:
    """``void llama_set_embeddings_nextn(ctx, bool value, bool masked)``: whether decoding gives the hidden states, of
    all tokens or (masked) of those with output.
    """
    return _function(_SEND, None, ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool)


@functools.cache
def get_rows() -> Any:
    """``float * llama_get_embeddings_nextn(ctx)``: all rows of the last decode, as an address."""
    return _function(_ROWS, ctypes.c_void_p, ctypes.c_void_p)


@functools.cache
def get_row() -> Any:
    """``float * llama_get_embeddings_nextn_ith(ctx, int32_t i)``: the row of one token of the batch, as an address."""
    return _function(_ROW, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32)
