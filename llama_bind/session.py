"""A loaded model with its engine, and calls prepared for it: what `Llama` and `AsyncLlama` both stand on.

Not for: waiting for results (the facades do, each in its way), or algorithms (those are in core, engine and chat).
"""

from __future__ import annotations

import dataclasses
import functools
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from llama_bind.cache import LlamaDiskCache, LlamaRAMCache
from llama_bind.calls import Call, Seeds, read_call, split, token_ids
from llama_bind.chat_results import ChatShape
from llama_bind.chats import ChatReader
from llama_bind.demands import read_demand, read_form
from llama_bind.drafting import Drafting
from llama_bind.embeddings import EmbeddingReader, in_windows
from llama_bind.errors import ClosedError, ContextOverflowError, InputError, UnsupportedError
from llama_bind.infill import InfillReader, Room
from llama_bind.options import build, options_of, validate
from llama_bind.params import BeamParams, ContextParams, InfillParams, LlamaParams, ModelParams, SamplingParams
from llama_bind.prompts import Prompt, PromptReader
from llama_bind.reports import Reports
from llama_bind.rerank import PairReader
from llama_bind.restrictions import read_rules
from llama_bind.results import TextShape
from llama_bind.starting import Setup, Started, load_model, start, start_process
from llama_bind.values import LlamaState

if TYPE_CHECKING:
    from llama_bind.core.model import Model
    from llama_bind.core.vocab import Vocab
    from llama_bind.engine.beam import BeamSearch
    from llama_bind.engine.handle import Events, RequestHandle
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.process import EngineProcess
    from llama_bind.engine.request import Request

__all__ = ["Prepared", "Session"]

S = TypeVar("S", TextShape, ChatShape)
Cache = LlamaRAMCache | LlamaDiskCache

SOON = 1e-3
"""Seconds that the rest of a call gets whose time is up: it ends as any other does."""


@dataclasses.dataclass(frozen=True)
class Prepared(Generic[S]):
    """A call that can be submitted: its requests, the shape of its result, whether a stream ends with the usage."""

    requests: list[Request]
    shape: S
    usage: bool


def reports_of(call: Call, n: int) -> Reports | None:
    """What the chunks of a call's `n` texts are to say besides text."""
    request = call.request
    if not request.stream or not (request.return_progress or request.timings_per_token):
        return None
    return Reports(n, progress=request.return_progress, timings=request.timings_per_token)


