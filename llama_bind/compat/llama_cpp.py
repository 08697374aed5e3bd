"""llama.cpp's C API under llama-cpp-python's names: the generated mirror, and what that package adds to or renames.

Functions are the raw ctypes functions of the mirror: integers for pointers, C's rules for arguments. Nothing is opened
before the first call. Not for: checks of any kind; llama.cpp ends the process for what it does not expect.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

from llama_bind.compat._ctypes_extensions import ctypes_function_for_shared_library
from llama_bind.compat._mirrors import Mirrors, deprecated
from llama_bind.lib import ggml_backend_h, ggml_cpu_h, ggml_h, ggml_opt_h, gguf_h, llama_h
from llama_bind.lib._loader import load_backends, open_library
from llama_bind.lib.llama_h import (
    llama_logit_bias,
    llama_sampler,
    llama_token,
    llama_token_data,
    llama_token_data_array,
)

_PLUMBING = frozenset((
    "CDECL", "Callback", "IntEnum", "Struct", "TYPE_CHECKING", "Union", "annotations", "binder", "deprecated",
    "POINTER", "c_bool", "c_char", "c_char_p", "c_double", "c_float", "c_int", "c_int8", "c_int16", "c_int32",
    "c_int64", "c_long", "c_size_t", "c_ubyte", "c_uint", "c_uint8", "c_uint16", "c_uint32", "c_uint64", "c_ulong",
    "c_void_p",
))  # fmt: skip
_MIRRORED = Mirrors(
    "llama_cpp.llama_cpp",
    (llama_h, ggml_h, ggml_backend_h, ggml_cpu_h, ggml_opt_h, gguf_h),
    lambda name: not name.startswith("_") and name not in _PLUMBING,
)

llama_adapter_lora_p_ctypes = llama_batch_ext_p_ctypes = llama_context_p_ctypes = ctypes.c_void_p
llama_kv_cache_p = llama_kv_cache_p_ctypes = llama_memory_t_ctypes = ctypes.c_void_p
llama_model_p_ctypes = llama_vocab_p_ctypes = gguf_context_p_ctypes = ctypes.c_void_p
llama_sampler_p = llama_sampler_p_ctypes = ctypes.POINTER(llama_sampler)
llama_token_p = ctypes.POINTER(llama_token)
llama_token_data_p = ctypes.POINTER(llama_token_data)
llama_token_data_array_p = ctypes.POINTER(llama_token_data_array)
llama_logit_bias_p = ctypes.POINTER(llama_logit_bias)
llama_model_kv_override_value = llama_h.llama_model_kv_override_u0
llama_log_callback = ggml_h.ggml_log_callback

# llama-vocab.h, which is not part of the public API: numbers of pre-tokenizers in order.
_PRE_TYPES = (
    "DEFAULT", "LLAMA3", "DEEPSEEK_LLM", "DEEPSEEK_CODER", "FALCON", "MPT", "STARCODER", "GPT2", "REFACT", "COMMAND_R",
    "STABLELM2", "QWEN2", "OLMO", "DBRX", "SMAUG", "PORO", "CHATGLM3", "CHATGLM4", "VIKING", "JAIS", "TEKKEN", "SMOLLM",
    "CODESHELL", "BLOOM", "GPT3_FINNISH", "EXAONE", "CHAMELEON", "MINERVA", "DEEPSEEK3_LLM", "GPT4O", "SUPERBPE",
    "TRILLION", "BAILINGMOE", "LLAMA4", "PIXTRAL", "SEED_CODER",
)  # fmt: skip
globals().update({f"LLAMA_VOCAB_PRE_TYPE_{name}": number for number, name in enumerate(_PRE_TYPES)})


def _value_of(override: Any) -> Any:
    """The union of an override, which C has without a name and llama-cpp-python as ``value``."""
    return override._u0


llama_h.llama_model_kv_override.value = property(_value_of)  # type: ignore[attr-defined]


def llama_set_adapter_lora(ctx: Any, adapter: Any, scale: float, /) -> int:
    """Older name for one adapter of `llama_set_adapters_lora`."""
    deprecated("llama_set_adapter_lora", "llama_set_adapters_lora")
    adapters, scales = (ctypes.c_void_p * 1)(adapter), (ctypes.c_float * 1)(scale)
    return int(llama_h.llama_set_adapters_lora(ctx, adapters, 1, scales))


def llama_apply_adapter_cvec(ctx: Any, data: Any, length: int, n_embd: int, il_start: int, il_end: int, /) -> int:
    """Older name of `llama_set_adapter_cvec`."""
    deprecated("llama_apply_adapter_cvec", "llama_set_adapter_cvec")
    return int(llama_h.llama_set_adapter_cvec(ctx, data, length, n_embd, il_start, il_end))


def ctypes_function(
    name: str, argtypes: list[Any], restype: Any, enabled: bool = True
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that puts the library's function in the place of a declaration."""

    def decorate(declared: Callable[..., Any]) -> Callable[..., Any]:
        if not enabled:
            return declared
        return ctypes_function_for_shared_library(_library())(name, argtypes, restype)(declared)

    return decorate


def _library() -> ctypes.CDLL:
    """The opened libllama; its functions have ctypes' default conversions until someone sets others."""
    load_backends()
    return open_library("llama")


def __getattr__(name: str) -> Any:
    if name == "_lib":
        return _library()
    if name == "LLAMA_MAX_DEVICES":
        return llama_h.llama_max_devices()
    if name == "__all__":
        return _public()
    return _MIRRORED.find(name)


def _public() -> list[str]:
    own = {name for name in globals() if name.startswith(("llama_", "LLAMA_", "gguf_"))} - {"llama_h"}
    return sorted(own | _MIRRORED.names())


def __dir__() -> list[str]:
    return sorted({*globals(), *_public(), "LLAMA_MAX_DEVICES", "_lib"})
