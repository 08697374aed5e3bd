"""llama-cpp-python's thin objects over pointers: models, contexts, batches and sampler chains by hand.

Made from C structs, as that package makes them, or views of what a `Llama` holds (`LlamaModel.of`, `LlamaContext.of`).
Native calls are guarded. Not for: new code (`llama_bind.core` has checked objects), or programs that only generate.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from llama_bind.compat.llama_tokenizer import pieces_of
from llama_bind.compat.samplers import CustomSampler, LlamaSampler
from llama_bind.core.backend import ensure_backend
from llama_bind.core.gguf_check import check_model_file
from llama_bind.core.model import Model
from llama_bind.errors import ContextError, DecodeError, ModelLoadError, UnsupportedError
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._guard import check_guard
from llama_bind.params import ModelParams

if TYPE_CHECKING:
    from llama_bind.core.context import Context

__all__ = [
    "CustomSampler",
    "LlamaBatch",
    "LlamaContext",
    "LlamaModel",
    "LlamaSampler",
    "LlamaSamplingContext",
    "LlamaSamplingParams",
    "LlamaTokenDataArray",
    "normalize_embedding",
]


class _Owner:
    """What is freed once: by `close`, with what it stands on, or when it is dropped."""

    def __init__(self) -> None:
        self._exit_stack = contextlib.ExitStack()

    def close(self) -> None:
        """Free it; any number of times."""
        self._exit_stack.close()

    def __del__(self) -> None:
        stack = getattr(self, "_exit_stack", None)
        if stack is not None:
            stack.close()


class LlamaModel(_Owner):
    """A model by its address.

    Args:
        path_model: A GGUF file.
        params: A ``llama_model_params``.
        verbose: Changes nothing: llama.cpp's log goes to `logging`.

    Attributes:
        model, vocab: Addresses; `model` is None once it was closed.

    Raises:
        ModelNotFoundError, ModelFormatError, ModelLoadError: the file.
    """

    def __init__(self, *, path_model: str, params: Any, verbose: bool = True) -> None:
        super().__init__()
        self.path_model, self.params, self.verbose = os.fspath(path_model), params, verbose
        ensure_backend()
        check_model_file(self.path_model, vocab_only=bool(params.vocab_only), kv_overrides=None)
        pointer = guard_h.lb_llama_model_load_from_file(os.fsencode(self.path_model), params)
        check_guard()
        if not pointer:
            raise ModelLoadError(f"Failed to load model from file: {path_model}", path=path_model)
        self._core = Model(pointer, self.path_model, (self.path_model,), ModelParams(), [params])
        self._take(self._core)
        self._exit_stack.callback(self._free)

    @classmethod
    def of(cls, model: Model) -> LlamaModel:
        """A view of a model that another object owns."""
        view = cls.__new__(cls)
        _Owner.__init__(view)
        view.path_model, view.params, view.verbose = model.path, model.params, False
        view._core = model
        view._take(model)
        return view

    def _take(self, model: Model) -> None:
        self.model: int | None = model.ptr
        self.vocab: int | None = model.vocab.ptr

    def _free(self) -> None:
        self.model = None
        self._core.close()

    def vocab_type(self) -> int:
        return int(llama_h.llama_vocab_type(self._core.vocab.ptr))

    def n_vocab(self) -> int:
        return self._core.vocab.n_tokens

    def n_ctx_train(self) -> int:
        return self._core.n_ctx_train

    def n_embd(self) -> int:
        return self._core.n_embd

    def rope_freq_scale_train(self) -> float:
        return self._core.rope_freq_scale_train

    def desc(self) -> str:
        return self._core.desc

    def size(self) -> int:
        return self._core.size

    def n_params(self) -> int:
        return self._core.n_params

    def token_get_text(self, token: int) -> str:
        return self._core.vocab.text(token).decode("utf-8", "replace")

    def token_get_score(self, token: int) -> float:
        return self._core.vocab.score(token)

    def token_get_attr(self, token: int) -> int:
        return self._core.vocab.attr(token)

    def token_bos(self) -> int:
        return _number(self._core.vocab.bos)

    def token_eos(self) -> int:
        return _number(self._core.vocab.eos)

    def token_cls(self) -> int:
        return _number(self._core.vocab.bos)

    def token_sep(self) -> int:
        return _number(self._core.vocab.sep)

    def token_nl(self) -> int:
        return _number(self._core.vocab.nl)

    def token_prefix(self) -> int:
        return _number(self._core.vocab.fim_pre)

    def token_middle(self) -> int:
        return _number(self._core.vocab.fim_mid)

    def token_suffix(self) -> int:
        return _number(self._core.vocab.fim_suf)

    def token_eot(self) -> int:
        return _number(self._core.vocab.eot)

    def add_bos_token(self) -> bool:
        return self._core.vocab.add_bos

    def add_eos_token(self) -> bool:
        return self._core.vocab.add_eos

    def tokenize(self, text: bytes, add_bos: bool, special: bool) -> list[int]:
        """Token ids of a text of any length."""
        return self._core.vocab.tokenize(text, add_bos, special)

    def token_to_piece(self, token: int, special: bool = False) -> bytes:
        """The bytes of a token, whole and without NULs behind them."""
        return self._core.vocab.token_to_piece(token, special)

    def detokenize(self, tokens: Sequence[int], special: bool = False) -> bytes:
        """The bytes of tokens."""
        return pieces_of(self._core.vocab, tokens, special)

    def metadata(self) -> dict[str, str]:
        """The file's metadata, values as text."""
        return dict(self._core.metadata)

    @staticmethod
    def default_params() -> Any:
        """A ``llama_model_params`` with llama.cpp's defaults."""
        return llama_h.llama_model_default_params()


