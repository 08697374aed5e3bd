"""`Llama`: a model file with everything that is needed to use it. Waits for what the session prepares.

Not for: algorithms, or options (``params.py``).
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator, Iterable, Mapping, Sequence
from queue import SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from typing_extensions import Unpack

from llama_bind.chat_results import ChatShape
from llama_bind.embeddings import Asker, Text, Texts, Truncate, Vector, check_in_time
from llama_bind.facade import Facade
from llama_bind.many import Many
from llama_bind.progress import ProgressOption, reporting
from llama_bind.prompts import Prompt
from llama_bind.rerank import Document
from llama_bind.results import TextShape
from llama_bind.session import Prepared, Session
from llama_bind.types import ChatCompletion, ChatCompletionChunk, Completion, CreateEmbeddingResponse, RerankResponse
from llama_bind.values import Beam, LlamaState

if TYPE_CHECKING:
    from llama_bind._kwargs import (
        BeamKwargs,
        ChatKwargs,
        CompletionKwargs,
        InfillKwargs,
        LlamaKwargs,
        ToolRunKwargs,
        VectorKwargs,
    )
    from llama_bind.agent.events import ToolRunEvent
    from llama_bind.agent.loop import ToolSource
    from llama_bind.agent.values import ToolRun
    from llama_bind.cache import LlamaDiskCache, LlamaRAMCache
    from llama_bind.engine.handle import EventQueue, Stream
    from llama_bind.engine.request import Request

__all__ = ["Llama"]

S = TypeVar("S", TextShape, ChatShape)


class Llama(Facade):
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
        >>> answer = llm("[INST] Give me a joke. [/INST]")  # doctest: +SKIP
    """

    def __init__(self, model_path: str | os.PathLike[str], **kwargs: Unpack[LlamaKwargs]) -> None:
        self._session = Session(model_path, kwargs)

    # -- life ------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End running requests with `ClosedError` and free everything. Any number of times, from any thread."""
        self._session.close()

    def __enter__(self) -> Llama:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __getstate__(self) -> dict[str, Any]:
        """Pickled by path and options: the copy loads the file again."""
        return {"model_path": self.model_path, "arguments": self._session.arguments}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._session = Session(state["model_path"], state["arguments"])

    @classmethod
    def from_pretrained(
        cls, repo_id: str, filename: str | None = None, *, hub_options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> Llama:
        """Load a model by name: a known one ("smollm2-135m-instruct"), or a file of a Hugging Face repository.

        Args:
            repo_id: A known name, "owner/repository", or the path of a file that is there.
            filename: The file in the repository; a pattern such as "*Q4_K_M.gguf" must match one model.
            hub_options: Further arguments of `llama_bind.hub.from_pretrained` (revision, token, cache_dir, ...).
            **kwargs: As for `Llama`.

        Raises:
            DownloadError: it could not be fetched, or several files match.
        """
        from llama_bind import hub

        if filename is None and ("/" not in repo_id or os.path.isfile(repo_id)):
            return cls(hub.resolve_model(repo_id), **kwargs)
        return cls(hub.from_pretrained(repo_id, filename, **(hub_options or {})), **kwargs)

    # -- completion ------------------------------------------------------------------------------------------------

    @overload
    def create_completion(
        self, prompt: Prompt, *, stream: Literal[False] = False, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion: ...

    @overload
    def create_completion(
        self, prompt: Prompt, *, stream: Literal[True], **kwargs: Unpack[CompletionKwargs]
    ) -> Generator[Completion, None, None]: ...

    @overload
    def create_completion(
        self, prompt: Prompt, *, stream: bool, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion | Generator[Completion, None, None]: ...

    def create_completion(
        self, prompt: Prompt, *, stream: bool = False, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion | Generator[Completion, None, None]:
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
        prepared = self._session.completion(prompt, {**kwargs, "stream": stream})
        events = self._events(prepared)
        return _chunks(prepared, events) if stream else _collected(prepared, events).result()

    __call__ = create_completion

    @overload
    def create_infill(
        self, prefix: str, suffix: str, *, stream: Literal[False] = False, **kwargs: Unpack[InfillKwargs]
    ) -> Completion: ...

    @overload
    def create_infill(
        self, prefix: str, suffix: str, *, stream: Literal[True], **kwargs: Unpack[InfillKwargs]
    ) -> Generator[Completion, None, None]: ...

    @overload
    def create_infill(
        self, prefix: str, suffix: str, *, stream: bool, **kwargs: Unpack[InfillKwargs]
    ) -> Completion | Generator[Completion, None, None]: ...

    def create_infill(
        self, prefix: str, suffix: str, *, stream: bool = False, **kwargs: Unpack[InfillKwargs]
    ) -> Completion | Generator[Completion, None, None]:
        """Fill the gap between two texts, as code editors ask for it (llama-server: POST /infill).

        Of texts that are longer than there is room for, the parts next to the gap are used; see ``infill.py``.

        Args:
            prefix: What comes before the gap. Names of control tokens in any of the texts are text.
            suffix: What comes after it.
            stream: Give an iterator of chunks. Closing it or dropping it cancels the request.
            **kwargs: The options of `InfillParams`, `SamplingParams` and `RequestParams`.

        Raises:
            UnsupportedError: the vocabulary has no tokens for this.
            UnknownOptionError, InputError: an option.
        """
        prepared = self._session.infill(prefix, suffix, {**kwargs, "stream": stream})
        events = self._events(prepared)
        return _chunks(prepared, events) if stream else _collected(prepared, events).result()

    def generate_many(
        self, prompts: Iterable[Prompt], *, progress: ProgressOption = False, **kwargs: Unpack[CompletionKwargs]
    ) -> list[Completion]:
        """Continue many texts, as many at once as there are sequences (`n_seq_max`); results in the order of prompts.

        Args:
            prompts: Any number; only a few are tokenized and queued ahead of those that run, and `max_queue` holds.
            progress: True for a bar (needs rich, extra `cli`), or a function (done, total).
            **kwargs: The options of `create_completion` besides `stream`, for all of them.

        Raises what `create_completion` raises, for the first that fails; the others are cancelled then.
        """
        events: EventQueue = SimpleQueue()
        many = Many(self._session, prompts, kwargs)
        with reporting(progress, many.total) as update, many:
            while not many.finished:
                if many.has_room:
                    many.fill(events)
                if not many.finished:
                    many.take(*events.get())
                    update(many.done)
        return many.results()

    batch = generate_many

    def beam_search(self, prompt: Prompt, **kwargs: Unpack[BeamKwargs]) -> list[Beam]:
        """Find likely continuations of a text as a whole, instead of drawing one token after the other.

        The model's own probabilities count, no sampler takes part, and equal calls give equal texts.

        Args:
            prompt: As for `create_completion`.
            **kwargs: The options of `BeamParams`.

        Returns:
            At most `beam_width` texts, the one with the highest score first.

        Raises:
            ContextOverflowError: the prompt is longer than the context.
            UnknownOptionError, InputError: an option.
        """
        from llama_bind.engine.handle import merged

        search = self._session.beam_search(prompt, kwargs)
        while requests := search.requests():
            events: EventQueue = SimpleQueue()
            for index, event in merged(self._session.submit(requests, events), events):
                search.add(index, event)
        return search.beams(self._session.vocab.token_to_piece)

    def _events(self, prepared: Prepared[Any]) -> Stream:
        from llama_bind.engine.handle import merged

        events: EventQueue = SimpleQueue()
        shape = prepared.shape if isinstance(prepared.shape, TextShape) else None
        return merged(self._session.submit(prepared.requests, events, shape), events)

    # -- chat ------------------------------------------------------------------------------------------------------

    @overload
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[False] = False, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion: ...

    @overload
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[True], **kwargs: Unpack[ChatKwargs]
    ) -> Generator[ChatCompletionChunk, None, None]: ...

    @overload
    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion | Generator[ChatCompletionChunk, None, None]: ...

    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion | Generator[ChatCompletionChunk, None, None]:
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
        handler = self._session.params.chat_handler
        if handler is not None:
            handled: ChatCompletion = handler(llama=self, messages=messages, stream=stream, **kwargs)
            return handled
        prepared = self._session.chat(messages, {**kwargs, "stream": stream})
        events = self._events(prepared)
        return _chunks(prepared, events) if stream else _collected(prepared, events).result()

    def run_tools(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSource], **kwargs: Unpack[ToolRunKwargs]
    ) -> ToolRun:
        """Answer a conversation with the help of Python functions: the model calls them, gets the results, and answers.

        Args:
            messages: As for `create_chat_completion`; the list is not changed.
            tools: Functions with annotations and a docstring (async ones too), `FunctionTool` objects, or declarations
                in OpenAI's shape: a call of one of these ends the run and is among the result's `pending`.
            **kwargs: The options of `ToolRunParams` and of `create_chat_completion`. A `tool_choice` that forces a
                call holds for the first answer.

        Returns:
            The last message, the whole conversation, the usage of all rounds, and what became of each call. A function
            that raises, takes too long or is not approved ends nothing: the model is told.

        Raises:
            InputError: A function that cannot be declared, or an option.
            LlamaBindError: What `create_chat_completion` raises, in any round.
        """
        from llama_bind.agent.driver import finished
        from llama_bind.agent.prepare import prepare

        return finished(self, prepare(self, messages, tools, kwargs, "run_tools()"))

    def stream_tools(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSource], **kwargs: Unpack[ToolRunKwargs]
    ) -> Generator[ToolRunEvent, None, None]:
        """As `run_tools`, as an iterator of events: what the model writes, calls, results, rounds, and the result.

        Closing it or dropping it cancels the running request. See `llama_bind.agent` for the events.
        """
        from llama_bind.agent.driver import run
        from llama_bind.agent.prepare import prepare

        return run(self, prepare(self, messages, tools, kwargs, "stream_tools()"), stream=True)

    # -- embeddings ------------------------------------------------------------------------------------------------

    @overload
    def embed(  # type: ignore[overload-overlap]  # a str is a text before it is a sequence of them
        self, input: Text, *, normalize: bool = False, truncate: Truncate = False, **kwargs: Unpack[VectorKwargs]
    ) -> Vector: ...

    @overload
    def embed(
        self, input: Texts, *, normalize: bool = False, truncate: Truncate = False, **kwargs: Unpack[VectorKwargs]
    ) -> list[Vector]: ...

    def embed(
        self,
        input: Text | Texts,
        *,
        normalize: bool = False,
        truncate: Truncate = False,
        **kwargs: Unpack[VectorKwargs],
    ) -> Vector | list[Vector]:
        """Embeddings as float32 arrays, shape (n_embd,), or (n_tokens, n_embd) with pooling_type "none".

        Args:
            input: One text or its token ids (one array is given), or a list of those. Any number of texts, of any
                length that the context holds.
            normalize: Scale each vector to length 1.
            truncate: For texts that are too long: False raises, True or "end" leaves out the end, "start" the start,
                "middle" the middle. Special tokens around the text stay.
            **kwargs: The options of `VectorParams`: who asks, and when it must be done.

        Raises:
            UnsupportedError: the model was not loaded with embedding=True.
            ContextOverflowError: a text has more tokens than the context holds, and `truncate` is False.
            InputError: not a text, or one without tokens: "" for a model that adds no special tokens.
            DeadlineError: the texts were not computed in time.
        """
        asker = Asker.of(kwargs, "embed()")
        call = self._session.embeddings.read(input, asker, normalize=normalize, truncate=truncate)
        vectors = call.vectors(self._computed(call.requests))
        return vectors[0] if call.one else vectors

    def create_embedding(
        self,
        input: Text | Texts,
        model: str | None = None,
        *,
        normalize: bool = False,
        truncate: Truncate = False,
        dimensions: int | None = None,
        encoding_format: Literal["float", "base64"] = "float",
        **kwargs: Unpack[VectorKwargs],
    ) -> CreateEmbeddingResponse:
        """Embeddings in OpenAI's shape (POST /v1/embeddings); raises what `embed` raises.

        Args:
            input: See `embed`.
            model: The name that the result carries as its model.
            normalize: See `embed`.
            truncate: See `embed`.
            dimensions: Cut vectors to so many numbers and scale them to length 1, for models trained to be cut
                (Matryoshka).
            encoding_format: "base64" gives each vector as base64 of little-endian float32.
            **kwargs: See `embed`.
        """
        call = self._session.embeddings.read(
            input,
            Asker.of(kwargs, "create_embedding()"),
            normalize=normalize,
            truncate=truncate,
            dimensions=dimensions,
            encoding_format=encoding_format,
        )
        return call.response(self._computed(call.requests), model or self.model_path)

    def rerank(
        self,
        query: str,
        documents: Sequence[Document],
        *,
        top_n: int | None = None,
        return_documents: bool = False,
        truncate: Truncate = False,
        model: str | None = None,
        **kwargs: Unpack[VectorKwargs],
    ) -> RerankResponse:
        """Order documents by how well they answer a query, in Jina's shape (POST /v1/rerank).

        Pairs are written as llama-server writes them. A `relevance_score` is what the model's classification head
        gives: for most models any number, the higher the better; compare within one model only.

        Args:
            query: What is looked for.
            documents: Strings, or dicts with a "text".
            top_n: Give only so many, the best.
            return_documents: Give each document back with its score.
            truncate: What to leave out of a document that is too long; see `embed`.
            model: The name that the result carries as its model.
            **kwargs: See `embed`.

        Raises:
            UnsupportedError: the model was not loaded with embedding=True and pooling_type="rank".
            ContextOverflowError: a pair has more tokens than the context holds, and `truncate` is False.
            InputError: not texts.
            DeadlineError: the pairs were not computed in time.
        """
        call = self._session.pairs.read(
            query,
            documents,
            Asker.of(kwargs, "rerank()"),
            top_n=top_n,
            return_documents=return_documents,
            truncate=truncate,
        )
        return call.response(self._computed(call.requests), model or self.model_path)

    def _computed(self, requests: Sequence[Request]) -> list[Vector]:
        from llama_bind.engine.handle import merged

        vectors: list[Vector] = []
        for window in self._session.windows(requests):
            events: EventQueue = SimpleQueue()
            handles = self._session.submit(window, events)
            with contextlib.closing(merged(handles, events)) as stream:
                for _, event in stream:
                    check_in_time(event, handles, len(vectors), len(requests))
            vectors += [handle.embedding for handle in handles]
        return vectors

    # -- state -----------------------------------------------------------------------------------------------------

    def save_state(self) -> LlamaState:
        """What the memory holds of the text that ran last, to go on from it later or elsewhere."""
        return self._session.save_state()

    def load_state(self, state: LlamaState) -> None:
        """Put a saved text back: a prompt that begins with its tokens computes only the rest.

        Raises:
            StateError: it belongs to another model or context, or is damaged; or every sequence runs right now.
        """
        self._session.load_state(state)

    def set_cache(self, cache: LlamaRAMCache | LlamaDiskCache | None) -> None:
        """Keep texts that the context has no room for in host memory, or in files; None: nowhere.

        A prompt that begins with one of them computes only the rest. Takes the place of what the options
        `cache_ram_bytes` and `cache_dir` asked for, which can be used together.

        Raises:
            InputError: not a cache.
        """
        self._session.set_cache(cache)

    def reset(self) -> None:
        """Forget all texts that are not running, in the context and in host memory; files of `cache_dir` stay."""
        self.engine.forget()


def _collected(prepared: Prepared[S], events: Stream) -> S:
    for index, event in events:
        prepared.shape.add(index, event)
    return prepared.shape


def _chunks(prepared: Prepared[S], events: Stream) -> Generator[Any, None, None]:
    shape, usage = prepared.shape, prepared.usage
    yield from shape.opening()
    for index, event in events:
        yield from shape.chunks(index, event, usage=usage)
    yield from shape.closing(usage=usage)
