"""`Llama` as llama-cpp-python has it, on this library's engine: any thread may call it, several texts run at once.

Not for: new code, which has `llama_bind.Llama`; what is not said here is said there.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_bind.compat import chat_handlers, hub_arguments
from llama_bind.compat.by_hand import ByHand
from llama_bind.compat.calling import chat_options, completion_options
from llama_bind.compat.llama_grammar import LlamaGrammar
from llama_bind.compat.llama_tokenizer import LlamaTokenizer
from llama_bind.compat.loading import read_arguments
from llama_bind.compat.processors import (
    LogitsProcessor,
    LogitsProcessorList,
    MinTokensLogitsProcessor,
    StoppingCriteria,
    StoppingCriteriaList,
)
from llama_bind.compat.stepping import LlamaState
from llama_bind.core.context_params import native_context_params
from llama_bind.core.model_params import native_model_params
from llama_bind.engine.pooling import POOLING_KINDS
from llama_bind.errors import UnsupportedError

__all__ = [
    "Llama",
    "LlamaGrammar",
    "LlamaState",
    "LogitsProcessor",
    "LogitsProcessorList",
    "MinTokensLogitsProcessor",
    "StoppingCriteria",
    "StoppingCriteriaList",
]


class Llama(ByHand):
    """A loaded model, with the calls, defaults and results of llama-cpp-python.

    Args:
        model_path: A GGUF file.
        **kwargs: The arguments of that package and of `llama_bind.Llama`. What neither of the two uses is warned about
            once, by name. Unset, `n_ctx`, `n_batch`, `n_gpu_layers`, `flash_attn` and threads are chosen as
            `llama_bind.Llama` chooses them.

    Raises:
        ModelNotFoundError, ModelFormatError, ModelLoadError, ContextError: see `llama_bind.Llama`; all ValueErrors.
    """

    def __init__(self, model_path: str | os.PathLike[str], **kwargs: Any) -> None:
        loading = read_arguments(kwargs)
        super().__init__(model_path, **loading.options)
        self._given = kwargs
        self.chat_handler = loading.chat_handler
        self._loaded_format = loading.chat_format or chat_handlers.format_of(self._session)
        self.chat_format: str | None = self._loaded_format
        self.spm_infill = loading.spm_infill
        self.verbose = bool(kwargs.get("verbose", False))
        self.tokenizer_ = self._session.params.tokenizer or LlamaTokenizer(self)
        self._prepare()

    def __enter__(self) -> Llama:
        return self

    def __repr__(self) -> str:
        state = "closed" if self._session.closed else self._session.model.desc
        return f"Llama({self.model_path!r}, {state})"

    def __getstate__(self) -> dict[str, Any]:
        """Pickled by path and arguments: the copy loads the file again."""
        return {"model_path": self.model_path, "arguments": self._given}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__init__(state["model_path"], **state["arguments"])  # type: ignore[misc]

    @classmethod
    def from_pretrained(
        cls,
        repo_id: str,
        filename: str | None = None,
        additional_files: Sequence[str] | None = None,
        local_dir: str | os.PathLike[str] | None = None,
        local_dir_use_symlinks: bool | str = "auto",
        cache_dir: str | os.PathLike[str] | None = None,
        **kwargs: Any,
    ) -> Llama:
        """Load a file of a Hugging Face repository; see `llama_bind.Llama.from_pretrained`.

        Args:
            repo_id: "owner/repository".
            filename: The file, or a pattern that one model matches.
            additional_files: More files or patterns to fetch.
            local_dir: Lay the files down there.
            local_dir_use_symlinks: Changes nothing.
            cache_dir: In place of Hugging Face's cache.
            **kwargs: As for the class, and ``hub_options``.

        Raises:
            DownloadError: it could not be fetched and is not in the cache, or several files match.
        """
        del local_dir_use_symlinks
        options = hub_arguments.read(kwargs.pop("hub_options", None), additional_files, local_dir, cache_dir)
        made = super().from_pretrained(repo_id, filename, hub_options=options, **kwargs)
        assert isinstance(made, cls)
        return made

    # -- completion ------------------------------------------------------------------------------------------------

    def create_completion(  # type: ignore[override]
        self,
        prompt: str | bytes | Sequence[int],
        suffix: str | None = None,
        max_tokens: int | None = 16,
        temperature: float = 0.8,
        top_p: float = 0.95,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        logprobs: int | None = None,
        echo: bool = False,
        stop: str | Sequence[str] | None = (),
        frequency_penalty: float = 0.0,
        presence_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        top_k: int = 40,
        stream: bool = False,
        seed: int | None = None,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        stopping_criteria: Any = None,
        logits_processor: Any = None,
        grammar: Any = None,
        logit_bias: Mapping[Any, float] | None = None,
        **options: Any,
    ) -> Any:
        """Continue a text, with llama-cpp-python's defaults: 16 tokens, temperature 0.8.

        `prompt` is text or token ids; `suffix` makes it the text before a gap that is filled. `max_tokens` of None, 0
        or less: until the model stops or the context ends. `temperature` 0 takes the likeliest token, below 0 draws
        from all as the model sees them. `logprobs` needs no ``logits_all``; `tfs_z` does nothing. Functions of
        `logits_processor` (input_ids, scores) give scores, those of `stopping_criteria` whether the text ends.
        The rest, and what else may be given, are the options of `llama_bind.Llama.create_completion`.

        Raises:
            ContextOverflowError: "Requested tokens (N) exceed context window of M"; a ValueError.
        """
        given = {
            name: value for name, value in locals().items() if name not in ("self", "prompt", "options", "__class__")
        }
        call = completion_options({**given, **options})
        self._by_hand = False
        if suffix is not None and self.spm_infill and isinstance(prompt, str) and not echo:
            del call["suffix"], call["echo"]
            return super().create_infill(prompt, suffix, spm_infill=True, **call)
        return super().create_completion(prompt, **call)

    __call__ = create_completion  # type: ignore[assignment]

    # -- chat ------------------------------------------------------------------------------------------------------

    def create_chat_completion(  # type: ignore[override]
        self,
        messages: Sequence[Mapping[str, Any]],
        functions: Sequence[Mapping[str, Any]] | None = None,
        function_call: str | Mapping[str, Any] | None = None,
        tools: Sequence[Mapping[str, Any]] | None = None,
        tool_choice: str | Mapping[str, Any] | None = None,
        temperature: float = 0.2,
        top_p: float = 0.95,
        top_k: int = 40,
        min_p: float = 0.05,
        typical_p: float = 1.0,
        stream: bool = False,
        stop: str | Sequence[str] | None = (),
        seed: int | None = None,
        response_format: Any = None,
        max_tokens: int | None = None,
        presence_penalty: float = 0.0,
        frequency_penalty: float = 0.0,
        repeat_penalty: float = 1.0,
        tfs_z: float = 1.0,
        mirostat_mode: int = 0,
        mirostat_tau: float = 5.0,
        mirostat_eta: float = 0.1,
        model: str | None = None,
        logits_processor: Any = None,
        grammar: Any = None,
        logit_bias: Mapping[Any, float] | None = None,
        logprobs: bool | None = None,
        top_logprobs: int | None = None,
        **options: Any,
    ) -> Any:
        """Answer a conversation, with llama-cpp-python's defaults (temperature 0.2).

        A `chat_handler`, or one that was registered under `chat_format`, is called with all of these; else the answer
        is this library's: tool calls are parsed for every `tool_choice`, forms are enforced.

        What else may be given are the options of `llama_bind.Llama.create_chat_completion`.
        """
        given = {
            name: value for name, value in locals().items() if name not in ("self", "messages", "options", "__class__")
        }
        self._by_hand = False
        handler = self.chat_handler or chat_handlers.registered(self.chat_format)
        if handler is not None:
            return handler(llama=self, messages=messages, **given, **options)
        return chat_handlers.answer(self, self.chat_format, messages, {**given, **options})

    def _is_loaded_format(self, name: str) -> bool:
        """Whether the engine answers in this format without being told."""
        return name == self._loaded_format

    def _chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Any:
        """Answer with the model's own template, or with one among the options."""
        return super().create_chat_completion(messages, **chat_options(options))

    def create_chat_completion_openai_v1(self, *args: Any, **kwargs: Any) -> Any:
        """As `create_chat_completion`, with objects of the package openai.

        Raises:
            UnsupportedError: that package is not installed.
        """
        try:
            from openai.types.chat import ChatCompletion, ChatCompletionChunk
        except ImportError as error:
            raise UnsupportedError("create_chat_completion_openai_v1 needs openai: pip install openai") from error
        answer = self.create_chat_completion(*args, **kwargs)
        if kwargs.get("stream"):
            return (ChatCompletionChunk(**chunk) for chunk in answer)
        return ChatCompletion(**answer)

    # -- embeddings ------------------------------------------------------------------------------------------------

    def embed(  # type: ignore[override]  # the original's arguments, also by position
        self, input: Any, normalize: bool = False, truncate: Any = True, return_count: bool = False
    ) -> Any:
        """Embeddings as lists of floats: one for a string, a list of them for a list.

        Args:
            input: A text, or texts.
            normalize: Scale to length 1.
            truncate: Cut texts that are longer than the context (not the batch); False raises.
            return_count: Give (embeddings, number of tokens).

        Raises:
            UnsupportedError: the model was not loaded with embedding=True.
        """
        call = self._session.embeddings.read(input, normalize=normalize, truncate=truncate)
        vectors = [vector.tolist() for vector in call.vectors(self._computed(call.requests))]
        found = vectors[0] if call.one else vectors
        return (found, sum(len(request.prompt) for request in call.requests)) if return_count else found

    def create_embedding(self, input: Any, model: str | None = None, *, truncate: Any = True, **options: Any) -> Any:
        """Embeddings in OpenAI's shape; texts that are longer than the context are cut, unless ``truncate=False``."""
        return super().create_embedding(input, model, truncate=truncate, **options)

    # -- text and tokens -------------------------------------------------------------------------------------------

    def tokenize(self, text: str | bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of a text (bytes are UTF-8)."""
        data = text.encode("utf-8") if isinstance(text, str) else text
        return list(self.tokenizer_.tokenize(data, add_bos, special))

    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """The bytes of tokens, so that pieces put one after the other give the whole text."""
        data: bytes = self.tokenizer_.detokenize(list(tokens), prev_tokens=prev_tokens, special=special)
        return data

    def tokenizer(self) -> LlamaTokenizer:
        """The model's tokenizer."""
        return LlamaTokenizer(self)

    def n_embd(self) -> int:
        """Numbers in an embedding."""
        return self._session.model.n_embd_out

    def pooling_type(self) -> int:
        """``LLAMA_POOLING_TYPE_*`` of embeddings; that of the file (mostly none, 0) where it makes none."""
        kind = self._session.started.pooling
        return int(self._session.model.meta_int("pooling_type") or 0) if kind is None else POOLING_KINDS.index(kind)

    # -- what it was made with -------------------------------------------------------------------------------------

    @property
    def context_params(self) -> Any:
        """A ``llama_context_params`` with the values in force."""
        struct = native_context_params(self._session.model, self._session.context_params)
        struct.n_ctx, struct.n_batch = self.n_ctx(), self.n_batch
        struct.n_ubatch = min(struct.n_ubatch, self.n_batch)
        return struct

    @property
    def model_params(self) -> Any:
        """A ``llama_model_params`` with what the model was loaded with."""
        return native_model_params(self._session.model_params).struct

    @property
    def n_batch(self) -> int:
        """Most tokens in one decode."""
        return min(self._session.context_params.n_batch, self.n_ctx())

    @property
    def n_threads(self) -> int:
        """Threads for single tokens."""
        return int(self.context_params.n_threads)

    @property
    def n_threads_batch(self) -> int:
        """Threads for prompts."""
        return int(self.context_params.n_threads_batch)

    @property
    def last_n_tokens_size(self) -> int:
        """Tokens that penalties look back at."""
        return self._session.defaults.penalty_last_n

    def __getattr__(self, name: str) -> Any:
        """Constructor arguments that the original keeps as attributes (lora_path, tensor_split, draft_model, ...)."""
        if name in _KEPT:
            return self.__dict__.get("_given", {}).get(name, _KEPT[name])
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    @property
    def _n_vocab(self) -> int:
        return self.n_vocab()

    @property
    def _n_ctx(self) -> int:
        return self.n_ctx()

    @property
    def _token_eos(self) -> int:
        return self.token_eos()

    @property
    def _token_nl(self) -> int:
        return self.token_nl()

    @property
    def _is_recurrent(self) -> bool:
        return self._session.model.is_recurrent

    @property
    def _is_hybrid(self) -> bool:
        return self._session.model.is_hybrid

    # -- helpers that others call ----------------------------------------------------------------------------------

    @staticmethod
    def logits_to_logprobs(logits: Any, axis: int = -1) -> npt.NDArray[np.single]:
        """Natural-log probabilities of logits."""
        given = np.asarray(logits, np.float32)
        peak = np.max(given, axis=axis, keepdims=True)
        shifted = given - np.where(np.isfinite(peak), peak, np.float32(0))
        with np.errstate(divide="ignore"):
            norm = np.log(np.sum(np.exp(shifted), axis=axis, keepdims=True))
        return np.asarray(shifted - norm, np.float32)

    @staticmethod
    def longest_token_prefix(a: Sequence[int], b: Sequence[int]) -> int:
        """How many tokens two texts begin with in common."""
        count = 0
        for one, other in zip(a, b, strict=False):
            if one != other:
                break
            count += 1
        return count


_KEPT: Mapping[str, Any] = {
    "draft_model": None,
    "kv_overrides": None,
    "lora_base": None,
    "lora_path": None,
    "lora_scale": 1.0,
    "numa": False,
    "tensor_split": None,
}