class LlamaContext(_Owner):
    """A context by its address; closed with its model.

    Args:
        model: The model.
        params: A ``llama_context_params``.
        verbose: Changes nothing.

    Attributes:
        ctx, memory: Addresses; `ctx` is None once it was closed.

    Raises:
        ContextError: llama.cpp cannot make it.
    """

    def __init__(self, *, model: LlamaModel, params: Any, verbose: bool = True) -> None:
        super().__init__()
        self.model, self.params, self.verbose = model, params, verbose
        self.ctx: int | None = guard_h.lb_llama_init_from_model(model.model, params)
        check_guard()
        if not self.ctx:
            raise ContextError("Failed to create llama_context")
        self.memory = llama_h.llama_get_memory(self.ctx)
        self._exit_stack.callback(self._free)
        model._exit_stack.callback(self.close)

    @classmethod
    def of(cls, context: Context, model: LlamaModel) -> LlamaContext:
        """A view of a context that another object owns."""
        view = cls.__new__(cls)
        _Owner.__init__(view)
        view.model, view.params, view.verbose = model, context.params, False
        view.ctx = context.ptr
        view.memory = llama_h.llama_get_memory(view.ctx)
        return view

    def _free(self) -> None:
        pointer, self.ctx = self.ctx, None
        if pointer is not None:
            llama_h.llama_free(pointer)

    def n_ctx(self) -> int:
        return int(llama_h.llama_n_ctx(self.ctx))

    def pooling_type(self) -> int:
        return int(llama_h.llama_pooling_type(self.ctx))

    def kv_cache_clear(self) -> None:
        """Forget everything."""
        if self.memory is not None:
            guard_h.lb_llama_memory_clear(self.memory, True)
            check_guard()

    def kv_cache_seq_rm(self, seq_id: int, p0: int, p1: int) -> bool:
        """Forget positions p0 to p1 (-1: from the start, to the end) of a sequence; below 0 it is sequence 0."""
        done = guard_h.lb_llama_memory_seq_rm(self.memory, max(seq_id, 0), p0, p1)
        check_guard()
        return bool(done)

    def kv_cache_seq_cp(self, seq_id_src: int, seq_id_dst: int, p0: int, p1: int) -> None:
        guard_h.lb_llama_memory_seq_cp(self.memory, seq_id_src, seq_id_dst, p0, p1)
        check_guard()

    def kv_cache_seq_keep(self, seq_id: int) -> None:
        guard_h.lb_llama_memory_seq_keep(self.memory, seq_id)
        check_guard()

    def kv_cache_seq_shift(self, seq_id: int, p0: int, p1: int, shift: int) -> None:
        guard_h.lb_llama_memory_seq_add(self.memory, seq_id, p0, p1, shift)
        check_guard()

    def get_state_size(self) -> int:
        return int(llama_h.llama_state_get_size(self.ctx))

    def decode(self, batch: LlamaBatch) -> None:
        """Compute a batch.

        Raises:
            DecodeError: llama.cpp did not.
            NativeAbortError: it failed an assertion.
        """
        code = guard_h.lb_llama_decode(self.ctx, batch.batch)
        if code != 0:
            check_guard()
            raise DecodeError(f"llama_decode returned {code}", code=code)

    def encode(self, batch: LlamaBatch) -> None:
        """Compute a batch with the encoder; raises as `decode` does."""
        code = guard_h.lb_llama_encode(self.ctx, batch.batch)
        if code != 0:
            check_guard()
            raise DecodeError(f"llama_encode returned {code}", code=code)

    def set_n_threads(self, n_threads: int, n_threads_batch: int) -> None:
        llama_h.llama_set_n_threads(self.ctx, n_threads, n_threads_batch)

    def get_logits(self) -> Any:
        return llama_h.llama_get_logits(self.ctx)

    def get_logits_ith(self, i: int) -> Any:
        return llama_h.llama_get_logits_ith(self.ctx, i)

    def get_embeddings(self) -> Any:
        return llama_h.llama_get_embeddings(self.ctx)

    def get_embeddings_ith(self, i: int) -> Any:
        return llama_h.llama_get_embeddings_ith(self.ctx, i)

    def get_embeddings_seq(self, seq_id: int) -> Any:
        return llama_h.llama_get_embeddings_seq(self.ctx, seq_id)

    def reset_timings(self) -> None:
        llama_h.llama_perf_context_reset(self.ctx)

    def print_timings(self) -> None:
        llama_h.llama_perf_context_print(self.ctx)

    @staticmethod
    def default_params() -> Any:
        """A ``llama_context_params`` with llama.cpp's defaults."""
        return llama_h.llama_context_default_params()


