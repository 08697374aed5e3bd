"""A context: the memory and the computation of a model.

One thread at a time computes: a call from another thread waits until the one before is done, and a call from inside a
callback of the same context raises `ReentryError`. For many requests at once use the engine, which owns one context and
takes requests from any thread. `Context.request_abort` and `Context.close` never wait.

Not for: choosing what to compute (``engine``) or how to pick tokens (``sampler``).
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import numpy.typing as npt

from llama_bind.core import log, rows
from llama_bind.core.batch import Batch
from llama_bind.core.context_native import Owned, Perf, Use, perf_of, pinned, set_callbacks
from llama_bind.core.context_params import DEFAULT_N_CTX, can_rotate_k, describe, native_context_params
from llama_bind.core.handle import Handle, Resource
from llama_bind.core.memory import Memory
from llama_bind.errors import (
    AdapterError,
    ContextError,
    DecodeAbortedError,
    DecodeError,
    InputError,
    NativeAbortError,
    NoCellsError,
    TokenError,
    UnsupportedError,
)
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._ctypes import resolve, retype
from llama_bind.lib._guard import check_guard
from llama_bind.params import ContextParams

if TYPE_CHECKING:
    from typing import TypeAlias

    from llama_bind.core.adapter import Adapter
    from llama_bind.core.model import Model

    Floats: TypeAlias = npt.NDArray[np.float32]

__all__ = ["Context", "Perf"]


class Context(Handle):
    """A context of `model` (``llama_context``). Made by `create`; closed with its model.

    Attributes:
        model: the model.
        params: the options it was made with.
        n_ctx: tokens of context in all; n_ctx_seq: for one sequence.
        n_batch: most tokens in one `decode`; n_ubatch: most computed at once.
        n_seq_max: sequence ids are 0 to n_seq_max - 1. `kv_unified`: whether sequences share one cache.
        type_k, type_v: ggml's numbers of the types of the caches.
        n_vocab: length of a row of logits.
        pooling_type: ``LLAMA_POOLING_TYPE_*`` number in use.
    """

    def __init__(self, pointer: int, model: Model, params: ContextParams, struct: Any, owned: Owned) -> None:
        super().__init__(pointer, owned.free, model, owned.begin_close)
        self.model = model
        self.params = params
        self._owned = owned
        self._abort = owned.abort
        self._carriers = owned.carriers
        self._views = owned.views
        self._use_guard = Use(self._resource)
        self._options = describe(struct)
        self._broken: str | None = None
        self.n_ctx = int(llama_h.llama_n_ctx(pointer))
        self.n_ctx_seq = int(llama_h.llama_n_ctx_seq(pointer))
        self.n_batch = int(llama_h.llama_n_batch(pointer))
        self.n_ubatch = int(llama_h.llama_n_ubatch(pointer))
        self.n_seq_max = int(llama_h.llama_n_seq_max(pointer))
        self.kv_unified = bool(struct.kv_unified)
        self.type_k, self.type_v = int(struct.type_k), int(struct.type_v)
        self.n_vocab = model.vocab.n_tokens
        self.pooling_type = int(llama_h.llama_pooling_type(pointer))
        self._can_rotate_k = can_rotate_k(model, self.type_k)
        self._pos_end = min(model.n_pos_max or 2**31, 2**31)
        self._embeddings = bool(struct.embeddings)
        self._causal = bool(llama_h.llama_get_causal_attn(pointer))
        self._memory: weakref.ref[Memory] | None = None
        self._memory_pointer = llama_h.llama_get_memory(pointer)
        self._has_memory = self._memory_pointer is not None
        self._decode = resolve(guard_h.lb_llama_decode)
        self._logits_ith = retype(guard_h.lb_llama_get_logits_ith, restype=ctypes.c_void_p)
        self._row = ctypes.c_float * self.n_vocab
        self._set_limit()

    @classmethod
    def create(
        cls,
        model: Model,
        params: ContextParams | None = None,
        *,
        n_ctx_default: int = DEFAULT_N_CTX,
        ctx_type: int = llama_h.LLAMA_CONTEXT_TYPE_DEFAULT,
    ) -> Context:
        """Make a context.

        Args:
            model: a model with weights.
            params: options; what is unset is decided here (see `ContextParams`).
            n_ctx_default: most tokens of context when ``params.n_ctx`` is unset.
            ctx_type: which of the model's graphs it runs, a ``LLAMA_CONTEXT_TYPE_*`` number (see ``nextn``).

        Raises:
            InputError: an option that cannot be used.
            ContextError: llama.cpp cannot make such a context, or it would need more memory than there is.
        """
        params = params or ContextParams()
        if model.params.vocab_only:
            raise ContextError("the model was loaded with vocab_only=True: it has no weights to compute with")
        with pinned(model._resource) as model_pointer:
            struct = native_context_params(model, params, n_ctx_default)
            struct.ctx_type = ctx_type
            owned = Owned()
            set_callbacks(struct, params, owned)
            place = log.mark()
            try:
                pointer = guard_h.lb_llama_init_from_model(model_pointer, struct)
                check_guard()
            except NativeAbortError as error:
                raise ContextError(f"llama.cpp failed to make the context: {error.native_message}") from error
            finally:
                log.raise_pending()
            if not pointer:
                why = "; ".join(log.explain(place)) or "it gave no reason; is there enough memory?"
                raise ContextError(f"llama.cpp could not make the context: {why}")
            return cls(pointer, model, params, struct, owned)

    @property
    def memory(self) -> Memory:
        """What the context remembers. It keeps the context alive and not the other way round, so that a dropped context
        is freed at once.
        """
        memory = None if self._memory is None else self._memory()
        if memory is None:
            memory = Memory(self)
            self._memory = weakref.ref(memory)
        return memory

    # -- computing

    def decode(self, batch: Batch) -> None:
        """Compute a batch (``llama_decode``). Models without memory encode it instead.

        Raises:
            InputError, TokenError: the batch does not fit this context.
            NoCellsError: the memory has no room; nothing was changed.
            DecodeAbortedError: it was aborted; what was computed of the batch before stays in the memory.
            DecodeError: llama.cpp refused the batch or failed.
            NativeAbortError: native code failed; the context can only be closed.
            Exception: whatever a callback raised.
        """
        self._check(batch)
        use = self._use_guard
        pointer = use.__enter__()
        try:
            place = log._count
            code = self._decode(pointer, batch.struct)
            if code or self._carriers:
                self._after(code, place, "llama_decode")
        finally:
            use.__exit__()

    def encode(self, batch: Batch) -> None:
        """Compute a batch with the encoder (``llama_encode``): the input of an encoder-decoder model, or a batch of a
        model without memory. Raises as `decode` does, and `UnsupportedError` for a model without an encoder.
        """
        if not self.model.has_encoder and self._has_memory:
            raise UnsupportedError("this model has no encoder; use decode")
        self._check(batch)
        if batch.n_tokens > self.n_ubatch:
            raise InputError(
                f"an encoder takes at most n_ubatch={self.n_ubatch} tokens at once, not {batch.n_tokens}", param="batch"
            )
        with self._use_guard as pointer:
            place = log.mark()
            code = guard_h.lb_llama_encode(pointer, batch.struct)
            if code or self._carriers:
                self._after(code, place, "llama_encode")

    def _check(self, batch: Batch) -> None:
        """Everything that C would read past an array or abort for; a few microseconds."""
        count = batch.struct.n_tokens
        if not 0 < count <= self._limit:
            raise InputError(self._wrong_count(count), param="batch")
        if self._broken is not None:
            raise NativeAbortError(f"native code failed earlier in this context; close it ({self._broken})")
        if count == 1 and batch.n_embd == 0 and self._is_plain(batch):
            return
        if batch.n_embd:
            if batch.n_embd != self.model.n_embd_inp:
                raise InputError(f"embeddings must be {self.model.n_embd_inp} wide, not {batch.n_embd}", param="batch")
        elif batch.u_tokens[:count].max() >= self.n_vocab:
            bad = batch.tokens[:count]
            raise TokenError(int(bad[(bad < 0) | (bad >= self.n_vocab)][0]), self.n_vocab, param="batch")
        sections = 4 if batch.n_embd and self.model.is_mrope else 1
        if batch.u_pos[: count * sections].max() >= self._pos_end:
            raise InputError(f"positions must be 0 to {self._pos_end - 1}", param="batch")
        # One subtraction folds "at least 1" into the unsigned comparison.
        if (batch.u_n_seq_id[:count] - np.uint32(1)).max() >= batch.n_seq_max:
            raise InputError(f"a token is in 1 to {batch.n_seq_max} sequences (n_seq_id)", param="batch")
        if batch.u_seq_ids[:count].max() >= self.n_seq_max:
            used = np.arange(batch.n_seq_max) < batch.n_seq_id[:count, None]
            bad = batch.seq_ids[:count][used & (batch.u_seq_ids[:count] >= self.n_seq_max)]
            if bad.size:
                raise InputError(f"sequence ids must be 0 to {self.n_seq_max - 1}, not {bad[0]}", param="batch")

    def _is_plain(self, batch: Batch) -> bool:
        """The step of a single running sequence, without numpy's overhead for short arrays."""
        fits = 0 <= batch.tokens[0] < self.n_vocab and 0 <= batch.seq_ids[0, 0] < self.n_seq_max
        return bool(fits and 0 <= batch.pos[0] < self._pos_end and batch.n_seq_id[0] == 1)

    def _wrong_count(self, count: int) -> str:
        if count <= 0:
            return "the batch is empty"
        if self.whole_texts:
            return f"attention to all tokens takes at most n_ubatch={self._limit} tokens at once, not {count}"
        return f"the batch has {count} tokens, n_batch is {self.n_batch}; decode it in parts"

    def _after(self, code: int, place: int, what: str) -> None:
        log.raise_pending()
        for carrier in self._carriers:
            carrier.raise_stored()
        if code == 0:
            if self._owned.stopped:
                self._owned.stopped = False
                raise DecodeAbortedError(
                    "the eval callback stopped the computation; remove the batch from the memory", code=2
                )
            return
        why = "; ".join(log.explain(place))
        if code == 1:
            raise NoCellsError("the memory has no room for the batch; remove sequences or make n_ctx larger", code=1)
        if code == 2:
            raise DecodeAbortedError(f"{what} was aborted", code=2)
        try:
            check_guard()
        except NativeAbortError as error:
            self._broken = error.native_message
            raise
        raise DecodeError(f"{what} failed with code {code}" + (f": {why}" if why else ""), code=code)

    def logits(self, i: int = -1) -> Floats:
        """The logits of output `i` of the last batch, shape (n_vocab,).

        A view of native memory, read only by agreement and valid until the next `decode`, `encode` or state load:
        copy what you keep. The memory itself outlives the view.

        Args:
            i: index in the batch; negative counts outputs from the end.

        Raises:
            InputError: that token gave no output.
        """
        use = self._use_guard
        pointer = use.__enter__()
        try:
            address = self._logits_ith(pointer, i)
            if address is None:
                self._no_logits(i)
            view = self._views.get(address)
            return self._view(address) if view is None else view
        except ctypes.ArgumentError:
            raise InputError(f"i must be a 32-bit integer, not {i!r}", param="i") from None
        finally:
            use.__exit__()

    def _view(self, address: int) -> Floats:
        if len(self._views) >= 64:  # the buffer has moved, or there are many outputs
            self._views.clear()
        root = self._row.from_address(address)
        self._resource.lend(root)
        view: Floats = np.frombuffer(memoryview(root), np.float32)
        self._views[address] = view
        return view

    def _no_logits(self, i: int) -> NoReturn:
        check_guard()
        raise InputError(f"the last batch has no logits at {i}; ask for output of that token", param="i")

    def embeddings(self, i: int = -1) -> Floats:
        """A copy of the embedding of output `i` of the last batch, shape (n_embd_out,); with `ContextParams.embedding`.

        Raises:
            InputError: that token gave no embedding.
        """
        return rows.row(self, i)

    def embedding_rows(self, count: int) -> Floats:
        """A copy of the embeddings of the last `count` outputs of the last batch, in its order, shape
        (count, n_embd_out); with `ContextParams.embedding` and without pooling.

        Raises:
            InputError: there were fewer, or this context pools.
        """
        return rows.last_rows(self, count)

    def embeddings_seq(self, seq_id: int) -> Floats:
        """A copy of the pooled embedding of a sequence of the last batch: shape (n_embd_out,), or the scores
        (n_cls_out,) with rank pooling.

        Raises:
            InputError: the last batch had no such sequence, or there is no pooling.
        """
        return rows.pooled(self, seq_id)

    def synchronize(self) -> None:
        """Wait for computations on devices to end; reading results does it too."""
        with self._use_guard as pointer:
            guard_h.lb_llama_synchronize(pointer)
            check_guard()

    def warmup(self) -> None:
        """Compute two tokens and forget them, which reads all weights once. Only while the memory is empty.

        Raises:
            UnsupportedError: the memory is not empty.
        """
        if any(self.memory.seq_pos_max(seq) >= 0 for seq in range(self.n_seq_max)):
            raise UnsupportedError("the memory is not empty; warm up before the first decode")
        vocab = self.model.vocab
        batch = Batch(2)
        batch.extend([token or 0 for token in (vocab.bos, vocab.eos)], 0, 0, output_last=True)
        if self.model.has_encoder:
            self.encode(batch)
        if self.model.has_decoder:
            self.decode(batch)
        self.memory.clear(data=False)
        self.synchronize()

    # -- stopping

    def request_abort(self) -> None:
        """Stop the running `decode` within one step of its graph (on the CPU), and every later one until
        `clear_abort`. From any thread, at once.
        """
        self._abort.value = 1

    def clear_abort(self) -> None:
        """Allow computing again."""
        if not self.closed:
            self._abort.value = 0

    @property
    def abort_requested(self) -> bool:
        """Whether `request_abort` is in force."""
        return self._abort.value != 0

    # -- settings

    @property
    def whole_texts(self) -> bool:
        """Whether a text must be in one micro-batch: where a token sees those after it, or there is no memory."""
        return not (self._causal and self._has_memory)

    @property
    def n_threads(self) -> int:
        """Threads for single tokens."""
        return int(self._options["n_threads"])

    @property
    def n_threads_batch(self) -> int:
        """Threads for prompts."""
        return int(self._options["n_threads_batch"])

    def set_threads(self, n_threads: int, n_threads_batch: int | None = None) -> None:
        """Change the numbers of threads, 1 to 512; the second is the first when unset."""
        batch = n_threads if n_threads_batch is None else n_threads_batch
        for name, value in (("n_threads", n_threads), ("n_threads_batch", batch)):
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 512:
                raise InputError(f"{name} must be 1 to 512, not {value!r}", param=name)
        with self._use_guard as pointer:
            llama_h.llama_set_n_threads(pointer, n_threads, batch)
        self._options.update(n_threads=n_threads, n_threads_batch=batch)

    def set_embeddings(self, on: bool) -> None:
        """Whether the next batches give embeddings."""
        with self._use_guard as pointer:
            guard_h.lb_llama_set_embeddings(pointer, bool(on))
            check_guard()
            self._embeddings = bool(on)

    def set_causal_attn(self, on: bool) -> None:
        """Whether a token sees only those before it. Without, a batch has at most n_ubatch tokens."""
        with self._use_guard as pointer:
            guard_h.lb_llama_set_causal_attn(pointer, bool(on))
            check_guard()
            self._causal = bool(on)
            self._set_limit()

    def _set_limit(self) -> None:
        self._limit = min(self.n_batch, self.n_ubatch) if self.whole_texts else self.n_batch

    def set_adapters(self, adapters: Sequence[tuple[Adapter, float]]) -> None:
        """Use these LoRA adapters with these scales (1.0: as trained), instead of those before; none for ().

        Raises:
            AdapterError: an adapter of another model, or one given twice.
            InputError: a scale that is not a finite number.
        """
        pairs = [(adapter, float(scale)) for adapter, scale in adapters]
        for adapter, scale in pairs:
            if adapter.model is not self.model:
                raise AdapterError("the adapter was loaded for another model", path=adapter.path)
            if not abs(scale) < 3.4e38:
                raise InputError(f"the scale of an adapter must be a finite number, not {scale}", param="scale")
        if len({id(adapter) for adapter, _ in pairs}) != len(pairs):
            raise AdapterError("an adapter is given twice; add up the scales")
        pinned: list[Resource] = []
        try:
            for adapter, _ in pairs:
                adapter._resource.hold()
                pinned.append(adapter._resource)
            with self._use_guard as pointer:
                array = (ctypes.c_void_p * max(1, len(pairs)))(*(resource.pointer for resource in pinned))
                scales = (ctypes.c_float * max(1, len(pairs)))(*(scale for _, scale in pairs))
                code = guard_h.lb_llama_set_adapters_lora(pointer, array, len(pairs), scales)
                check_guard()
                if code != 0:
                    raise AdapterError(f"llama_set_adapters_lora failed with code {code}")
                before, self._owned.adapters = self._owned.adapters, pinned
                pinned = before
        finally:
            for resource in pinned:
                resource.unhold()

    def set_control_vector(self, data: npt.ArrayLike | None, il_start: int = 1, il_end: int | None = None) -> None:
        """Add a vector to the state after layers `il_start` to `il_end` (both included; default all), or none.

        Args:
            data: shape (n_layer - 1, n_embd), float32: row 0 is for layer 1.
            il_start: first layer, at least 1.
            il_end: last layer, below n_layer.

        Raises:
            InputError: a wrong shape or layer.
        """
        n_layer, n_embd = self.model.n_layer, self.model.n_embd
        end = n_layer - 1 if il_end is None else il_end
        if data is None:
            with self._use_guard as pointer:
                guard_h.lb_llama_set_adapter_cvec(pointer, None, 0, n_embd, 0, 0)
                check_guard()
            return
        array = np.ascontiguousarray(data, np.float32)
        if array.shape != (n_layer - 1, n_embd):
            raise InputError(f"data must have shape ({n_layer - 1}, {n_embd}), not {array.shape}", param="data")
        if not 1 <= il_start <= end < n_layer:
            raise InputError(f"layers are 1 to {n_layer - 1}, not {il_start} to {end}", param="il_start")
        with self._use_guard as pointer:
            address = array.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            code = guard_h.lb_llama_set_adapter_cvec(pointer, address, array.size, n_embd, il_start, end)
            check_guard()
        if code != 0:
            raise AdapterError("llama.cpp refused the control vector")

    # -- facts

    def perf(self, reset: bool = False) -> Perf:
        """llama.cpp's timings since the start or the last reset."""
        with self._use_guard as pointer:
            guard_h.lb_llama_synchronize(pointer)  # what is still running is counted when it ends
            check_guard()
            data = llama_h.llama_perf_context(pointer)
            if reset:
                llama_h.llama_perf_context_reset(pointer)
        return perf_of(data)

    def describe(self) -> dict[str, Any]:
        """The options in force, by the names of ``llama_context_params``."""
        actual = {name: getattr(self, name) for name in ("n_ctx", "n_ctx_seq", "n_batch", "n_ubatch", "n_seq_max")}
        return {**self._options, **actual, "pooling_type": self.pooling_type, "embeddings": self._embeddings}

    def __repr__(self) -> str:
        return f"<Context n_ctx={self.n_ctx} n_seq_max={self.n_seq_max}{' closed' if self.closed else ''}>"

    def _use(self) -> Use:
        return self._use_guard
