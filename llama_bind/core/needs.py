"""How much memory a model will need, told from its file before anything of it is loaded: weights, cache, computing.

Weights and cache are what llama.cpp will allocate; what it computes in is estimated from the widest things of a step.
llama.cpp has an estimate of its own (``common/fit.cpp``), which loads the model without its weights and asks for a C++
map; this one reads a header, so that it costs milliseconds and nothing can crash. Not for: loading, or free memory
(``cpu``).
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping

from llama_bind.core.cache_rows import FileFacts, LayerRows, layer_rows
from llama_bind.core.context_params import DEFAULT_N_CTX
from llama_bind.core.gguf_check import shard_paths
from llama_bind.core.gguf_reader import TENSOR_TYPES, GGUFFile, TensorInfo, read_gguf
from llama_bind.core.layout import DEFAULT_N_SEQ_MAX, LEAST_STREAM, MEMORY_SHARE
from llama_bind.errors import ContextError, InputError, ModelTooLargeError
from llama_bind.params import CACHE_TYPES, ContextParams, ModelParams, TensorBufferOverride

__all__ = ["MemoryNeeds", "check_memory", "memory_needs"]

LEAST_N_CTX = 512
PAD = 256
CELL_OVERHEAD = 56
"""Bytes that llama.cpp keeps for each cell besides K and V."""
_GIB = 2**30


@dataclasses.dataclass(frozen=True)
class MemoryNeeds:
    """Bytes of host memory, and what goes to other devices.

    Attributes:
        weights, cache, compute: Of the host: tensors, K and V and recurrent states, buffers of a step.
        device: All that goes to GPUs.
        n_ctx_seq: Tokens of one text.
        n_seq_max: Texts at once.
        n_streams: Caches of that many tokens: one for all texts, or one for each.
    """

    weights: int
    cache: int
    compute: int
    device: int
    n_ctx_seq: int
    n_seq_max: int
    n_streams: int

    @property
    def total(self) -> int:
        """Bytes of the host's memory in all."""
        return self.weights + self.cache + self.compute

    def __str__(self) -> str:
        parts = f"{_gib(self.weights)} of weights, {_gib(self.cache)} of cache for {self.n_streams} x {self.n_ctx_seq}"
        return f"{_gib(self.total)} ({parts} tokens, {_gib(self.compute)} to compute in)"


def _gib(size: int) -> str:
    return f"{size / _GIB:.2f} GiB"


def check_memory(path: str, needs: MemoryNeeds, free: int | None) -> None:
    """Refuse what cannot be held.

    Args:
        path: The model's file, for the message.
        needs: What it takes.
        free: Bytes that there are; None where that is not known, which refuses nothing.

    Raises:
        ContextError: the cache alone is more than there is.
        ModelTooLargeError: all together is.
    """
    if free is None or needs.total <= free:
        return
    if needs.cache > free:
        raise ContextError(
            f"n_ctx={needs.n_ctx_seq} for {needs.n_streams} texts needs about {_gib(needs.cache)}, {_gib(free)} are "
            "free; choose a smaller n_ctx or n_seq_max, or a smaller type_k and type_v"
        )
    message = (
        f"{os.path.basename(path)} needs about {needs}, {_gib(free)} are free: choose a smaller n_ctx or n_seq_max, a "
        "smaller type_k and type_v, or a file with fewer bits for each weight; put layers on a GPU; or load it with "
        "check_memory=False, and what does not fit is read from the disk again and again"
    )
    raise ModelTooLargeError(message, path=path, needed=needs.total, available=free)


