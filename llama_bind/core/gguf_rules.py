"""Checks of a model's hyperparameters and tensors: what would end in an assertion, a crash or a huge allocation.

llama.cpp itself compares tensor shapes with the hyperparameters; what it trusts are the numbers it divides by, the
counts it allocates for, and the types of the tensors it computes with. Which operation a tensor is used with is read
from its sources (`gguf_facts`). An architecture or tensor unknown to these tables is left to llama.cpp.
Not for: the container (`gguf_reader`) or the vocabulary (`gguf_vocab`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from llama_bind.core.gguf_facts import (
    ARCHITECTURES,
    MAX_EXPERTS,
    MAX_GATING_FUNC,
    MAX_LAYERS,
    SECTIONED_ROPE,
    TENSOR_OPS,
)
from llama_bind.core.gguf_reader import TENSOR_TYPES, GGUFArray, TensorInfo, ValueType
from llama_bind.core.gguf_view import ModelView

__all__ = ["MATRIX_TYPES", "check_hyperparameters", "check_tensors"]

MAX_SIZE = 2**24  # of one dimension of a model: embeddings, heads, feed-forward
ROPE_SCALINGS = frozenset({"none", "linear", "yarn", "longrope"})

_NUMBERS = {t.name: number for number, t in TENSOR_TYPES.items()}
_F32 = frozenset({_NUMBERS["f32"]})
_F32_F16 = frozenset({_NUMBERS["f32"], _NUMBERS["f16"]})
# no integers, and no q8_1 and q8_K, which only hold activations
MATRIX_TYPES = frozenset(TENSOR_TYPES) - {_NUMBERS[n] for n in ("i8", "i16", "i32", "i64", "f64", "q8_1", "q8_K")}
_TYPES_OF_OP = {
    "ADD": _F32, "MUL": _F32, "DIV": _F32, "ROPE": _F32, "SCALE": _F32, "SSM_CONV": _F32, "SSM_SCAN": _F32,
    "RWKV_WKV6": _F32, "IM2COL": _F32_F16, "MUL_MAT": MATRIX_TYPES, "MUL_MAT_ID": MATRIX_TYPES,
    "GET_ROWS": MATRIX_TYPES,
}  # fmt: skip
_INTEGER_TABLES = frozenset({"d2t", "blk.%d.ffn_gate_tid2eid"})  # looked up, not computed with
_SUFFIXES = (".weight", ".bias", ".scale", ".input_scale")
_LAYER = re.compile(r"(?<=blk\.)\d+|(?<=convnext\.)\d+|(?<=posnet\.)\d+")


def check_hyperparameters(view: ModelView, tensors: Mapping[str, TensorInfo]) -> None:
    """Check the keys below ``<architecture>.``. Raises `ModelFormatError`."""
    a = view.arch
    if not a:
        view.fail("there is no general.architecture")
    if a not in ARCHITECTURES or a == "clip":
        what = "a multimodal projector (pass it as mmproj)" if a == "clip" else f"unknown to llama.cpp: {a!r}"
        view.fail(f"the architecture is {what}")
    _numbers(view)
    view.integer(f"{a}.context_length", low=1, high=2**31 - 1, required=True)
    n_embd = view.integer(f"{a}.embedding_length", low=1, high=MAX_SIZE, required=True) or 0
    n_layer = _layers(view)
    view.integer(f"{a}.nextn_predict_layers", low=0, high=n_layer)
    view.integers(f"{a}.feed_forward_length", n_layer, low=0, high=MAX_SIZE)
    _heads(view, n_embd, n_layer)
    _rope(view)
    _rope_sections(view, n_embd)
    _experts(view, n_layer)
    _recurrent(view, tensors)
    pooling = view.integer(f"{a}.pooling_type")
    if pooling is not None and pooling not in (0, 1, 2, 3, 4, 2**32 - 1, -1):
        view.fail(f"{a}.pooling_type is {pooling}, not 0 (none) to 4 (rank)")


def _numbers(view: ModelView) -> None:
    """No key of the architecture may be NaN; epsilons must be finite and not negative (ggml asserts it)."""
    for key in [*view.file.metadata, *view.overrides]:
        if not key.startswith(view.arch + "."):
            continue
        if key.endswith(("epsilon", "_eps")):
            view.number(key, low=0.0)
            continue
        value = view.overrides.get(key, view.file.get(key))
        if isinstance(value, float) and value != value:
            view.fail(f"{key} is not a number")
        if (
            isinstance(value, GGUFArray)
            and value.item_type == ValueType.FLOAT32
            and (value.numpy() != value.numpy()).any()
        ):
            view.fail(f"{key} holds values that are not numbers")


def _heads(view: ModelView, n_embd: int, n_layer: int) -> None:
    a = view.arch
    heads = view.integers(f"{a}.attention.head_count", n_layer, low=0, high=MAX_SIZE) or [0] * n_layer
    kv = view.integers(f"{a}.attention.head_count_kv", n_layer, low=0, high=MAX_SIZE) or heads
    for layer, (n, n_kv) in enumerate(zip(heads, kv, strict=True)):
        if n and n_kv and (n % n_kv or n < n_kv):
            view.fail(f"layer {layer} has {n} attention heads, not a multiple of its {n_kv} key-value heads")
    lengths = [f"{a}.attention.{name}" for name in ("key_length", "value_length", "key_length_swa", "value_length_swa")]
    for key in lengths:
        view.integer(key, low=1 if heads[0] else 0, high=MAX_SIZE)
    if heads[0] and not (view.has(lengths[0]) and view.has(lengths[1])) and n_embd // heads[0] == 0:
        view.fail(f"{a}.embedding_length is {n_embd}, less than one number for each of {heads[0]} attention heads")


def _rope(view: ModelView) -> None:
    a = view.arch
    for key in (f"{a}.rope.dimension_count", f"{a}.rope.dimension_count_swa"):
        n = view.integer(key, low=0, high=MAX_SIZE)
        if n is not None and n % 2:
            view.fail(f"{key} is {n}, an odd number")
    base = view.number(f"{a}.rope.freq_base")
    if base is not None and base <= 0:
        view.fail(f"{a}.rope.freq_base is {base}")
    kind = view.text(f"{a}.rope.scaling.type")
    if kind is not None and kind not in ROPE_SCALINGS:
        view.fail(f"{a}.rope.scaling.type is {kind!r}, not one of {', '.join(sorted(ROPE_SCALINGS))}")
    for name in ("scaling.factor", "scale_linear", "scaling.attn_factor"):
        view.number(f"{a}.rope.{name}")
    view.integer(f"{a}.rope.scaling.original_context_length", low=0, high=2**31 - 1)


def _rope_sections(view: ModelView, n_embd: int) -> None:
    """Sections count pairs of a head's dimensions; ggml divides by their sum and asserts that they fit."""
    a = view.arch
    value = view.file.get(f"{a}.rope.dimension_sections")
    items = [0]
    if isinstance(value, GGUFArray) and value.item_type in (ValueType.INT32, ValueType.UINT32):
        items = value.numpy().tolist()[:4]
    n_head = max(view.integers(f"{a}.attention.head_count", _layers(view), low=0, high=MAX_SIZE) or [0])
    head = view.integer(f"{a}.attention.key_length") or (n_embd // n_head if n_head else MAX_SIZE)
    if min(items, default=0) < 0 or sum(items) > head:
        view.fail(f"{a}.rope.dimension_sections is {items}, more than the {head} numbers of a head")
    if a in SECTIONED_ROPE and sum(items[:3]) == 0:
        view.fail(f"{a}.rope.dimension_sections is missing or zero")


def _layers(view: ModelView) -> int:
    return view.integer(f"{view.arch}.block_count", low=1, high=MAX_LAYERS, required=True) or 0


def _experts(view: ModelView, n_layer: int) -> None:
    """The assertions of ``llama_model_base::load_hparams``."""
    a = view.arch
    n = view.integer(f"{a}.expert_count", low=0, high=MAX_EXPERTS) or 0
    used = max(view.integers(f"{a}.expert_used_count", n_layer, low=0, high=MAX_EXPERTS) or [0])
    if a in ("hunyuan_vl", "hunyuan-dense") and n <= 1:
        n = used = 0  # llama.cpp forgets a single expert there
    if used > n or (n and not used):
        view.fail(f"{a}.expert_used_count is {used} of {n} experts")
    groups = view.integer(f"{a}.expert_group_count", low=0) or 0
    if groups >= max(n, 1):
        view.fail(f"{a}.expert_group_count is {groups} for {n} experts")
    if groups > 1:
        used_groups = view.integer(f"{a}.expert_group_used_count", low=0) or 0
        if n % groups or not 0 < used_groups < groups:
            view.fail(f"{a}: {n} experts in {groups} groups of which {used_groups} are used")
    view.integer(f"{a}.expert_shared_count", low=0, high=MAX_EXPERTS)
    view.integer(f"{a}.expert_gating_func", low=0, high=MAX_GATING_FUNC)


def _recurrent(view: ModelView, tensors: Mapping[str, TensorInfo]) -> None:
    """Sizes that llama.cpp allocates state for, and divides by where the tensors that need them are there."""
    names = {_LAYER.sub("%d", name).removesuffix(".weight") for name in tensors}
    selective = "blk.%d.ssm_in" in names
    needed = {
        "ssm.conv_kernel": selective,
        "ssm.inner_size": selective,
        "ssm.state_size": selective,
        "ssm.time_step_rank": selective,
        "ssm.group_count": selective and "blk.%d.ssm_norm" in names,
        "wkv.head_size": any(n.startswith("blk.%d.time_mix") for n in names),
        "token_shift_count": False,
    }
    for name, divides in needed.items():
        view.integer(f"{view.arch}.{name}", low=1 if divides else 0, high=MAX_SIZE)


def check_tensors(view: ModelView, tensors: Mapping[str, TensorInfo]) -> None:
    """Check that llama.cpp can compute with the types of the tensors it knows. Raises `ModelFormatError`."""
    verdicts: dict[tuple[str, int], bool] = {}  # most tensors repeat for every layer
    for info in tensors.values():
        pattern = _LAYER.sub("%d", info.name)
        key = (pattern, info.type)
        if key not in verdicts:
            verdicts[key] = info.type in _allowed_types(pattern)
        if not verdicts[key]:
            view.fail(f"tensor {info.name!r} is of type {info.type_name}, which llama.cpp cannot compute with there")


def _allowed_types(pattern: str) -> frozenset[int]:
    """Types that a tensor may have; ``pattern`` is its name with %d for the layer."""
    base, suffix = pattern, ""
    for end in _SUFFIXES:
        if pattern.endswith(end):
            base, suffix = pattern[: -len(end)], end
            break
    ops = TENSOR_OPS.get(base)
    if ops is None or base in _INTEGER_TABLES or "NONE" in ops:
        return frozenset(TENSOR_TYPES)
    if suffix in (".bias", ".scale", ".input_scale"):
        return _F32
    if base == "token_types":  # added as a row, in spite of the table
        return _F32
    return frozenset().union(*(_TYPES_OF_OP.get(op, frozenset(TENSOR_TYPES)) for op in ops))