class LlamaBatch(_Owner):
    """A ``llama_batch`` with room for `n_tokens`, each in at most `n_seq_max` sequences."""

    def __init__(self, *, n_tokens: int, embd: int, n_seq_max: int, verbose: bool = True) -> None:
        super().__init__()
        self._n_tokens, self.embd, self.n_seq_max, self.verbose = n_tokens, embd, n_seq_max, verbose
        self.batch: Any = llama_h.llama_batch_init(n_tokens, embd, n_seq_max)
        self._exit_stack.callback(self._free)

    def _free(self) -> None:
        batch, self.batch = self.batch, None
        if batch is not None:
            llama_h.llama_batch_free(batch)

    def n_tokens(self) -> int:
        return int(self.batch.n_tokens)

    def reset(self) -> None:
        """Forget all entries."""
        self.batch.n_tokens = 0

    def set_batch(self, batch: Sequence[int], n_past: int, logits_all: bool) -> None:
        """Hold these tokens of sequence 0, the first at position `n_past`."""
        self.reset()
        self._add(batch, n_past, 0, logits_all)

    def add_sequence(self, batch: Sequence[int], seq_id: int, logits_all: bool) -> None:
        """Add tokens of a sequence that begins with them."""
        self._add(batch, 0, seq_id, logits_all)

    def _add(self, tokens: Sequence[int], n_past: int, seq_id: int, logits_all: bool) -> None:
        start = self.n_tokens()
        if not 0 < len(tokens) <= self._n_tokens - start:
            raise DecodeError(f"{len(tokens)} tokens do not fit into {self._n_tokens - start} places")
        for index, token in enumerate(tokens, start):
            self.batch.token[index] = token
            self.batch.pos[index] = n_past + index - start
            self.batch.seq_id[index][0] = seq_id
            self.batch.n_seq_id[index] = 1
            self.batch.logits[index] = logits_all
        self.batch.n_tokens = start + len(tokens)
        self.batch.logits[self.batch.n_tokens - 1] = True


