"""A loaded model: weights, vocabulary, metadata and facts.

Read only after loading, so any number of contexts and threads may share one. Not for: running it (`Context`), or
checking files (``gguf_check``, which `Model.load` calls first).
"""

from __future__ import annotations

import ctypes
import dataclasses
import functools
import os
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from llama_bind.core import log
from llama_bind.core.backend import ensure_backend, numa_init
from llama_bind.core.gguf_check import check_model_file
from llama_bind.core.handle import Handle
from llama_bind.core.model_params import NativeModelParams, native_model_params
from llama_bind.core.text import read_text
from llama_bind.core.vocab import Vocab, vocab_facts
from llama_bind.errors import InputError, ModelLoadError, NativeAbortError
from llama_bind.lib import guard_h, llama_h
from llama_bind.lib._guard import check_guard
from llama_bind.params import SAMPLERS, ModelParams

__all__ = ["Model"]

# Architectures whose positions are rows of a tensor (LLM_TENSOR_POS_EMBD); MPT only when it does not use ALiBi.
_LEARNED_POSITIONS = frozenset({"bert", "gpt2", "starcoder", "mpt"})
_SAMPLER_ALIASES = {"typ_p": "typical_p", "typ": "typical_p", "temp": "temperature", "nucleus": "top_p"}
# llama_model_meta_key -> field of SamplingParams and its type
_SAMPLING: tuple[tuple[int, str, Callable[[str], Any]], ...] = (
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_TOP_K, "top_k", int),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_TOP_P, "top_p", float),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_MIN_P, "min_p", float),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_XTC_PROBABILITY, "xtc_probability", float),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_XTC_THRESHOLD, "xtc_threshold", float),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_TEMP, "temperature", float),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_LAST_N, "penalty_last_n", int),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_PENALTY_REPEAT, "repeat_penalty", float),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT, "mirostat_mode", int),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_TAU, "mirostat_tau", float),
    (llama_h.LLAMA_MODEL_META_KEY_SAMPLING_MIROSTAT_ETA, "mirostat_eta", float),
)


_FACTS = (
    "n_ctx_train", "n_embd", "n_embd_inp", "n_embd_out", "n_layer", "n_layer_nextn", "n_head", "n_head_kv", "n_swa",
    "n_params", "size", "desc", "ftype", "ftype_name", "rope_type", "is_mrope", "rope_freq_scale_train", "has_encoder",
    "has_decoder", "is_recurrent", "is_hybrid", "is_diffusion", "decoder_start_token", "n_cls_out", "n_pos_max",
)  # fmt: skip


def _free(pointer: int) -> None:
    llama_h.llama_model_free(pointer)