def memory_needs(
    path: str | os.PathLike[str],
    model: ModelParams | None = None,
    context: ContextParams | None = None,
    *,
    free: int | None = None,
    gpu: bool = False,
) -> MemoryNeeds:
    """What a model with these options will take.

    Args:
        path: A GGUF file, the first shard of a split one.
        model: How it will be loaded.
        context: What context it will get.
        free: Bytes of memory that are free, by which an unset `n_ctx` and `kv_unified` are decided.
        gpu: Whether there is a GPU to put layers on.

    Raises:
        ModelNotFoundError, ModelFormatError: a file that cannot be read.
        InputError: a type that no cache can have.
    """
    model, context = model or ModelParams(), context or ContextParams()
    files = _files(os.fspath(path))
    facts = FileFacts(files[0], model.kv_overrides)
    tensors: dict[str, TensorInfo] = {}
    for file in files:
        tensors |= file.tensors
    first_on_gpu = _first_on_gpu(facts, model, gpu)
    weights, on_device = _weights(tensors, facts, model, first_on_gpu)
    if model.vocab_only:
        return MemoryNeeds(0, 0, 0, 0, 0, 0, 0)
    layers = layer_rows(facts, tensors)
    n_ctx_seq, n_seq_max, n_streams = _layout(facts, layers, context, free)
    cells = n_ctx_seq * n_streams
    cache = on_gpu = 0
    window = _window_cells(facts, context, n_ctx_seq, n_seq_max, n_streams) * n_streams
    for number, layer in enumerate(layers):
        held = window if window and _is_windowed(facts, number) else cells
        size = _cell(layer, context) * held
        size += 4 * layer.state * n_seq_max * (1 + context.n_rs_seq)
        if number >= first_on_gpu and context.offload_kqv:
            on_gpu += size
        else:
            cache += size
    cache += CELL_OVERHEAD * cells
    compute = _compute(facts, layers, context, n_ctx_seq, cells, n_seq_max)
    if first_on_gpu == 0:  # all is computed there; the host keeps the results
        on_gpu += compute
        compute = 4 * facts.n_vocab * n_seq_max
    return MemoryNeeds(weights, cache, compute, on_device + on_gpu, n_ctx_seq, n_seq_max, n_streams)


def _files(path: str) -> list[GGUFFile]:
    first = read_gguf(path)
    count = first.get("split.count", 0)
    if not isinstance(count, int) or count <= 1:
        return [first]
    return [first, *(read_gguf(name) for name in shard_paths(path, count)[1:])]


# -- weights -----------------------------------------------------------------------------------------------------------


def _first_on_gpu(facts: FileFacts, model: ModelParams, gpu: bool) -> int:
    """The first layer on a GPU; the output comes after the last one."""
    end = facts.n_layer + 1
    if not gpu or model.devices == ():
        return end
    wanted = model.n_gpu_layers
    return 0 if wanted is None or wanted < 0 else max(end - wanted, 0)


def _weights(
    tensors: Mapping[str, TensorInfo], facts: FileFacts, model: ModelParams, first_on_gpu: int
) -> tuple[int, int]:
    """Bytes on the host and on devices."""
    overrides = [_override(given) for given in model.tensor_buft_overrides or ()]
    host = device = 0
    for name, tensor in tensors.items():
        layer = re.match(r"blk\.(\d+)\.", name)
        place = int(layer[1]) if layer else facts.n_layer if name.startswith("output") else -1
        away = place >= first_on_gpu
        for pattern, buffer in overrides:
            if pattern.search(name):
                away = not buffer.upper().startswith("CPU")
                break
        if away:
            device += tensor.n_bytes
        else:
            host += tensor.n_bytes
    return host, device


def _override(given: TensorBufferOverride | tuple[str, str]) -> tuple[re.Pattern[str], str]:
    try:
        pattern, buffer = (given.pattern, given.buffer_type) if isinstance(given, TensorBufferOverride) else given
        return re.compile(pattern), str(buffer)
    except (TypeError, ValueError, re.error) as error:
        message = f"{given!r} is not a pair of a regular expression and a buffer type: {error}"
        raise InputError(message, param="tensor_buft_overrides") from error


# -- cache -------------------------------------------------------------------------------------------------------------


def _cell(layer: LayerRows, params: ContextParams) -> int:
    """Bytes of K and V for one token."""
    return _row(layer.k, params.type_k, "type_k") + _row(layer.v, params.type_v, "type_v")