class LlamaTokenDataArray:
    """Tokens with logits, for samplers: `candidates` is the C struct over `candidates_data`."""

    def __init__(self, *, n_vocab: int) -> None:
        self.n_vocab = n_vocab
        fields = np.dtype([("id", np.intc), ("logit", np.single), ("p", np.single)], align=True)
        self.candidates_data: Any = np.recarray((n_vocab,), dtype=fields)
        self.candidates_data.id[:] = np.arange(n_vocab)
        self.candidates = llama_h.llama_token_data_array()
        pointer = ctypes.POINTER(llama_h.llama_token_data)
        self.candidates.data = self.candidates_data.ctypes.data_as(pointer)
        self.candidates.size, self.candidates.selected, self.candidates.sorted = n_vocab, -1, False

    def copy_logits(self, logits: npt.NDArray[np.single]) -> None:
        """Hold all tokens again, with these logits."""
        self.candidates_data.id[:] = np.arange(self.n_vocab)
        self.candidates_data.logit[:] = logits
        self.candidates_data.p[:] = 0.0
        self.candidates.size, self.candidates.selected, self.candidates.sorted = self.n_vocab, -1, False


def normalize_embedding(embedding: Sequence[float]) -> Sequence[float]:
    """The same direction, length 1; zeros stay."""
    length = float(np.linalg.norm(np.asarray(embedding)))
    return embedding if length == 0.0 else [value / length for value in embedding]


@dataclasses.dataclass
class LlamaSamplingParams:
    """llama.cpp's older names of sampling options, with that package's defaults."""

    n_prev: int = 64
    n_probs: int = 0
    top_k: int = 40
    top_p: float = 0.95
    min_p: float = 0.05
    tfs_z: float = 1.0
    typical_p: float = 1.0
    temp: float = 0.8
    penalty_last_n: int = 64
    penalty_repeat: float = 1.0
    penalty_freq: float = 0.0
    penalty_present: float = 0.0
    mirostat: int = 0
    mirostat_tau: float = 5.0
    mirostat_eta: float = 0.1
    penalize_nl: bool = True
    grammar: str = ""
    cfg_negative_prompt: str = ""
    cfg_scale: float = 1.0
    logit_bias: dict[int, float] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class LlamaSamplingContext:
    """Tokens that were chosen; choosing is `LlamaSampler`'s."""

    params: LlamaSamplingParams = dataclasses.field(default_factory=LlamaSamplingParams)
    mirostat_mu: ctypes.c_float = dataclasses.field(default_factory=ctypes.c_float)
    grammar: Any = None
    prev: list[int] = dataclasses.field(default_factory=list)
    cur: list[Any] = dataclasses.field(default_factory=list)

    def reset(self) -> None:
        """Forget the tokens."""
        self.prev, self.cur = [], []

    def cp(self) -> LlamaSamplingContext:
        """A copy that goes its own way."""
        return dataclasses.replace(self, prev=list(self.prev), cur=list(self.cur))

    def last(self) -> int | None:
        """The token chosen last."""
        return self.prev[-1] if self.prev else None

    def prev_str(self, ctx_main: LlamaContext, n: int) -> str:
        """The text of the last `n` tokens."""
        return ctx_main.model.detokenize(self.prev[-n:]).decode("utf-8", "replace")

    def sample(self, ctx_main: LlamaContext, idx: int = 0, logits_array: Any = None) -> int:
        """Raises `UnsupportedError`, as that package refuses it too."""
        del ctx_main, idx, logits_array
        raise UnsupportedError("LlamaSamplingContext does not sample; use LlamaSampler")

    def accept(self, ctx_main: LlamaContext, id: int, apply_grammar: bool) -> None:
        """Take note of a token."""
        del ctx_main, apply_grammar
        self.prev.append(id)


def _number(token: int | None) -> int:
    return -1 if token is None else token
