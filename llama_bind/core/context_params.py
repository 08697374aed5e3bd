"""`ContextParams` as ``llama_context_params``: defaults decided, everything checked that llama.cpp would abort on.

Not for: making the context (``context``), or the options themselves (``llama_bind.params``).
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from llama_bind.core import cpu
from llama_bind.errors import ContextError, InputError
from llama_bind.lib import ggml_h, llama_h
from llama_bind.options import validate
from llama_bind.params import CACHE_TYPES, ContextParams

if TYPE_CHECKING:
    from llama_bind.core.model import Model

__all__ = ["DEFAULT_N_CTX", "cache_type", "can_rotate_k", "cell_bytes", "native_context_params", "sees_whole_texts"]

DEFAULT_N_CTX = 8192
"""Most tokens of context when `ContextParams.n_ctx` is unset."""

_PAD = 256  # llama.cpp rounds n_ctx up to this
_LEAST_N_CTX = 512
_MEMORY_SHARE = 4  # an unset n_ctx takes at most one part in this of the memory that is free
_CELL_OVERHEAD = 56  # bytes of llama_kv_cells for each cell: position, shift, extras, set of 256 sequences

_ROPE = {"unspecified": -1, "none": 0, "linear": 1, "yarn": 2, "longrope": 3}
_POOLING = {"unspecified": -1, "none": 0, "mean": 1, "cls": 2, "last": 3, "rank": 4}
_ATTENTION = {"unspecified": -1, "causal": 0, "non_causal": 1}
# Architectures for which llama.cpp sets causal_attn to false whatever the file says (src/models).
_NON_CAUSAL = frozenset({"dream", "gemma-embedding", "llada", "llada-moe", "rnd1"})
_FLASH: dict[Any, int] = {None: -1, "auto": -1, True: 1, "on": 1, False: 0, "off": 0}


def native_context_params(model: Model, params: ContextParams, n_ctx_default: int = DEFAULT_N_CTX) -> Any:
    """The C struct, without callbacks.

    Raises:
        InputError: an option that cannot be used; ``param`` names it.
        ContextError: options that do not go together, or with this model, or need more memory than there is.
    """
    validate(params)
    struct = llama_h.llama_context_default_params()
    struct.n_seq_max = n_seq_max = params.n_seq_max or 1
    struct.kv_unified = bool(params.kv_unified)  # apart is faster on the CPU, and no sequence can starve another
    struct.type_k, struct.type_v = cache_type(params.type_k, "type_k"), cache_type(params.type_v, "type_v")
    struct.flash_attn_type = _FLASH[params.flash_attn]
    _check_cache_types(model, struct)
    struct.n_ctx = _n_ctx(model, params, struct, n_ctx_default)
    # llama.cpp asserts room for one output of every sequence, and limits the batch to the context.
    struct.n_batch = max(params.n_batch, n_seq_max)
    struct.n_ubatch = min(params.n_ubatch, struct.n_batch)
    struct.rope_scaling_type = _number(params.rope_scaling_type, _ROPE)
    struct.pooling_type = _number(params.pooling_type, _POOLING)
    struct.attention_type = _number(params.attention_type, _ATTENTION)
    if sees_whole_texts(model, params.attention_type):
        struct.n_batch = min(max(struct.n_batch, struct.n_ctx), 2**20)
        struct.n_ubatch = struct.n_batch  # such a model sees a text at once or not at all
    struct.n_threads = params.n_threads or cpu.usable_cores()
    struct.n_threads_batch = params.n_threads_batch or struct.n_threads
    struct.n_rs_seq = params.n_rs_seq
    for name in ("rope_freq_base", "rope_freq_scale", "yarn_ext_factor", "yarn_attn_factor", "yarn_beta_fast"):
        setattr(struct, name, getattr(params, name))
    struct.yarn_beta_slow = params.yarn_beta_slow
    struct.yarn_orig_ctx = params.yarn_orig_ctx
    struct.embeddings = params.embedding
    struct.offload_kqv, struct.op_offload = params.offload_kqv, params.op_offload
    struct.swa_full, struct.no_perf = params.swa_full, params.no_perf
    _check_finite(struct)
    return struct


def cache_type(value: int | str, param: str) -> int:
    """Ggml's number of a cache type given by name or number; raises `InputError` for one that no cache can have."""
    numbers = {name: int(getattr(ggml_h, f"GGML_TYPE_{name.upper()}")) for name in CACHE_TYPES}
    if isinstance(value, str):
        number = numbers.get(value.lower())
    else:
        number = value if value in numbers.values() and not isinstance(value, bool) else None
    if number is None:
        choices = ", ".join(f"{name} ({number})" for name, number in numbers.items())
        raise InputError(f"{param} must be one of {choices}, not {value!r}", param=param)
    return int(number)


