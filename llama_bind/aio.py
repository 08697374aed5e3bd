"""`AsyncLlama`: the calls of `Llama` for asyncio, on the same engine. Awaits what the session prepares.

Not for: algorithms. Tokenizing and templates run in threads of their own (``reading``), generating on the engine's
thread: the event loop only hands events over.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, overload

from typing_extensions import Unpack

from llama_bind.awaiting import AsyncStream, Mailbox, Meter, MeteredMailbox, Running, collected
from llama_bind.embeddings import Asker, Text, Texts, Truncate, Vector, check_in_time
from llama_bind.errors import DeadlineError
from llama_bind.facade import Facade
from llama_bind.llama import Llama
from llama_bind.many import Many
from llama_bind.progress import ProgressOption, reporting
from llama_bind.prompts import Prompt
from llama_bind.reading import beside, in_reader, weight
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
    from llama_bind.engine.request import Request

__all__ = ["AsyncLlama", "AsyncStream", "Meter"]


class AsyncLlama(Facade):
    """A loaded model for asyncio: any number of tasks call it at once. See `Llama` for arguments, options and errors.

    The constructor loads the model and blocks meanwhile; ``await AsyncLlama.load(...)`` does not.
    ``AsyncLlama.of(llm)`` shares the model and engine of a `Llama`, and both may be used at the same time.
    """

    _meter: Meter | None = None

    def __init__(self, model_path: str | os.PathLike[str], **kwargs: Unpack[LlamaKwargs]) -> None:
        self._session = Session(model_path, kwargs)

    @classmethod
    async def load(cls, model_path: str | os.PathLike[str], **kwargs: Unpack[LlamaKwargs]) -> AsyncLlama:
        """Load a model without blocking the event loop."""
        return await asyncio.to_thread(lambda: cls(model_path, **kwargs))

    @classmethod
    def of(cls, llm: Llama) -> AsyncLlama:
        """The asynchronous side of a `Llama`; closing one closes both."""
        made = cls.__new__(cls)
        made._session = llm._session
        return made

    @classmethod
    async def from_pretrained(
        cls, repo_id: str, filename: str | None = None, *, hub_options: Mapping[str, Any] | None = None, **kwargs: Any
    ) -> AsyncLlama:
        """As `Llama.from_pretrained`, without blocking the event loop."""
        load = Llama.from_pretrained
        return cls.of(await asyncio.to_thread(load, repo_id, filename, hub_options=hub_options, **kwargs))

    async def close(self) -> None:
        """As `Llama.close`."""
        await asyncio.to_thread(self._session.close)

    async def __aenter__(self) -> AsyncLlama:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    # -- calls -----------------------------------------------------------------------------------------------------

    @overload
    async def create_completion(
        self, prompt: Prompt, *, stream: Literal[False] = False, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion: ...

    @overload
    async def create_completion(
        self, prompt: Prompt, *, stream: Literal[True], **kwargs: Unpack[CompletionKwargs]
    ) -> AsyncStream[Completion]: ...

    @overload
    async def create_completion(
        self, prompt: Prompt, *, stream: bool, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion | AsyncStream[Completion]: ...

    async def create_completion(
        self, prompt: Prompt, *, stream: bool = False, **kwargs: Unpack[CompletionKwargs]
    ) -> Completion | AsyncStream[Completion]:
        """As `Llama.create_completion`; a stream is awaited once and then iterated with ``async for``.

        Cancelling the task cancels the request.
        """
        options = {**kwargs, "stream": stream}
        prepared = await in_reader(weight(prompt, options), self._session.completion, prompt, options)
        running = self._start(prepared, prepared.shape)
        return AsyncStream(prepared, running) if stream else (await collected(prepared, running)).result()

    __call__ = create_completion

    @overload
    async def create_infill(
        self, prefix: str, suffix: str, *, stream: Literal[False] = False, **kwargs: Unpack[InfillKwargs]
    ) -> Completion: ...

    @overload
    async def create_infill(
        self, prefix: str, suffix: str, *, stream: Literal[True], **kwargs: Unpack[InfillKwargs]
    ) -> AsyncStream[Completion]: ...

    @overload
    async def create_infill(
        self, prefix: str, suffix: str, *, stream: bool, **kwargs: Unpack[InfillKwargs]
    ) -> Completion | AsyncStream[Completion]: ...

    async def create_infill(
        self, prefix: str, suffix: str, *, stream: bool = False, **kwargs: Unpack[InfillKwargs]
    ) -> Completion | AsyncStream[Completion]:
        """As `Llama.create_infill`; a stream is awaited once and then iterated with ``async for``."""
        options = {**kwargs, "stream": stream}
        size = weight(prefix, suffix, options)
        prepared = await in_reader(size, self._session.infill, prefix, suffix, options)
        running = self._start(prepared, prepared.shape)
        return AsyncStream(prepared, running) if stream else (await collected(prepared, running)).result()

    @overload
    async def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[False] = False, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion: ...

    @overload
    async def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: Literal[True], **kwargs: Unpack[ChatKwargs]
    ) -> AsyncStream[ChatCompletionChunk]: ...

    @overload
    async def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]: ...

    async def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **kwargs: Unpack[ChatKwargs]
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """As `Llama.create_chat_completion`; a chat_handler runs in a worker thread."""
        handler = self._session.params.chat_handler
        if handler is not None:
            handled: ChatCompletion = await asyncio.to_thread(
                handler, llama=self, messages=messages, stream=stream, **kwargs
            )
            return handled
        options = {**kwargs, "stream": stream}
        prepared = await in_reader(weight(messages, options), self._session.chat, messages, options)
        running = self._start(prepared)
        return AsyncStream(prepared, running) if stream else (await collected(prepared, running)).result()

    async def run_tools(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSource], **kwargs: Unpack[ToolRunKwargs]
    ) -> ToolRun:
        """As `Llama.run_tools`; async functions are awaited, others run in threads. Cancelling the task cancels both
        the request and the functions that are awaited.
        """
        from llama_bind.agent.async_driver import finished
        from llama_bind.agent.prepare import prepare

        return await finished(self, prepare(self, messages, tools, kwargs, "run_tools()"))

    def stream_tools(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSource], **kwargs: Unpack[ToolRunKwargs]
    ) -> AsyncGenerator[ToolRunEvent, None]:
        """As `Llama.stream_tools`: ``async for event in llm.stream_tools(...)``; nothing is awaited before."""
        from llama_bind.agent.async_driver import run
        from llama_bind.agent.prepare import prepare

        return run(self, prepare(self, messages, tools, kwargs, "stream_tools()"), stream=True)

    async def generate_many(
        self, prompts: Iterable[Prompt], *, progress: ProgressOption = False, **kwargs: Unpack[CompletionKwargs]
    ) -> list[Completion]:
        """As `Llama.generate_many`; the prompts are read in a worker thread, `progress` is called in the event loop."""
        mailbox = Mailbox()
        many = Many(self._session, prompts, kwargs)
        with reporting(progress, many.total) as update, many:
            while not many.finished:
                if many.has_room:
                    await asyncio.to_thread(many.fill, mailbox)
                if not many.finished:
                    many.take(*await mailbox.get())
                    update(many.done)
        return many.results()

    batch = generate_many

    async def beam_search(self, prompt: Prompt, **kwargs: Unpack[BeamKwargs]) -> list[Beam]:
        """As `Llama.beam_search`."""
        search = await in_reader(weight(prompt), self._session.beam_search, prompt, kwargs)
        while requests := search.requests():
            mailbox = Mailbox()
            running = Running(self._session.submit(requests, mailbox), mailbox)
            while running.left:
                search.add(*await running.next())
        return search.beams(self._session.vocab.token_to_piece)

    async def _answer(self, prepare: Callable[[], Prepared[Any]], size: int, *, stream: bool) -> Any:
        """What `prepare`, called by a reader, asks for: the stream of its chunks, or its result.

        For callers that give answers a shape of their own. `size`: of what is read, see `reading.weight`.
        """
        prepared = await in_reader(size, prepare)
        running = self._start(prepared)
        return AsyncStream(prepared, running) if stream else (await collected(prepared, running)).result()

    def _metered(self, meter: Meter) -> AsyncLlama:
        """The same model and engine; `meter` is told of what this object is asked."""
        made = type(self).__new__(type(self))
        made._session, made._meter = self._session, meter
        return made

    def _start(self, prepared: Prepared[Any], shape: TextShape | None = None) -> Running:
        if self._meter is not None:
            self._meter.check(prepared.requests)
        return self._submit(prepared.requests, shape)

    def _submit(self, requests: Sequence[Request], shape: TextShape | None = None) -> Running:
        mailbox = Mailbox() if self._meter is None else MeteredMailbox(self._meter)
        running = Running(self._session.submit(requests, mailbox, shape), mailbox)
        if self._meter is not None:
            self._meter.submitted(requests)
        return running

    @overload
    async def embed(  # type: ignore[overload-overlap]  # a str is a text before it is a sequence of them
        self, input: Text, *, normalize: bool = False, truncate: Truncate = False, **kwargs: Unpack[VectorKwargs]
    ) -> Vector: ...

    @overload
    async def embed(
        self, input: Texts, *, normalize: bool = False, truncate: Truncate = False, **kwargs: Unpack[VectorKwargs]
    ) -> list[Vector]: ...

    async def embed(
        self,
        input: Text | Texts,
        *,
        normalize: bool = False,
        truncate: Truncate = False,
        **kwargs: Unpack[VectorKwargs],
    ) -> Vector | list[Vector]:
        """As `Llama.embed`."""
        read, asker = self._session.embeddings.read, Asker.of(kwargs, "embed()")
        call = await in_reader(weight(input), read, input, asker, normalize=normalize, truncate=truncate)
        computed = await self._computed(call.requests)
        vectors = await beside(sum(v.size for v in computed), call.vectors, computed)
        return vectors[0] if call.one else vectors

    async def create_embedding(
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
        """As `Llama.create_embedding`."""
        call = await in_reader(
            weight(input),
            self._session.embeddings.read,
            input,
            Asker.of(kwargs, "create_embedding()"),
            normalize=normalize,
            truncate=truncate,
            dimensions=dimensions,
            encoding_format=encoding_format,
        )
        computed = await self._computed(call.requests)
        return await beside(sum(v.size for v in computed), call.response, computed, model or self.model_path)

    async def rerank(
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
        """As `Llama.rerank`."""
        call = await in_reader(
            weight(query, documents),
            self._session.pairs.read,
            query,
            documents,
            Asker.of(kwargs, "rerank()"),
            top_n=top_n,
            return_documents=return_documents,
            truncate=truncate,
        )
        return call.response(await self._computed(call.requests), model or self.model_path)

    async def _computed(self, requests: Sequence[Request]) -> list[Vector]:
        if self._meter is not None:
            self._meter.check(requests)
        vectors: list[Vector] = []
        for window in self._session.windows(requests):
            running = self._submit(window)
            while running.left:
                _, event = await running.next()
                try:
                    check_in_time(event, running.handles, len(vectors), len(requests))
                except DeadlineError:
                    running.cancel()
                    raise
            vectors += [handle.embedding for handle in running.handles]
        return vectors

    # -- state -----------------------------------------------------------------------------------------------------

    async def save_state(self) -> LlamaState:
        """As `Llama.save_state`."""
        return await asyncio.to_thread(self._session.save_state)

    async def load_state(self, state: LlamaState) -> None:
        """As `Llama.load_state`."""
        await asyncio.to_thread(self._session.load_state, state)

    async def set_cache(self, cache: LlamaRAMCache | LlamaDiskCache | None) -> None:
        """As `Llama.set_cache`."""
        await asyncio.to_thread(self._session.set_cache, cache)

    async def reset(self) -> None:
        """As `Llama.reset`."""
        await asyncio.to_thread(self.engine.forget)
