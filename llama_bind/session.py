"""A loaded model with its engine, and calls prepared for it: what `Llama` and `AsyncLlama` both stand on.

Not for: waiting for results (the facades do, each in its way), or algorithms (those are in core, engine and chat).
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np
import numpy.typing as npt

from llama_bind.calls import Seeds, read_call, split
from llama_bind.chats import ChatReader
from llama_bind.errors import ClosedError, ContextOverflowError, InputError, StateError, UnsupportedError
from llama_bind.options import validate
from llama_bind.params import AdapterSpec, ContextParams, LlamaParams, ModelParams, SamplingParams
from llama_bind.prompts import Prompt, PromptReader
from llama_bind.results import ChatShape, TextShape
from llama_bind.types import CreateEmbeddingResponse
from llama_bind.values import LlamaState

if TYPE_CHECKING:
    from llama_bind.core.context import Context
    from llama_bind.core.model import Model
    from llama_bind.core.vocab import Vocab
    from llama_bind.engine.handle import Events, RequestHandle
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.request import Request
    from llama_bind.engine.runner import Runner

__all__ = ["Prepared", "Session", "embedding_response", "normalized"]

S = TypeVar("S", TextShape, ChatShape)
Vector = npt.NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Prepared(Generic[S]):
    """A call that can be submitted: its requests, the shape of its result, whether a stream ends with the usage."""

    requests: list[Request]
    shape: S
    usage: bool


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
        self.context_params = _context_options(of_context)
        for part in (self.params, self.model_params, self.context_params):
            validate(part)
        self.model_path = os.fspath(model_path)
        self.seeds = Seeds(self.params.seed)
        self._engine: Engine | None = None
        self._n_ctx = self._embed_limit = 0
        self.model = self._load()

    def _load(self) -> Model:
        from llama_bind.core.log import set_verbose
        from llama_bind.core.model import Model

        if self.params.verbose:
            set_verbose(True)
        model = Model.load(self.model_path, self.model_params)
        try:
            self.vocab: Vocab = model.vocab
            self.prompts = PromptReader(model.vocab, self.params.tokenizer)
            self.chats = ChatReader(model, self.prompts, self.params)
            self.metadata: dict[str, str] = dict(model.metadata)
            self.defaults = self._sampling_defaults(model)
            if not self.model_params.vocab_only:
                self._engine = self._start_engine(model)
        except BaseException:
            model.close()
            raise
        return model

    def _start_engine(self, model: Model) -> Engine:
        from llama_bind.core.context import Context
        from llama_bind.engine.loop import Engine
        from llama_bind.engine.runner import Runner

        adapters = self._load_adapters(model)
        params = self.context_params
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
        engine = Engine(runner, self.params.max_queue)
        self._n_ctx, self._embed_limit = engine.limits
        return engine

    def _load_adapters(self, model: Model) -> list[tuple[Any, float]]:
        from llama_bind.core.adapter import Adapter

        given = self.params.loras or ()
        specs = [spec if isinstance(spec, AdapterSpec) else AdapterSpec(*spec) for spec in given]
        if self.params.lora_path is not None:
            specs.insert(0, AdapterSpec(self.params.lora_path, self.params.lora_scale))
        return [(Adapter.load(model, spec.path), spec.scale) for spec in specs]

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
        if self._engine is not None:
            self._engine.close()
        self.model.close()

    @property
    def engine(self) -> Engine:
        """Raises `ClosedError` after `close`, `UnsupportedError` for a model loaded with vocab_only."""
        if self.model.closed:
            raise ClosedError("this Llama")
        if self._engine is None:
            raise UnsupportedError("this needs the weights: load the model without vocab_only=True")
        return self._engine

    @property
    def n_ctx(self) -> int:
        """Tokens that one text can have."""
        if self._engine is None:
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
        with_logprobs = call.logprobs is not None
        seed, proposer = self.seeds.next(call.sampling.seed), self.params.draft_model
        echo_logprobs = call.request.echo and with_logprobs
        requests = call.requests(tokens, seed, echo_logprobs=echo_logprobs, proposer=proposer)
        echo = self.prompts.text(prompt) if call.request.echo else ""
        shape = TextShape(call.request.model or self.model_path, len(requests), echo=echo, logprobs=with_logprobs)
        return Prepared(requests, shape, call.include_usage)

    def chat(self, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Prepared[ChatShape]:
        """Prepare `create_chat_completion`; `options` with stream."""
        call = read_call(options, self.defaults, "create_chat_completion()", chat=True)
        tokens, stop = self.chats.read(messages, call.chat)
        seed, proposer = self.seeds.next(call.sampling.seed), self.params.draft_model
        requests = call.requests(tokens, seed, stop=stop, proposer=proposer)
        shape = ChatShape(call.request.model or self.model_path, len(requests), logprobs=call.logprobs is not None)
        return Prepared(requests, shape, call.include_usage)

    def embeddings(self, texts: Sequence[str], truncate: bool) -> list[Request]:
        """Prepare `embed`."""
        from llama_bind.engine.request import Request

        if not self.context_params.embedding:
            raise UnsupportedError("load the model with embedding=True to make embeddings")
        requests: list[Request] = []
        for text in texts:
            if not isinstance(text, (str, bytes)):
                raise InputError(f"a text to embed is a string, not {type(text).__name__}", param="input")
            tokens = self.prompts.read(text)
            if len(tokens) > self._embed_limit and not truncate:
                hint = "pass truncate=True, or load with a larger n_ctx and n_ubatch"
                raise ContextOverflowError(len(tokens), self._embed_limit, hint)
            requests.append(Request(prompt=tokens[: self._embed_limit], kind="embed"))
        return requests

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

    # -- state -----------------------------------------------------------------------------------------------------

    def save_state(self) -> LlamaState:
        """See `Llama.save_state`."""
        from llama_bind.core.state import save_seq_state

        def save(runner: Runner) -> LlamaState:
            slot, tokens = self.engine.remembered()
            return LlamaState(tuple(tokens), save_seq_state(runner.context, slot))

        return self.engine.call(save)

    def load_state(self, state: LlamaState) -> None:
        """See `Llama.load_state`."""
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


def _context_options(given: Mapping[str, Any]) -> ContextParams:
    params = ContextParams(**given)
    if params.embedding is True and isinstance(params.n_batch, int) and isinstance(params.n_ubatch, int):
        size = max(params.n_batch, params.n_ubatch)  # pooling needs all tokens of a text in one micro-batch
        params = dataclasses.replace(params, n_batch=size, n_ubatch=size)
    return params


def normalized(vector: Vector) -> Vector:
    """Scaled to length 1 along the last axis; zeros stay zeros."""
    length = np.linalg.norm(vector, axis=-1, keepdims=True)
    return np.asarray(vector / np.where(length > 0, length, 1), np.float32)


def embedding_response(vectors: Sequence[Vector], n_tokens: int, model: str) -> CreateEmbeddingResponse:
    """Embeddings in OpenAI's shape."""
    return {
        "object": "list",
        "data": [{"object": "embedding", "index": i, "embedding": v.tolist()} for i, v in enumerate(vectors)],
        "model": model,
        "usage": {"prompt_tokens": n_tokens, "total_tokens": n_tokens},
    }