class Model(Handle):
    """A model (``llama_model``). Made by `load`; closing it closes its contexts and adapters.

    Attributes:
        path: the file, or the first of several.
        params: the options it was loaded with.
        n_ctx_train: tokens of context it was trained with.
        n_embd, n_embd_inp, n_embd_out: width of its state, of an input embedding, of an output embedding.
        n_layer, n_layer_nextn, n_head, n_head_kv, n_swa: layers, multi-token-prediction layers, attention heads, heads
            of K and V, tokens of the sliding window (0: none).
        n_params, size: count of weights, and their bytes.
        desc: a short description, e.g. "llama 8B Q4_K - Medium".
        ftype: ``LLAMA_FTYPE_*`` number; `ftype_name` its name.
        rope_type: ``LLAMA_ROPE_TYPE_*`` number. `is_mrope`: whether positions have four sections.
        rope_freq_scale_train: the RoPE frequency scale it was trained with.
        has_encoder, has_decoder, is_recurrent, is_hybrid, is_diffusion: what kind of model it is.
        decoder_start_token: what a decoder starts with after encoding, or None.
        n_cls_out: outputs of a classifier (1 for most models, meaningful only with rank pooling).
    """

    def __init__(self, pointer: int, path: str, paths: tuple[str, ...], params: ModelParams, keep: list[Any]) -> None:
        super().__init__(pointer, _free)
        self.path = path
        self.paths = paths
        self.params = params
        self._keep = keep  # arrays that the native model may still point to
        m = pointer
        self.n_ctx_train = int(llama_h.llama_model_n_ctx_train(m))
        self.n_embd = int(llama_h.llama_model_n_embd(m))
        self.n_embd_inp = int(llama_h.llama_model_n_embd_inp(m))
        self.n_embd_out = int(llama_h.llama_model_n_embd_out(m))
        self.n_layer = int(llama_h.llama_model_n_layer(m))
        self.n_layer_nextn = int(llama_h.llama_model_n_layer_nextn(m))
        # Without layers (vocab_only) there is no layer to ask about heads: llama.cpp aborts.
        self.n_head = int(llama_h.llama_model_n_head(m)) if self.n_layer else 0
        self.n_head_kv = int(llama_h.llama_model_n_head_kv(m)) if self.n_layer else 0
        self.n_swa = int(llama_h.llama_model_n_swa(m))
        self.n_params = int(llama_h.llama_model_n_params(m))
        self.size = int(llama_h.llama_model_size(m))
        self.ftype = int(llama_h.llama_model_ftype(m))
        self.rope_type = int(llama_h.llama_model_rope_type(m))
        self.is_mrope = self.rope_type in (llama_h.LLAMA_ROPE_TYPE_MROPE, llama_h.LLAMA_ROPE_TYPE_IMROPE)
        self.rope_freq_scale_train = float(llama_h.llama_model_rope_freq_scale_train(m))
        self.has_encoder = bool(llama_h.llama_model_has_encoder(m))
        self.has_decoder = bool(llama_h.llama_model_has_decoder(m))
        self.is_recurrent = bool(llama_h.llama_model_is_recurrent(m))
        self.is_hybrid = bool(llama_h.llama_model_is_hybrid(m))
        self.is_diffusion = bool(llama_h.llama_model_is_diffusion(m))
        self.n_cls_out = int(llama_h.llama_model_n_cls_out(m))
        start = int(llama_h.llama_model_decoder_start_token(m))
        self.decoder_start_token = start if start >= 0 else None
        self._vocab_facts = vocab_facts(m)
        self._vocab: weakref.ref[Vocab] | None = None

    @classmethod
    def load(
        cls, path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]], params: ModelParams | None = None
    ) -> Model:
        """Load a GGUF file, or its shards in order (the first shard alone is enough when their names are standard).

        The file is checked first, so that damage gives an error and not a crash. Other Python threads run meanwhile.

        Raises:
            ModelNotFoundError: no such file.
            ModelFormatError: the file is damaged or not one that llama.cpp can take.
            ModelLoadError: llama.cpp refused it; its own words are in the message and in ``log``.
            InputError, UnsupportedError: an option that cannot be used.
            Exception: whatever ``progress_callback`` raised.
        """
        params = params or ModelParams()
        paths = _paths(path)
        ensure_backend()
        if params.numa:
            numa_init(params.numa)
        native = native_model_params(params)
        if params.check_model:
            files = paths if len(paths) > 1 else paths[0]
            check_model_file(files, vocab_only=params.vocab_only, kv_overrides=params.kv_overrides)
        place = log.mark()
        pointer = _load(paths, native, place)
        return cls(pointer, paths[0], paths, params, native.keep)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled by path and options, without the callback; unpickling loads the file again."""
        params = dataclasses.replace(self.params, progress_callback=None)
        return (Model.load, (self.paths if len(self.paths) > 1 else self.path, params))

    def __repr__(self) -> str:
        return f"<Model {self.path!r}{' closed' if self.closed else ''}>"

    def facts(self) -> dict[str, Any]:
        """What is known of the model that loading only its vocabulary does not tell: see `adopt`."""
        return {name: getattr(self, name) for name in _FACTS}

    def adopt(self, facts: Mapping[str, Any]) -> None:
        """Take over the `facts` of the same file, loaded whole in another process; here is only its vocabulary."""
        self.__dict__.update({name: facts[name] for name in _FACTS})

    @property
    def vocab(self) -> Vocab:
        """The vocabulary. It keeps the model alive and not the other way round, so that a dropped model is freed at
        once.
        """
        vocab = None if self._vocab is None else self._vocab()
        if vocab is None:
            vocab = Vocab(self, self._vocab_facts)
            self._vocab = weakref.ref(vocab)
        return vocab

    @functools.cached_property
    def metadata(self) -> dict[str, str]:
        """The metadata of the file as text, without its arrays."""
        count = int(llama_h.llama_model_meta_count(self.ptr))
        pairs = {}
        for index in range(count):
            key = read_text(llama_h.llama_model_meta_key_by_index, self.ptr, index)
            pairs[key] = read_text(llama_h.llama_model_meta_val_str_by_index, self.ptr, index)
        return pairs

    @functools.cached_property
    def arch(self) -> str:
        """The architecture's name, e.g. "llama"."""
        return self.metadata.get("general.architecture", "")

    @functools.cached_property
    def desc(self) -> str:
        """A short description, e.g. "llama 8B Q4_K - Medium"."""
        return read_text(llama_h.llama_model_desc, self.ptr)

    @functools.cached_property
    def ftype_name(self) -> str:
        """The quantization's name, e.g. "Q4_K - Medium"."""
        return (llama_h.llama_ftype_name(self.ftype) or b"").decode("utf-8", "replace")

    @functools.cached_property
    def n_pos_max(self) -> int | None:
        """How many positions the model knows, for one that learned each of them; None for all others (RoPE, ALiBi).

        llama.cpp fails an assertion, perhaps in a thread where nothing can catch it, when a position is beyond.
        """
        alibi = self.metadata.get(f"{self.arch}.attention.max_alibi_bias", "0")
        if self.arch not in _LEARNED_POSITIONS or (self.arch == "mpt" and alibi.strip("0.") != ""):
            return None
        return self.n_ctx_train

    def meta_int(self, name: str) -> int | None:
        """The architecture's whole number ``{arch}.{name}``, or None."""
        try:
            return int(self.metadata.get(f"{self.arch}.{name}", ""))
        except ValueError:
            return None

    def cls_label(self, index: int) -> str | None:
        """The label of a classifier's output, or None when it has no name."""
        if not isinstance(index, int) or not 0 <= index < self.n_cls_out:
            raise InputError(f"index must be 0 to {self.n_cls_out - 1}, not {index!r}", param="index")
        label = llama_h.llama_model_cls_label(self.ptr, index)
        return None if label is None else label.decode("utf-8", "replace")

    def chat_template(self, name: str | None = None) -> str | None:
        """The chat template of the file (Jinja), or the one called `name`; None when there is none."""
        raw = llama_h.llama_model_chat_template(self.ptr, None if name is None else name.encode("utf-8", "replace"))
        return None if raw is None else raw.decode("utf-8", "replace")

    def sampling_defaults(self) -> dict[str, Any]:
        """What the model's author recommends for sampling, by the names of `SamplingParams`; mostly empty."""
        found: dict[str, Any] = {}
        for number, field, kind in _SAMPLING:
            text = self._meta_value(number)
            if text is not None:
                try:
                    found[field] = kind(text)
                except ValueError:
                    log.logger.warning("the model's metadata recommends %s=%r, which is ignored", field, text)
        order = self._meta_value(llama_h.LLAMA_MODEL_META_KEY_SAMPLING_SEQUENCE)
        if order is not None:
            names = [_SAMPLER_ALIASES.get(name.strip(), name.strip()) for name in order.split(";")]
            found["samplers"] = tuple(name for name in names if name in SAMPLERS)
        return found

    def _meta_value(self, number: int) -> str | None:
        key = llama_h.llama_model_meta_key_str(number)
        return None if key is None else self.metadata.get(key.decode())