def _row(values: int, kind: int | str, param: str) -> int:
    """Bytes of so many values of a type of the cache."""
    for number, entry in TENSOR_TYPES.items():
        if entry.name in CACHE_TYPES and (kind == number or (isinstance(kind, str) and kind.lower() == entry.name)):
            return -(-values // entry.block_size) * entry.type_size
    raise InputError(f"{param} must be one of {', '.join(CACHE_TYPES)}, not {kind!r}", param=param)


def _window_cells(facts: FileFacts, params: ContextParams, n_ctx_seq: int, n_seq_max: int, n_streams: int) -> int:
    """Tokens that a layer with a sliding window keeps of each cache; 0: all."""
    window = facts.number("attention.sliding_window")
    if params.swa_full or not window:
        return 0
    texts = n_seq_max if n_streams == 1 else 1
    return min(n_ctx_seq, -(-(window * texts + params.n_ubatch) // PAD) * PAD)


def _is_windowed(facts: FileFacts, layer: int) -> bool:
    """Whether a layer has a sliding window, where the file says so; llama.cpp knows more of some architectures."""
    every = facts.number("attention.sliding_window_pattern")
    if every:
        return layer % every < every - 1
    return facts.of_layer("attention.sliding_window_pattern", layer) != 0


def _layout(facts: FileFacts, layers: list[LayerRows], params: ContextParams, free: int | None) -> tuple[int, int, int]:
    """Tokens of a text, texts, caches: as `layout.with_layout` and `context_params` decide them."""
    encodes = not any(layer.k or layer.state for layer in layers)
    n_seq_max = params.n_seq_max or (64 if encodes and params.embedding else DEFAULT_N_SEQ_MAX)
    trained = facts.number("context_length") or LEAST_N_CTX
    per_cell = sum(_cell(layer, params) for layer in layers)
    asked = None if params.n_ctx is None else params.n_ctx or trained
    wanted = asked or min(trained, DEFAULT_N_CTX)
    plain = per_cell and len(set(layers)) == 1 and not layers[0].state
    plain = plain and not facts.number("attention.sliding_window") and not facts.number("attention.kv_lora_rank")
    unified = params.kv_unified
    if unified is None:
        bytes_each = per_cell if plain else None if per_cell else 0
        stream = _stream(wanted, asked, bytes_each, n_seq_max, free) if params.n_seq_max else None
        unified = n_seq_max > 1 and stream is None
        if stream is not None and n_seq_max > 1:
            asked = wanted = stream
    if encodes:
        unified = True
    streams = 1 if unified else n_seq_max
    if asked is None and free is not None and plain:
        affordable = free // 4 // (per_cell + CELL_OVERHEAD) // streams
        wanted = max(min(wanted, affordable), min(wanted, LEAST_N_CTX))
    return -(-wanted // PAD) * PAD, n_seq_max, streams


def _stream(wanted: int, asked: int | None, per_cell: int | None, n_seq_max: int, free: int | None) -> int | None:
    """As `layout._stream`. `per_cell`: 0 for a state of one size, None where the layout cannot tell."""
    if per_cell is None:
        return None
    if not per_cell or free is None:
        return wanted
    there = free // MEMORY_SHARE // (n_seq_max * per_cell)
    if there >= wanted:
        return wanted
    return LEAST_STREAM if asked is None and there >= LEAST_STREAM else None


# -- computing ---------------------------------------------------------------------------------------------------------


def _compute(
    facts: FileFacts, layers: list[LayerRows], params: ContextParams, n_ctx_seq: int, cells: int, n_seq_max: int
) -> int:
    """Buffers of a step: the logits of a whole micro-batch or, where that is more, masks and the widest states of a
    layer, which are not there at the same time; and the results.
    """
    remembers = any(layer.k or layer.state for layer in layers)
    tokens = min(cells, params.n_ubatch if remembers else max(cells, params.n_batch))
    heads = facts.of_layer("attention.head_count", 0, 1)
    widest = max(facts.of_layer("feed_forward_length", 0), facts.number("expert_feed_forward_length"), facts.n_embd)
    used = max(facts.number("expert_used_count"), 1) if facts.number("expert_count") else 1
    states = tokens * 4 * (4 * facts.n_embd + 3 * used * widest)
    attends = n_ctx_seq if any(layer.k for layer in layers) else 0 if remembers else tokens
    mask = 2 * tokens * attends
    if params.flash_attn in (False, "off"):
        mask = 4 * tokens * attends * (1 + heads)
    logits = 4 * tokens * (facts.n_vocab + 2 * facts.n_embd) if remembers else 0
    return max(logits, states + mask) + 4 * n_seq_max * (facts.n_vocab + facts.n_embd)
