"""What each layer of a model file keeps: rows of K and V for each token, or a state of one size for each text.

Read from the shapes of the tensors, which say it for every architecture and for layers that differ; from the metadata
where K and V are in one tensor. Not for: how many tokens there are (``needs``), or a loaded model.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

from llama_bind.core.gguf_reader import GGUFArray, GGUFFile, TensorInfo

__all__ = ["FileFacts", "LayerRows", "layer_rows"]

_BLOCK = re.compile(r"blk\.(\d+)\.(.+?)(?:\.weight)?$")
_RECURRENT = ("ssm_", "time_mix_", "shortconv.")
NO_MEMORY = frozenset({
    "bert", "jina-bert-v2", "jina-bert-v3", "nomic-bert", "nomic-bert-moe", "neo-bert", "eurobert", "modern-bert",
    "gemma-embedding", "dream", "llada", "llada-moe", "rnd1", "wavtokenizer-dec",
})  # fmt: skip
"""Architectures that remember nothing (``llama_model::create_memory``)."""


@dataclasses.dataclass(frozen=True)
class LayerRows:
    """One layer: values of K and of V for each token, and of a recurrent state for each text."""

    k: int = 0
    v: int = 0
    state: int = 0


class FileFacts:
    """Numbers of a file's metadata under the names that they have below its architecture."""

    def __init__(self, file: GGUFFile, overrides: Mapping[str, Any] | None = None) -> None:
        self._file = file
        self._overrides = overrides or {}
        self.arch = file.architecture

    def number(self, name: str, default: int = 0) -> int:
        """A whole number, `default` where there is none (or one for each layer)."""
        value = self._value(name)
        return value if isinstance(value, int) and not isinstance(value, bool) else default

    def of_layer(self, name: str, layer: int, default: int = 0) -> int:
        """A whole number that may differ from layer to layer."""
        value = self._value(name)
        if isinstance(value, GGUFArray):
            items = value.numpy()
            return int(items[layer]) if layer < len(items) else default
        return self.number(name, default)

    def has(self, name: str) -> bool:
        """Whether the file says it."""
        return self._value(name) is not None

    def _value(self, name: str) -> Any:
        key = f"{self.arch}.{name}"
        return self._overrides.get(key, self._file.get(key))

    @property
    def n_layer(self) -> int:
        """Layers, those for guessing tokens ahead included."""
        return self.number("block_count")

    @property
    def n_embd(self) -> int:
        """Width of the state."""
        return self.number("embedding_length")

    @property
    def n_vocab(self) -> int:
        """Tokens of the vocabulary."""
        tokens = self._file.get("tokenizer.ggml.tokens")
        return len(tokens) if isinstance(tokens, GGUFArray) else self.number("vocab_size")

    def head_width(self, name: str) -> int:
        """Width of a head of ``key`` or ``value``."""
        heads = max(self.of_layer("attention.head_count", 0, 1), 1)
        return self.number(f"attention.{name}_length", self.n_embd // heads)


def layer_rows(facts: FileFacts, tensors: Mapping[str, TensorInfo]) -> list[LayerRows]:
    """What each layer keeps, in their order."""
    parts: list[dict[str, TensorInfo]] = [{} for _ in range(facts.n_layer)]
    for name, tensor in tensors.items():
        found = _BLOCK.match(name)
        if found and int(found[1]) < len(parts):
            parts[int(found[1])][found[2]] = tensor
    if facts.arch in NO_MEMORY:
        return [LayerRows() for _ in parts]
    return [_rows(facts, layer, part) for layer, part in enumerate(parts)]


def _rows(facts: FileFacts, layer: int, part: Mapping[str, TensorInfo]) -> LayerRows:
    state = _state(facts, layer, part) if any(name.startswith(_RECURRENT) for name in part) else 0
    if facts.number("attention.key_length_mla") and "attn_kv_a_mqa" in part:
        return LayerRows(_rows_out(part["attn_kv_a_mqa"]), 0, state)
    if "attn_k" in part:
        k = _rows_out(part["attn_k"])
        return LayerRows(k, _rows_out(part["attn_v"]) if "attn_v" in part else k, state)
    if not any(name.startswith("attn_") and name not in ("attn_norm", "attn_norm_2") for name in part):
        return LayerRows(0, 0, state)
    if state and not {"attn_qkv", "attn_output"} <= part.keys():
        return LayerRows(0, 0, state)
    if any(name.startswith("ssm_") for name in part) and facts.arch not in ("falcon-h1",):
        return LayerRows(0, 0, state)  # a gated delta net, whose tensors are called after attention
    heads = facts.of_layer("attention.head_count_kv", layer, facts.of_layer("attention.head_count", layer, 1))
    return LayerRows(heads * facts.head_width("key"), heads * facts.head_width("value"), state)


def _rows_out(tensor: TensorInfo) -> int:
    return math.prod(tensor.shape[1:]) if len(tensor.shape) > 1 else 0


def _state(facts: FileFacts, layer: int, part: Mapping[str, TensorInfo]) -> int:
    """As ``llama_hparams::n_embd_r`` and ``n_embd_s`` count them."""
    if "shortconv.conv" in part:
        length, width = part["shortconv.conv"].shape[:2]
        return (length - 1) * width
    size = facts.number("wkv.head_size")
    if size:
        return facts.n_embd * (facts.number("token_shift_count", 2) + size)
    heads = facts.of_layer("attention.head_count", layer, 1)
    size = facts.number("kda.head_dim")
    if size:
        return heads * size * (size + 3 * max(facts.number("ssm.conv_kernel", 4) - 1, 0))
    inner, d_state = facts.number("ssm.inner_size"), facts.number("ssm.state_size")
    kernel, groups = facts.number("ssm.conv_kernel"), facts.number("ssm.group_count")
    return max(kernel - 1, 0) * (inner + 2 * groups * d_state) + d_state * inner