def _check_cache_types(model: Model, struct: Any) -> None:
    flash_off = struct.flash_attn_type == 0
    if flash_off and ggml_h.ggml_is_quantized(struct.type_v):
        raise ContextError("a quantized type_v needs flash attention; leave flash_attn unset or set it to True")
    for param, number, width in (
        ("type_k", struct.type_k, _head_width(model, "key_length")),
        ("type_v", struct.type_v, _head_width(model, "value_length")),
    ):
        block = int(ggml_h.ggml_blck_size(number))
        if width and width % block:
            name = (ggml_h.ggml_type_name(number) or b"").decode()
            raise ContextError(f"{param} {name} packs {block} values, which does not divide the head width {width}")


def _head_width(model: Model, name: str) -> int | None:
    width = model.meta_int(f"attention.{name}")
    if width is None and model.n_head > 0:
        width = model.n_embd // model.n_head
    return width


def cell_bytes(model: Model, type_k: int, type_v: int) -> int | None:
    """Bytes of K and V for one token in all layers, or None where the metadata does not tell: recurrent, hybrid and
    sliding-window models, compressed caches.
    """
    k, v = _head_width(model, "key_length"), _head_width(model, "value_length")
    unusual = model.is_recurrent or model.is_hybrid or model.n_swa > 0 or model.meta_int("attention.kv_lora_rank")
    if unusual or not k or not v or model.n_head_kv <= 0:
        return None
    if model.meta_int("attention.head_count_kv") is None and model.n_head_kv != model.n_head:
        return None  # differs from layer to layer
    rows = ggml_h.ggml_row_size(type_k, k * model.n_head_kv) + ggml_h.ggml_row_size(type_v, v * model.n_head_kv)
    return int(rows) * model.n_layer


def can_rotate_k(model: Model, type_k: int) -> bool:
    """Whether positions of a K cache of this type can be changed without a crash in llama.cpp.

    ggml's CPU code has no RoPE of bf16. For quantized types llama.cpp needs its Hadamard rotation, which it switches on
    for one head width in all layers, a multiple of 64 (``attn_rot_k`` in llama-kv-cache.cpp); otherwise it follows a
    null pointer.
    """
    if not ggml_h.ggml_is_quantized(type_k):
        return type_k != int(ggml_h.GGML_TYPE_BF16)
    width = _head_width(model, "key_length")
    uniform = model.meta_int("attention.key_length_swa") in (None, width)
    return bool(width and width % 64 == 0 and uniform) and os.environ.get("LLAMA_ATTN_ROT_DISABLE", "0") in ("", "0")


def _n_ctx(model: Model, params: ContextParams, struct: Any, n_ctx_default: int) -> int:
    """Tokens of context in all, rounded up as llama.cpp does."""
    per_cell = cell_bytes(model, struct.type_k, struct.type_v)
    free = cpu.available_memory()
    streams = 1 if struct.kv_unified else struct.n_seq_max
    if params.n_ctx is None:
        wanted = min(model.n_ctx_train or _LEAST_N_CTX, n_ctx_default) * streams
        if free is not None and per_cell:
            affordable = free // _MEMORY_SHARE // (per_cell + _CELL_OVERHEAD)
            wanted = max(min(wanted, affordable // _PAD * _PAD), min(wanted, _LEAST_N_CTX * streams))
        return _padded(wanted)
    wanted = params.n_ctx or model.n_ctx_train
    if wanted <= 0:
        raise ContextError("the model does not say how much context it was trained with; give n_ctx")
    n_ctx = _padded(wanted)
    on_host = (per_cell or 0) if not _cache_on_gpu(model, params) else 0
    needed = (on_host + _CELL_OVERHEAD) * n_ctx
    if free is not None and not model.is_recurrent and needed > free:
        raise ContextError(
            f"n_ctx={wanted} needs about {needed / 2**30:.1f} GiB, {free / 2**30:.1f} GiB are free; "
            "choose a smaller n_ctx, or a smaller type_k and type_v"
        )
    return n_ctx


def _padded(n_ctx: int) -> int:
    return (n_ctx + _PAD - 1) // _PAD * _PAD


def _cache_on_gpu(model: Model, params: ContextParams) -> bool:
    from llama_bind.core.devices import has_gpu

    return params.offload_kqv and model.params.n_gpu_layers != 0 and model.params.devices != () and has_gpu()


def sees_whole_texts(model: Model, attention_type: int | str = "unspecified") -> bool:
    """Whether each token of a text sees all others, so that a text must be computed at once."""
    number = _number(attention_type, _ATTENTION)
    if number != _ATTENTION["unspecified"]:
        return number == _ATTENTION["non_causal"]
    return model.arch in _NON_CAUSAL or model.metadata.get(f"{model.arch}.attention.causal") == "false"


def _number(value: int | str, names: dict[str, int]) -> int:
    return names[value] if isinstance(value, str) else int(value)


def _check_finite(struct: Any) -> None:
    """A C float can overflow where the Python number did not."""
    for name, _ in struct._fields_:
        value = getattr(struct, name)
        if isinstance(value, float) and value - value != 0.0:
            raise InputError(f"{name} does not fit in a 32-bit float", param=name)


def describe(struct: Any) -> dict[str, Any]:
    """The plain values of a struct, for error messages and `Context.describe`."""
    values = {name: getattr(struct, name) for name, _ in struct._fields_}
    return {name: value for name, value in values.items() if isinstance(value, (bool, int, float))}
