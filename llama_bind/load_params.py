"""The options of loading: of models, of contexts, and of `Llama` itself. Part of ``params.py``.

Not for: options of calls.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any

from llama_bind.options import option

__all__ = [
    "CACHE_TYPES",
    "MAX_DRAFT",
    "AdapterSpec",
    "ContextParams",
    "LlamaParams",
    "ModelParams",
    "TensorBufferOverride",
]

CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q4_0", "q4_1", "iq4_nl", "q5_0", "q5_1")
"""Types that llama.cpp can keep the K and V cache in."""

MAX_DRAFT = 31
"""Most tokens that can be guessed at once: with the token before them they are what one step checks."""

DEFAULT_STEP_TARGET = 0.1
"""Seconds; see docs/performance.md for what it trades."""


@dataclasses.dataclass(frozen=True)
class AdapterSpec:
    """A LoRA adapter file and its scale (1.0: as trained)."""

    path: str
    scale: float = 1.0


@dataclasses.dataclass(frozen=True)
class TensorBufferOverride:
    """Tensors whose name matches the regular expression `pattern` go to `buffer_type` ("CPU", "CUDA0")."""

    pattern: str
    buffer_type: str


@dataclasses.dataclass(frozen=True)
class ModelParams:
    """How a model file is loaded (`llama_model_params`)."""

    n_gpu_layers: int | None = option(
        None, "Layers to put on the GPU; -1 is all. Unset: all when a GPU is present.", low=-1
    )
    split_mode: int | str = option(
        "layer",
        "How to split over several GPUs: none, layer, row, tensor (or llama.cpp's number).",
        choices=("none", "layer", "row", "tensor", 0, 1, 2, 3),
    )
    main_gpu: int = option(0, "The GPU that holds everything when split_mode is none.", low=0, high=1024)
    tensor_split: Sequence[float] | None = option(None, "Share of the model for each GPU, in order.")
    devices: Sequence[str] | None = option(
        None, "Names of the devices to use, as `llama-bind doctor` lists them; empty: CPU only."
    )
    tensor_buft_overrides: Sequence[TensorBufferOverride | tuple[str, str]] | None = option(
        None, "Pairs of a tensor name pattern and a buffer type, e.g. ('exps', 'CPU').", cli=False
    )
    vocab_only: bool = option(False, "Load the vocabulary without the weights: tokenizing works, generating does not.")
    use_mmap: bool = option(True, "Map the file into memory instead of reading it.")
    use_mlock: bool = option(False, "Keep the model in physical memory.")
    use_direct_io: bool = option(False, "Read past the page cache where the system can; takes the place of use_mmap.")
    lazy_mode: str = option(
        "auto", "Read big tensors that the architecture marks on demand.", choices=("off", "auto", "on")
    )
    load_mtp: bool | None = option(None, "Load multi-token-prediction layers. Unset: llama.cpp's default.")
    check_tensors: bool = option(False, "Check every tensor's data while loading (slow).")
    use_extra_bufts: bool = option(True, "Repack weights into faster layouts where the CPU has them.")
    no_host: bool = option(False, "Bypass host buffers so that extra buffer types can be used.")
    kv_overrides: Mapping[str, bool | int | float | str] | None = option(
        None, "Values that replace those of the file's metadata.", cli=False
    )
    numa: bool | str = option(
        False,
        "NUMA strategy: False, distribute (or True), isolate, numactl, mirror. Once per process.",
        choices=(False, True, "distribute", "isolate", "numactl", "mirror", 0, 1, 2, 3, 4),
    )
    rpc_servers: Sequence[str] | None = option(None, "host:port of llama.cpp RPC servers whose devices are added.")
    check_model: bool = option(True, "Check the file for damage that would crash llama.cpp before loading it.")
    check_memory: bool = option(True, "Refuse a model that needs more memory than is free, before it is loaded.")
    progress_callback: Callable[[float], Any] | None = option(
        None, "Called with the share loaded (0 to 1); returning False stops the load.", cli=False
    )


@dataclasses.dataclass(frozen=True)
class ContextParams:
    """How a context is made (`llama_context_params`)."""

    n_ctx: int | None = option(
        None,
        "Tokens of context that one text can have. 0: the model's own. Unset: the model's own up to 8192, less where "
        "memory is short.",
        low=0,
        high=2**31 - 1,
    )
    n_batch: int = option(2048, "Most tokens in one call of llama_decode.", low=1, high=2**20)
    n_ubatch: int = option(512, "Most tokens computed at once.", low=1, high=2**20)
    n_seq_max: int | None = option(
        None, "Most texts that run at the same time. Unset: 4; 64 for models that only embed.", low=1, high=256
    )
    kv_unified: bool | None = option(
        None,
        "True: one cache of n_ctx tokens for all texts together. False: n_ctx tokens for each of n_seq_max texts, "
        "which is faster on a CPU. Unset: False where n_seq_max is given and an eighth of the free memory is enough: "
        "for the n_ctx that is asked for; for the model's own or 4096 tokens where none is.",
    )
    n_threads: int | None = option(None, "Threads for generating. Unset: the usable physical cores.", low=1, high=512)
    n_threads_batch: int | None = option(None, "Threads for prompts. Unset: as n_threads.", low=1, high=512)
    rope_scaling_type: int | str = option(
        "unspecified",
        "RoPE scaling: unspecified (the model's), none, linear, yarn, longrope.",
        choices=("unspecified", "none", "linear", "yarn", "longrope", -1, 0, 1, 2, 3),
    )
    rope_freq_base: float = option(0.0, "RoPE base frequency; 0: the model's.", low=0)
    rope_freq_scale: float = option(0.0, "RoPE frequency scale; 0: the model's.", low=0)
    yarn_ext_factor: float = option(-1.0, "YaRN extrapolation mix; negative: the model's.")
    yarn_attn_factor: float = option(-1.0, "YaRN magnitude scale; negative: the model's.")
    yarn_beta_fast: float = option(-1.0, "YaRN low correction dimension; negative: the model's.")
    yarn_beta_slow: float = option(-1.0, "YaRN high correction dimension; negative: the model's.")
    yarn_orig_ctx: int = option(0, "YaRN original context; 0: the model's.", low=0, high=2**31 - 1)
    pooling_type: int | str = option(
        "unspecified",
        "How embeddings of tokens become one: unspecified (the model's, else mean), none, mean, cls, last, rank.",
        choices=("unspecified", "none", "mean", "cls", "last", "rank", -1, 0, 1, 2, 3, 4),
    )
    attention_type: int | str = option(
        "unspecified",
        "Attention for embeddings: unspecified (the model's), causal, non_causal.",
        choices=("unspecified", "causal", "non_causal", -1, 0, 1),
    )
    embedding: bool = option(False, "Make embeddings (and text too, where the model can); see `Llama.embed`.")
    offload_kqv: bool = option(True, "Keep the K and V cache on the GPU.")
    op_offload: bool = option(True, "Compute big operations on host tensors on the GPU.")
    flash_attn: bool | str | None = option(
        None,
        "Flash attention: True, False, or auto (also None): on where the device has it.",
        choices=(True, False, "auto", "on", "off"),
    )
    swa_full: bool = option(True, "Full-size cache for sliding-window models, so that prefixes can be reused.")
    type_k: int | str = option("f16", "Type of the K cache: " + ", ".join(CACHE_TYPES) + " (or ggml's number).")
    type_v: int | str = option("f16", "Type of the V cache; other than f16, bf16 and f32 needs flash attention.")
    n_rs_seq: int = option(0, "Snapshots of recurrent state for each sequence, for rolling back.", low=0, high=64)
    no_perf: bool = option(True, "Do not take llama.cpp's internal timings.")
    abort_callback: Callable[[], Any] | None = option(
        None, "Called between the nodes of a compute graph (slow); returning True stops the decode.", cli=False
    )
    eval_callback: Callable[[Any, bool], Any] | None = option(
        None, "Called with (tensor pointer, ask) for tensors as they are computed (slow).", cli=False
    )


@dataclasses.dataclass(frozen=True)
class LlamaParams:
    """What a `Llama` takes besides the options of its model and context."""

    seed: int | None = option(None, "Seed from which every request without one gets its own. Unset: real entropy.")
    chat_format: str | None = option(None, "Name of a chat format. Unset: the model's own template.")
    chat_template: str | None = option(None, "Jinja chat template in place of the model's own.")
    chat_handler: Callable[..., Any] | None = option(
        None, "Called for chat completions as handler(llama=..., messages=..., **options).", cli=False
    )
    lora_path: str | None = option(None, "A LoRA adapter file.")
    lora_scale: float = option(1.0, "Scale of lora_path.")
    loras: Sequence[AdapterSpec | tuple[str, float]] | None = option(None, "Several LoRA adapters.", cli=False)
    tokenizer: Any = option(
        None,
        "Object with tokenize(bytes, add_bos, special) that turns prompts into tokens in the model's place.",
        cli=False,
    )
    draft_model: Callable[[Any], Any] | str | PathLike[str] | None = option(
        None,
        "Guesses next tokens, which are checked together: prompt-lookup, mtp (the model's own multi-token-prediction "
        "layers), a smaller GGUF model with the same vocabulary (file or known name); in Python also `PromptLookup()` "
        "or a function of the ids.",
        check=lambda v: None if callable(v) or isinstance(v, (str, PathLike)) else "must be a name, path or function",
    )
    draft_max: int = option(16, "Most tokens guessed at once.", low=1, high=MAX_DRAFT)
    draft_min_p: float = option(
        0.0, "A draft model stops guessing where its likeliest token's probability is below this.", low=0, high=1
    )
    draft_n_gpu_layers: int | None = option(
        None, "Layers of the draft model to put on the GPU; -1 is all. Unset: all when a GPU is present.", low=-1
    )
    step_target: float | None = option(
        DEFAULT_STEP_TARGET,
        "Seconds that a step should take on the average while any text waits for its next token and prompts are "
        "computed in parts beside it. Higher: prompts are done sooner, running texts come more slowly.",
        above=0,
        high=3600,
    )
    max_queue: int | None = option(
        None, "Most requests that wait for their turn. Unset: any number.", low=0, high=10**9
    )
    cache_ram_bytes: int = option(
        512 * 2**20,
        "Most bytes of host memory for texts that the context has no room for; taken as they come. 0: none.",
        low=0,
        high=2**62,
    )
    cache_dir: str | PathLike[str] | None = option(
        None,
        "Directory for files of texts that neither context nor host memory have room for; later processes find them. "
        "Who can read it can read the texts. Unset: none.",
        check=lambda v: None if isinstance(v, (str, PathLike)) else "must be a path",
    )
    cache_dir_bytes: int = option(
        10 * 2**30, "Most bytes of all files in cache_dir; those used longest ago go first.", low=0, high=2**62
    )
    engine_process: bool = option(
        False, "Run the engine in a child process: a crash of native code ends the requests in it, not the program."
    )
    hang_timeout: float = option(60.0, "With engine_process: seconds without progress until it ends (0: never).", low=0)
    load_hang_timeout: float = option(
        300.0, "With engine_process: seconds without progress of a load until it has failed (0: never).", low=0
    )
    last_n_tokens_size: int | None = option(None, "Default of penalty_last_n.", low=-1)
    logits_all: bool = option(False, "Accepted for compatibility; log probabilities need no such preparation here.")
    verbose: bool = option(False, "Write llama.cpp's log to standard error.")
