"""The native calls of a sampler: guarded functions that take addresses, and the array of candidate tokens.

Not for: deciding anything (``sampler``).
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from ctypes import c_bool, c_char_p, c_float, c_int32, c_int64, c_size_t, c_uint32, c_void_p
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from llama_bind.errors import NativeAbortError
from llama_bind.lib import _ctypes, guard_h, llama_h

__all__ = ["CANDIDATE", "Candidates", "Native", "free_one", "free_pair", "native"]

CANDIDATE = np.dtype([("id", np.int32), ("logit", np.float32), ("p", np.float32)])
"""``llama_token_data``."""

_INIT: dict[str, list[Any]] = {
    "greedy": [],
    "dist": [c_uint32],
    "top_k": [c_int32],
    "top_p": [c_float, c_size_t],
    "min_p": [c_float, c_size_t],
    "typical": [c_float, c_size_t],
    "temp": [c_float],
    "temp_ext": [c_float, c_float, c_float],
    "xtc": [c_float, c_float, c_size_t, c_uint32],
    "top_n_sigma": [c_float],
    "mirostat": [c_int32, c_uint32, c_float, c_float, c_int32],
    "mirostat_v2": [c_uint32, c_float, c_float],
    "grammar": [c_void_p, c_char_p, c_char_p],
    "penalties": [c_int32, c_int32, c_float, c_float, c_float],
    "dry": [c_void_p, c_float, c_float, c_int32, c_int32, ctypes.POINTER(c_char_p), c_size_t],
    "adaptive_p": [c_float, c_float, c_uint32],
    "logit_bias": [c_int32, c_int32, ctypes.POINTER(llama_h.llama_logit_bias)],
    "infill": [c_void_p],
}


class Native(NamedTuple):
    """Raw functions; pointers are addresses. After each call ask ``check_guard`` (or look at what it returned)."""

    draw: Callable[..., Any]
    draw_row: Callable[..., Any]
    draw_many: Callable[..., Any]
    accept: Callable[..., Any]
    accept_chain: Callable[..., Any]
    apply: Callable[..., Any]
    reset: Callable[..., Any]
    clone: Callable[..., Any]
    free: Callable[..., Any]
    name: Callable[..., Any]
    get: Callable[..., Any]
    chain_init: Callable[..., Any]
    chain_add: Callable[..., Any]
    init: dict[str, Callable[..., Any]]


@functools.cache
def native() -> Native:
    """The functions, resolved once."""

    def function(name: str, restype: Any, *argtypes: Any) -> Callable[..., Any]:
        stub = getattr(guard_h, f"lb_llama_sampler_{name}")
        found: Callable[..., Any] = _ctypes.retype(stub, restype=restype, argtypes=list(argtypes))
        return found

    return Native(
        draw=_ctypes.retype(guard_h.lb_draw, restype=c_int32, argtypes=[c_void_p, c_int32, c_void_p]),
        draw_row=_ctypes.retype(guard_h.lb_draw_row, restype=c_int32, argtypes=[c_void_p, c_int32, c_void_p]),
        draw_many=_ctypes.retype(
            guard_h.lb_draw_many, restype=c_int32, argtypes=[c_void_p, c_int32, c_void_p, c_void_p, c_void_p]
        ),
        accept=function("accept", None, c_void_p, c_int32),
        accept_chain=_ctypes.retype(guard_h.lb_accept, restype=None, argtypes=[c_void_p, c_int32]),
        apply=function("apply", None, c_void_p, c_void_p),
        reset=function("reset", None, c_void_p),
        clone=function("clone", c_void_p, c_void_p),
        free=function("free", None, c_void_p),
        name=function("name", c_char_p, c_void_p),
        get=function("chain_get", c_void_p, c_void_p, c_int32),
        chain_init=function("chain_init", c_void_p, llama_h.llama_sampler_chain_params),
        chain_add=function("chain_add", None, c_void_p, c_void_p),
        init={name: function(f"init_{name}", c_void_p, *argtypes) for name, argtypes in _INIT.items()},
    )


def free_one(sampler: int) -> None:
    """Free a sampler that is in no chain."""
    native().free(sampler)


def free_pair(grammar: int, chain: int) -> None:
    """Free a chain and the grammar beside it (0: none)."""
    functions = native()
    functions.free(chain)
    if grammar:
        functions.free(grammar)


class _Array(ctypes.Structure):
    """``llama_token_data_array`` with an address where C has a typed pointer."""

    _fields_ = (("data", c_void_p), ("size", c_size_t), ("selected", c_int64), ("sorted", c_bool))


class Candidates:
    """A ``llama_token_data_array`` over memory of numpy's, filled anew for each use.

    Attributes:
        address: of the C struct.
    """

    __slots__ = ("_array", "_base", "_data", "_flat", "_logits", "_template", "address")

    def __init__(self, n_vocab: int) -> None:
        self._data = np.zeros(n_vocab, CANDIDATE)
        self._data["id"] = np.arange(n_vocab, dtype=np.int32)
        self._logits = self._data["logit"]
        self._flat = self._data.view(np.int32)  # copying structured arrays goes field by field, 30 times slower
        self._template = self._flat.copy()
        self._base = self._data.ctypes.data
        self._array = _Array()
        self.address = ctypes.addressof(self._array)

    def fill(self, row: npt.NDArray[np.float32]) -> None:
        """All tokens in order with these logits."""
        self._flat[:] = self._template
        self._logits[:] = row
        array = self._array
        array.data = self._base
        array.size = self._data.size
        array.selected = -1
        array.sorted = False

    def fill_one(self, token: int) -> None:
        """Only this token, with a logit that is not minus infinity."""
        self._data[0] = (token, 1.0, 0.0)
        array = self._array
        array.data = self._base
        array.size = 1
        array.selected = -1
        array.sorted = False

    def first_logit(self) -> float:
        """The logit of the first candidate."""
        return float(self._logits[0])

    def left(self) -> npt.NDArray[Any]:
        """A copy of what samplers left. They may have moved the start."""
        start = (self._array.data - self._base) // CANDIDATE.itemsize
        return np.array(self._data[start : start + self._array.size])

    def is_sorted(self) -> bool:
        """Whether a sampler left the candidates in descending order."""
        return bool(self._array.sorted)

    def selected(self) -> int:
        """The token that the last sampler chose."""
        array = self._array
        if not 0 <= array.selected < array.size:
            raise NativeAbortError("the sampler chain chose no token")
        start = (array.data - self._base) // CANDIDATE.itemsize
        return int(self._data["id"][start + array.selected])
