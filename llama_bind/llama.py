"""`Llama`: a model file with everything that is needed to use it. Wiring of core, engine, text and chat; no algorithms.

Not for: what those do themselves, or options (``params.py``).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np
import numpy.typing as npt
from typing_extensions import Unpack

from llama_bind.calls import Seeds, read_call, split
from llama_bind.chats import ChatReader
from llama_bind.errors import ClosedError, ContextOverflowError, InputError, StateError, UnsupportedError
from llama_bind.options import validate
from llama_bind.params import AdapterSpec, ContextParams, LlamaParams, ModelParams, SamplingParams
from llama_bind.prompts import Prompt, PromptReader
from llama_bind.results import ChatShape, TextShape
from llama_bind.types import ChatCompletion, ChatCompletionChunk, Completion, CreateEmbeddingResponse
from llama_bind.values import LlamaState

if TYPE_CHECKING:
    from llama_bind._kwargs import ChatKwargs, CompletionKwargs, LlamaKwargs
    from llama_bind.core.model import Model
    from llama_bind.core.vocab import Vocab
    from llama_bind.engine.handle import Events, RequestHandle, Stream
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.request import Request
    from llama_bind.engine.runner import Runner

__all__ = ["Llama"]


class Llama:
    """A loaded model that generates, chats, embeds and tokenizes. Thread-safe: calls from any thread wait their turn.

    Args:
        model_path: A GGUF file (the first shard of a split one).
        **kwargs: The options of `ModelParams`, `ContextParams` and `LlamaParams`; None stands for the default.

    Raises:
        ModelNotFoundError, ModelFormatError, ModelLoadError: the file; all are ValueErrors.
        ContextError: no context can be made with these options.
        UnknownOptionError, InputError: an option.

    Example:
        >>> llm = Llama("model.gguf")  # doctest: +SKIP
        >>> llm("[INST] Give me a joke. [/INST]")["choices"][0]["text"]  # doctest: +SKIP
    """

    def __init__(self, model_path: str | os.PathLike[str], **kwargs: Unpack[LlamaKwargs]) -> None:
        self._arguments: dict[str, Any] = dict(kwargs)
        model_options, context_options, own_options = split(
            kwargs, (ModelParams, ContextParams, LlamaParams), "Llama()"
        )
        self.params = LlamaParams(**own_options)
        self.model_params = ModelParams(**model_options)
        self.context_params = _context_options(context_options)
        for part in (self.params, self.model_params, self.context_params):
            validate(part)
        self.model_path = os.fspath(model_path)
        self._seeds = Seeds(self.params.seed)
        self._open()

    # -- life ------------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        from llama_bind.core.log import set_verbose
        from llama_bind.core.model import Model

        if self.params.verbose:
            set_verbose(True)
        self._model: Model = Model.load(self.model_path, self.model_params)
        self._engine: Engine | None = None
        try:
            self._vocab: Vocab = self._model.vocab
            self._prompts = PromptReader(self._vocab, self.params.tokenizer)
            self._chats = ChatReader(self._model, self._prompts, self.params)
            self.metadata: dict[str, str] = dict(self._model.metadata)
            self._defaults = self._sampling_defaults()
            if not self.model_params.vocab_only:
                self._engine = self._start_engine()
        except BaseException:
            self._model.close()
            raise

    def _start_engine(self) -> Engine:
        from llama_bind.core.context import Context
        from llama_bind.engine.loop import Engine
        from llama_bind.engine.runner import Runner

        adapters = self._load_adapters()
        model, params = self._model, self.context_params
        if params.embedding and params.pooling_type in ("unspecified", -1) and model.meta_int("pooling_type") is None:
            params = dataclasses.replace(params, pooling_type="mean")  # one vector for a text is what callers expect

        def make_context() -> Context:  # kept by the engine's thread, so it must not refer to self
            context = Context.create(model, params)
            if adapters:
                context.set_adapters(adapters)
            return context

        runner = Runner(make_context)
        if self.params.draft_model is not None and not runner.can_draft:
            runner.context.close()
            raise UnsupportedError("draft_model needs a memory that can be cut back; this model's cannot")
        self._n_ctx = runner.context.n_ctx_seq
        self._pooling = runner.context.pooling_type
        return Engine(runner)

    def _load_adapters(self) -> list[tuple[Any, float]]:
        from llama_bind.core.adapter import Adapter

        specs = _specs(self.params.loras)
        if self.params.lora_path is not None:
            specs.insert(0, AdapterSpec(self.params.lora_path, self.params.lora_scale))
        return [(Adapter.load(self._model, spec.path), spec.scale) for spec in specs]

    def _sampling_defaults(self) -> SamplingParams:
        """llama.cpp's defaults, then what the model file recommends, then what this object was given."""
        given = dict(self._model.sampling_defaults())
        if self.params.last_n_tokens_size is not None:
            given["penalty_last_n"] = self.params.last_n_tokens_size
        defaults = dataclasses.replace(SamplingParams(), **given)
        validate(defaults)
        return defaults

    def close(self) -> None:
        """End running requests with `ClosedError` and free everything. Any number of times, from any thread."""
        if self._engine is not None:
            self._engine.close()
        self._model.close()

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickled by path and options: the copy loads the file again."""
        return {"model_path": self.model_path, "arguments": self._arguments}

    def __setstate__(self, state: dict[str, Any]) -> None:
        Llama.__init__(self, state["model_path"], **state["arguments"])

    def __repr__(self) -> str:
        state = "closed" if self._model.closed else self._model.desc
        return f"Llama({self.model_path!r}, {state})"

    @classmethod
    def from_pretrained(
        cls, repo_id: str, filename: str | None = None, *, hub_options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Llama:
        """Load a model by name: a known one ("smollm2-135m-instruct"), or a file of a Hugging Face repository.

        Args:
            repo_id: A known name, or "owner/repository".
            filename: The file in the repository; a pattern such as "*Q4_K_M.gguf" must match one model.
            hub_options: Further arguments of `llama_bind.hub.from_pretrained` (revision, token, cache_dir, ...).
            **kwargs: As for `Llama`.

        Raises:
            DownloadError: it could not be fetched, or several files match.
        """
        from llama_bind import hub

        if filename is None and "/" not in repo_id:
            return cls(hub.resolve_model(repo_id), **kwargs)
        return cls(hub.from_pretrained(repo_id, filename, **(hub_options or {})), **kwargs)

    # -- text and tokens -------------------------------------------------------------------------------------------

    def tokenize(self, text: str | bytes, add_bos: bool = True, special: bool = False) -> list[int]:
        """Token ids of a text of any length.

        Args:
            text: Bytes are taken as UTF-8.
            add_bos: Add the special tokens that the model wants around a text (BOS, EOS).
            special: Take the text of control tokens as those tokens; without it they are plain text.

        Raises:
            TextEncodingError: a lone surrogate, or bytes that are not UTF-8.
        """
        return self._prompts.tokenize(text, add_bos, special)

    def detokenize(
        self, tokens: Sequence[int], prev_tokens: Sequence[int] | None = None, special: bool = False
    ) -> bytes:
        """The bytes of tokens; `special` shows control tokens. `prev_tokens` come before and are not part of it.

        Raises:
            TokenError: an id outside the vocabulary.
        """
        if prev_tokens:
            before = self._vocab.detokenize(list(prev_tokens), False, special)
            return self._vocab.detokenize([*prev_tokens, *tokens], False, special)[len(before) :]
        return self._vocab.detokenize(list(tokens), False, special)

    def n_ctx(self) -> int:
        """Tokens that one text can have."""
        if self._engine is None:
            raise UnsupportedError("there is no context: the model was loaded with vocab_only=True")
        return self._n_ctx

    def n_vocab(self) -> int:
        """Tokens in the vocabulary."""
        return self._vocab.n_tokens

    def n_embd(self) -> int:
        """Numbers in an embedding."""
        return self._model.n_embd_out

    def token_bos(self) -> int:
        """The beginning-of-sequence token, -1 if there is none."""
        return _or_minus_one(self._vocab.bos)

    def token_eos(self) -> int:
        """The end-of-sequence token, -1 if there is none."""
        return _or_minus_one(self._vocab.eos)

    def token_nl(self) -> int:
        """The newline token, -1 if there is none."""
        return _or_minus_one(self._vocab.nl)

    @property
    def model(self) -> Model:
        """The core object, for what this class does not offer."""
        return self._model

    @property
    def engine(self) -> Engine:
        """The engine that runs the requests.

        Raises:
            ClosedError, UnsupportedError: closed, or loaded with vocab_only.
        """
        if self._model.closed:
            raise ClosedError("this Llama")
        if self._engine is None:
            raise UnsupportedError("this needs the weights: load the model without vocab_only=True")
        return self._engine

    # -- completion ------------------------------------------------------------------------------------------------

    @overload
    def create_completion(
        self, prompt: Prompt, *, stream: Literal[False] = False, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion: ...

    @overload
    def create_completion(
        self, prompt: Prompt, *, stream: Literal[True], **kwargs: Unpack[CompletionKwargs]
    ) -> Iterator[Completion]: ...

    @overload
    def create_completion(
        self, prompt: Prompt, *, stream: bool, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion | Iterator[Completion]: ...

    def create_completion(
        self, prompt: Prompt, *, stream: bool = False, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion | Iterator[Completion]:
        """Continue a text (OpenAI: POST /v1/completions).

        Args:
            prompt: Text, in which the names of control tokens count as those tokens, or token ids.
            stream: Give an iterator of chunks. Closing it or dropping it cancels the request.
            **kwargs: The options of `SamplingParams` and `RequestParams`.

        Raises:
            ContextOverflowError: the prompt is longer than the context.
            UnknownOptionError, InputError: an option.
            DecodeError, NativeAbortError: llama.cpp failed; this request ends, the object stays usable.
        """
        call = read_call({**kwargs, "stream": stream}, self._defaults, "create_completion()")
        tokens = self._prompts.read(prompt, call.request.suffix)
        with_echo = call.request.echo and call.logprobs is not None
        seed, proposer = self._seeds.next(call.sampling.seed), self.params.draft_model
        requests = call.requests(tokens, seed, echo_logprobs=with_echo, proposer=proposer)
        handles, events = self._submit(requests)
        shape = TextShape(
            call.request.model or self.model_path,
            len(requests),
            echo=self._prompts.text(prompt) if call.request.echo else "",
            logprobs=call.logprobs is not None,
            prompt_logprobs=(lambda: handles[0].prompt_logprobs) if with_echo else tuple,
        )
        return shape.stream(events, usage=call.include_usage) if stream else shape.whole(events)

    __call__ = create_completion

    def _submit(self, requests: list[Request]) -> tuple[list[RequestHandle], Stream]:
        from llama_bind.engine.handle import merged

        events: Events = SimpleQueue()
        handles: list[RequestHandle] = []
        try:
            for request in requests:
                handles.append(self.engine.submit(request, events))
        except BaseException:
            for handle in handles:
                handle.cancel()
            raise
        return handles, merged(handles, events)

    # -- chat ------------------------------------------------------------------------------------------------------

    @overload
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[False] = False, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion: ...

    @overload
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[True], **kwargs: Unpack[ChatKwargs]
    ) -> Iterator[ChatCompletionChunk]: ...

    @overload
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion | Iterator[ChatCompletionChunk]: ...

    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion | Iterator[ChatCompletionChunk]:
        """Answer a conversation (OpenAI: POST /v1/chat/completions).

        Args:
            messages: Dicts with role and content. Text in them never becomes a control token.
            stream: Give an iterator of chunks. Closing it or dropping it cancels the request.
            **kwargs: The options of `SamplingParams`, `RequestParams` and `ChatParams`.

        Raises:
            MessageError, TemplateError: the messages, or the template that renders them.
            ContextOverflowError: the conversation is longer than the context.
            UnknownOptionError, InputError: an option.
        """
        if self.params.chat_handler is not None:
            result: ChatCompletion = self.params.chat_handler(llama=self, messages=messages, stream=stream, **kwargs)
            return result
        call = read_call({**kwargs, "stream": stream}, self._defaults, "create_chat_completion()", chat=True)
        tokens, stop = self._chats.read(messages, call.chat)
        seed, proposer = self._seeds.next(call.sampling.seed), self.params.draft_model
        requests = call.requests(tokens, seed, stop=stop, proposer=proposer)
        _, events = self._submit(requests)
        shape = ChatShape(call.request.model or self.model_path, len(requests), logprobs=call.logprobs is not None)
        return shape.stream(events, usage=call.include_usage) if stream else shape.whole(events)

    # -- embeddings ------------------------------------------------------------------------------------------------

    def embed(
        self, input: str | Sequence[str], *, normalize: bool = False, truncate: bool = False
    ) -> npt.NDArray[np.float32] | list[npt.NDArray[np.float32]]:
        """Embeddings as float32 arrays, shape (n_embd,), or (n_tokens, n_embd) with pooling_type "none".

        Args:
            input: One text (one array is given) or several (a list).
            normalize: Scale each vector to length 1.
            truncate: Cut texts that are too long instead of raising.

        Raises:
            UnsupportedError: the model was not loaded with embedding=True.
            ContextOverflowError: a text has more tokens than one batch, and `truncate` is False.
        """
        vectors, _ = self._embed([input] if isinstance(input, str) else list(input), normalize, truncate)
        return vectors[0] if isinstance(input, str) else vectors

    def create_embedding(
        self, input: str | Sequence[str], model: str | None = None, *, normalize: bool = False, truncate: bool = False
    ) -> CreateEmbeddingResponse:
        """Embeddings in OpenAI's shape (POST /v1/embeddings); arguments and errors as for `embed`."""
        texts = [input] if isinstance(input, str) else list(input)
        vectors, n_tokens = self._embed(texts, normalize, truncate)
        return {
            "object": "list",
            "data": [{"object": "embedding", "index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)],
            "model": model or self.model_path,
            "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
        }

    def _embed(self, texts: list[str], normalize: bool, truncate: bool) -> tuple[list[npt.NDArray[np.float32]], int]:
        from llama_bind.engine.request import Request

        if not self.context_params.embedding:
            raise UnsupportedError("load the model with embedding=True to make embeddings")
        limit = min(self._n_ctx, self.context_params.n_ubatch)
        handles: list[RequestHandle] = []
        total = 0
        try:
            for text in texts:
                if not isinstance(text, (str, bytes)):
                    raise InputError(f"a text to embed is a string, not {type(text).__name__}", param="input")
                tokens = self._prompts.read(text)
                if len(tokens) > limit and not truncate:
                    raise ContextOverflowError(len(tokens), limit, "pass truncate=True, or load with a larger n_ubatch")
                handles.append(self.engine.submit(Request(prompt=tokens[:limit], kind="embed")))
                total += len(tokens[:limit])
            for handle in handles:
                for _ in handle:
                    pass
        except BaseException:
            for handle in handles:
                handle.cancel()
            raise
        return [_normalized(h.embedding) if normalize else h.embedding for h in handles], total

    # -- state -----------------------------------------------------------------------------------------------------

    def save_state(self) -> LlamaState:
        """What the memory holds of the text that ran last, to go on from it later or elsewhere."""
        from llama_bind.core.state import save_seq_state

        def save(runner: Runner) -> LlamaState:
            slot, tokens = self.engine.remembered()
            return LlamaState(tuple(tokens), save_seq_state(runner.context, slot))

        return self.engine.call(save)

    def load_state(self, state: LlamaState) -> None:
        """Put a saved text back: a prompt that begins with its tokens computes only the rest.

        Raises:
            StateError: it belongs to another model or context, or is damaged; or every sequence runs right now.
        """
        from llama_bind.core.state import load_seq_state

        def load(runner: Runner) -> None:
            slot = self.engine.free_slot()
            if slot is None:
                raise StateError("every sequence is running; load a state when one has ended")
            self.engine.restore(slot, [])
            load_seq_state(runner.context, state.data, slot)
            if runner.context.memory.seq_pos_max(slot) + 1 != len(state.tokens):
                runner.context.memory.seq_rm(slot, -1, -1)
                raise StateError("the state's tokens are not those that its memory was made from")
            self.engine.restore(slot, list(state.tokens))

        self.engine.call(load)

    def reset(self) -> None:
        """Forget all texts that are not running."""
        self.engine.forget()


def _context_options(given: Mapping[str, Any]) -> ContextParams:
    params = ContextParams(**given)
    if params.embedding and isinstance(params.n_batch, int):
        # Pooling needs all tokens of a text in one micro-batch.
        params = dataclasses.replace(
            params, n_ubatch=max(params.n_batch, params.n_ubatch), n_batch=max(params.n_batch, params.n_ubatch)
        )
    return params


def _specs(given: Sequence[AdapterSpec | tuple[str, float]] | None) -> list[AdapterSpec]:
    return [spec if isinstance(spec, AdapterSpec) else AdapterSpec(*spec) for spec in given or ()]


def _or_minus_one(token: int | None) -> int:
    return -1 if token is None else token


def _normalized(vector: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.asarray(vector / np.where(length > 0, length, 1), np.float32)