class Session:
    """Loads a model and keeps it.

    Args:
        model_path: A GGUF file (the first shard of a split one).
        arguments: The options of `ModelParams`, `ContextParams` and `LlamaParams`; None stands for the default.

    Raises:
        ModelError, ContextError, UnknownOptionError, InputError: see `Llama`.
    """

    def __init__(self, model_path: str | os.PathLike[str], arguments: Mapping[str, Any]) -> None:
        self.arguments = dict(arguments)
        of_model, of_context, of_own = split(arguments, (ModelParams, ContextParams, LlamaParams), "Llama()")
        self.params = LlamaParams(**of_own)
        self.model_params = ModelParams(**of_model)
        self.context_params = ContextParams(**of_context)
        for part in (self.params, self.model_params, self.context_params):
            validate(part)
        self.model_path = os.fspath(model_path)
        self.seeds = Seeds(self.params.seed)
        self.drafting = Drafting(self.params)
        self.model_params = self.drafting.loading(self.model_params)
        self._started: Started | None = None
        self.cache: Cache | None = None
        self._n_ctx = 0
        self._embeddings: EmbeddingReader | None = None
        self._pairs: PairReader | None = None
        self.model = self._load()

    def _load(self) -> Model:
        from llama_bind.core.log import set_verbose

        if self.params.verbose:
            set_verbose(True)
        setup = Setup(self.model_path, self.model_params, self.context_params, self.params)
        model = load_model(setup)
        try:
            self.vocab: Vocab = model.vocab
            self.prompts = PromptReader(model.vocab, self.params.tokenizer)
            self.gaps = InfillReader(model.vocab, self.prompts)
            self.chats = ChatReader(model, self.prompts, self.params)
            self.metadata: dict[str, str] = dict(model.metadata)
            self.defaults = self._sampling_defaults(model)
            if not self.model_params.vocab_only:
                self._start(model, setup)
        except BaseException:
            model.close()
            raise
        return model

    def _start(self, model: Model, setup: Setup) -> None:
        own_process = self.params.engine_process
        started = start_process(model, setup) if own_process else start(model, setup, self.drafting)
        self._started = started
        self.drafting.allow(started.can_draft)
        self._n_ctx, limit = started.engine.limits
        if started.pooling is not None:
            width = model.n_cls_out if started.pooling == "rank" else model.n_embd_out
            self._embeddings = EmbeddingReader(self.vocab, self.prompts, started.pooling, width, limit)
        if started.pooling == "rank":
            self._pairs = PairReader(self.vocab, self.prompts, model.chat_template("rerank"), limit)

    def _sampling_defaults(self, model: Model) -> SamplingParams:
        """llama.cpp's defaults, then what the model file recommends, then what this object was given."""
        given = dict(model.sampling_defaults())
        if self.params.last_n_tokens_size is not None:
            given["penalty_last_n"] = self.params.last_n_tokens_size
        defaults = dataclasses.replace(SamplingParams(), **given)
        validate(defaults)
        return defaults

    @property
    def closed(self) -> bool:
        return self.model.closed

    def close(self) -> None:
        """End running requests and free everything. Any number of times, from any thread."""
        if self._started is not None:
            self._started.close()
        if self.cache is not None:
            self.cache.detach(self)
        self.model.close()

    @property
    def started(self) -> Started:
        """Raises `ClosedError` after `close`, `UnsupportedError` for a model loaded with vocab_only."""
        if self.model.closed:
            raise ClosedError("this Llama")
        if self._started is None:
            raise UnsupportedError("this needs the weights: load the model without vocab_only=True")
        return self._started

    @property
    def engine(self) -> Engine | EngineProcess:
        """Raises as `started` does."""
        return self.started.engine

    @property
    def n_ctx(self) -> int:
        """Tokens that one text can have."""
        if self._started is None:
            raise UnsupportedError("there is no context: the model was loaded with vocab_only=True")
        return self._n_ctx

    def detokenize(self, tokens: Sequence[int], prev_tokens: Sequence[int] | None, special: bool) -> bytes:
        """See `Llama.detokenize`."""
        if prev_tokens:
            before = self.vocab.detokenize(list(prev_tokens), False, special)
            return self.vocab.detokenize([*prev_tokens, *tokens], False, special)[len(before) :]
        return self.vocab.detokenize(list(tokens), False, special)

    # -- calls -----------------------------------------------------------------------------------------------------

    def completion(self, prompt: Prompt, options: Mapping[str, Any]) -> Prepared[TextShape]:
        """Prepare `create_completion`; `options` with stream."""
        call = read_call(options, self.defaults, "create_completion()")
        tokens = self.prompts.read(prompt, call.request.suffix)
        if call.request.suffix is not None:
            call = call.ending(self.gaps.ends)
        return self._completion(call, tokens, self.prompts.text(prompt) if call.request.echo else "")

    def infill(self, prefix: str, suffix: str, options: Mapping[str, Any]) -> Prepared[TextShape]:
        """Prepare `create_infill`; `options` with stream."""
        known = options_of(InfillParams)
        own = {name: value for name, value in options.items() if name in known and value is not None}
        given = {name: value for name, value in options.items() if name not in known}
        params = build(InfillParams, own, "create_infill()")
        call = read_call(given, self.defaults, "create_infill()").ending(self.gaps.ends)
        for name, value in (("echo", call.request.echo), ("suffix", call.request.suffix)):
            if value:
                raise InputError(f"{name} is an option of create_completion()", param=name)
        limit = call.request.max_tokens
        room = Room(self.n_ctx, self.context_params.n_batch, None if limit is None or limit < 0 else limit)
        return self._completion(call, self.gaps.read(prefix, suffix, params, room), "")

    def _completion(self, call: Call, tokens: list[int], echo: str) -> Prepared[TextShape]:
        with_logprobs = call.logprobs is not None
        seed = self.seeds.next(call.sampling.seed)
        proposer, n_draft = self.drafting.of(call.request.n_draft)
        echo_logprobs = call.request.echo and with_logprobs
        form = read_form(call.request)
        call, demand = read_demand(call, self.vocab, response_format=form.spec if form else None)
        rules = read_rules(call, self.vocab, self.prompts)
        requests = call.requests(
            tokens,
            seed,
            echo_logprobs=echo_logprobs,
            proposer=proposer,
            n_draft=n_draft,
            rules=rules,
            constraint=demand,
        )
        name = call.request.model or self.model_path
        parse = form.parse if form else None
        shape = TextShape(name, len(requests), echo=echo, logprobs=with_logprobs, best=call.best, parse=parse)
        shape.reports = reports_of(call, len(requests))
        return Prepared(requests, shape, call.include_usage)

    def chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Prepared[ChatShape]:
        """Prepare `create_chat_completion`; `options` with stream."""
        call = read_call(options, self.defaults, "create_chat_completion()", chat=True)
        form = read_form(call.request)
        conversation = self.chats.read(messages, call.chat, forced=form is not None)
        plan = conversation.plan
        seed = self.seeds.next(call.sampling.seed)
        proposer, n_draft = self.drafting.of(call.request.n_draft)
        call, demand = read_demand(call, self.vocab, plan, response_format=form.spec if form else None)
        requests = call.requests(
            conversation.tokens,
            seed,
            stop=plan.prompt.stop,
            proposer=proposer,
            n_draft=n_draft,
            rules=read_rules(call, self.vocab, self.prompts, plan.forbidden),
            visible=conversation.visible,
            constraint=demand,
        )
        shape = ChatShape(
            call.request.model or self.model_path,
            len(requests),
            logprobs=call.logprobs is not None,
            best=call.best,
            reader=functools.partial(plan.reader, streaming=call.request.stream),
            legacy=plan.legacy,
            parse=form.parse if form else None,
        )
        shape.reports = reports_of(call, len(requests))
        return Prepared(requests, shape, call.include_usage)

    def beam_search(self, prompt: Prompt, options: Mapping[str, Any]) -> BeamSearch:
        """Prepare `Llama.beam_search`."""
        from llama_bind.engine.beam import BeamSearch

        given = {name: value for name, value in options.items() if value is not None}
        params = build(BeamParams, given, "beam_search()")
        tokens = self.prompts.read(prompt)
        room = self.engine.limits[0] + 1 - len(tokens)
        if room < 1:
            raise ContextOverflowError(len(tokens), self.engine.limits[0])
        ends = self.vocab.eog_tokens | frozenset(token_ids(params.stop_token_ids))
        return BeamSearch(
            tokens,
            width=params.beam_width,
            max_tokens=min(params.max_tokens, room),
            length_penalty=params.length_penalty,
            ends=ends,
            never=frozenset(self.vocab.suppress_tokens) | (ends if params.ignore_eos else frozenset()),
            priority=params.priority,
        )

    @property
    def embeddings(self) -> EmbeddingReader:
        """Reads texts to embed. Raises as `started` does, and `UnsupportedError` without embedding=True."""
        if self.started.pooling is None or self._embeddings is None:
            raise UnsupportedError("load the model with embedding=True to make embeddings")
        return self._embeddings

    @property
    def pairs(self) -> PairReader:
        """Reads pairs to rank. Raises as `started` does, and `UnsupportedError` without rank pooling."""
        if self.started.pooling != "rank" or self._pairs is None:
            raise UnsupportedError('load a reranking model with embedding=True and pooling_type="rank" to rank')
        return self._pairs

    def windows(self, requests: Sequence[Request]) -> Iterator[Sequence[Request]]:
        """The requests of one call in parts that a bounded queue can take, one after the other; their time is that of
        the whole call.
        """
        limit, began = self.params.max_queue, time.monotonic()
        for window in in_windows(requests, None if limit is None else limit + self.started.n_slots):
            whole, passed = window[0].timeout, time.monotonic() - began
            if whole is None or window[0] is requests[0]:
                yield window
            else:
                left = max(whole - passed, SOON)
                yield [dataclasses.replace(request, timeout=left) for request in window]

    def submit(
        self, requests: Sequence[Request], events: Events, shape: TextShape | None = None
    ) -> list[RequestHandle]:
        """Submit requests whose events go to one queue; all or none. `shape` learns where its prompt's logprobs are."""
        engine = self.engine
        handles: list[RequestHandle] = []
        try:
            for request in requests:
                handles.append(engine.submit(request, events))
        except BaseException:
            for handle in handles:
                handle.cancel()
            raise
        if shape is not None and shape.logprobs and shape.echo:
            shape.prompt_logprobs = lambda: handles[0].prompt_logprobs
        return handles

    # -- caches ----------------------------------------------------------------------------------------------------

    def set_cache(self, cache: Cache | None) -> None:
        """See `Llama.set_cache`."""
        if cache is not None and not isinstance(cache, (LlamaRAMCache, LlamaDiskCache)):
            raise InputError("a cache is a LlamaRAMCache, a LlamaDiskCache, or None", param="cache")
        started = self.started
        started.set_cache(None if cache is None else cache.settings)
        if self.cache is not None:
            self.cache.detach(self)
        if cache is not None:
            cache.attach(self, started.cache_stats)
        self.cache = cache

    # -- state -----------------------------------------------------------------------------------------------------

    def save_state(self) -> LlamaState:
        """See `Llama.save_state`."""
        return self.started.save_state()

    def load_state(self, state: LlamaState) -> None:
        """See `Llama.load_state`."""
        self.started.load_state(state)