def _paths(path: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> tuple[str, ...]:
    try:
        given = [path] if isinstance(path, (str, os.PathLike)) else list(path)
        paths = tuple(str(Path(os.fspath(item))) for item in given)
    except TypeError as error:
        raise InputError(f"path must be a path or a list of them: {error}", param="path") from error
    if not paths:
        raise InputError("path names no file", param="path")
    for item in paths:
        if "\0" in item:
            raise InputError("a path cannot contain a NUL character", param="path")
    return paths


def _load(paths: tuple[str, ...], native: NativeModelParams, place: int) -> int:
    encoded = [os.fsencode(path) for path in paths]
    try:
        if len(encoded) == 1:
            pointer = guard_h.lb_llama_model_load_from_file(encoded[0], native.struct)
        else:
            array = (ctypes.c_char_p * len(encoded))(*encoded)
            pointer = guard_h.lb_llama_model_load_from_splits(array, len(encoded), native.struct)
        check_guard()
    except NativeAbortError as error:
        raise ModelLoadError(
            f"llama.cpp failed on {paths[0]}: {error.native_message}", path=paths[0], log=log.explain(place)
        ) from error
    finally:
        log.raise_pending()
    if native.progress is not None:
        native.progress.raise_stored()
        if native.stopped and not pointer:
            raise ModelLoadError(f"loading {paths[0]} was stopped by progress_callback", path=paths[0])
    if not pointer:
        lines = log.explain(place)
        why = "; ".join(lines) or "it gave no reason"
        raise ModelLoadError(f"llama.cpp could not load {paths[0]}: {why}", path=paths[0], log=lines)
    return int(pointer)
