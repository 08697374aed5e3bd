"""From a model file and options to a running engine: in this process, or in one of its own.

Both ways make the same things in the same order: the model, its adapters, a context, the draft model, the engine. Of a
model whose engine has its own process, this one keeps the vocabulary. Not for: using the engine (``session``).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from llama_bind.demands import constraints_of
from llama_bind.embeddings import embedding_options
from llama_bind.errors import InputError, ModelError
from llama_bind.params import AdapterSpec, ContextParams, LlamaParams, ModelParams
from llama_bind.values import LlamaState

if TYPE_CHECKING:
    from llama_bind.cache import CacheSettings
    from llama_bind.core.context import Context
    from llama_bind.core.model import Model
    from llama_bind.drafting import Drafting
    from llama_bind.engine.child import Progress, Service
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.pooling import PoolingKind
    from llama_bind.engine.process import EngineProcess
    from llama_bind.engine.slots import SlotState
    from llama_bind.engine.store import StoreStats

__all__ = ["Setup", "Started", "load_model", "serve", "start", "start_process"]


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a model is loaded with."""

    model_path: str
    model: ModelParams
    context: ContextParams
    own: LlamaParams

    @property
    def adapters(self) -> list[AdapterSpec]:
        """LoRA adapters in their order."""
        given = self.own.loras or ()
        specs = [spec if isinstance(spec, AdapterSpec) else AdapterSpec(*spec) for spec in given]
        if self.own.lora_path is not None:
            specs.insert(0, AdapterSpec(self.own.lora_path, self.own.lora_scale))
        return specs


@dataclasses.dataclass(frozen=True)
class Started:
    """A running engine, here or elsewhere.

    Attributes:
        n_slots: How many requests it runs at once.
        pooling: How rows of tokens become embeddings; None without `ContextParams.embedding`.
        can_draft: Whether its memory can be cut back, so that wrong guesses can be taken out.
        save_state, load_state: See `states`.
        set_cache: Keeps texts elsewhere from now on (see `storing`); None: nowhere.
        cache_stats: What is kept there.
        slots: What runs right now.
        close: Ends the engine and frees what was made for it, but not the model.
    """

    engine: Engine | EngineProcess
    n_slots: int
    pooling: PoolingKind | None
    can_draft: bool
    save_state: Callable[[], LlamaState]
    load_state: Callable[[LlamaState], None]
    set_cache: Callable[[CacheSettings | None], None]
    cache_stats: Callable[[], StoreStats]
    slots: Callable[[], list[SlotState]]
    close: Callable[[], None]


def load_model(setup: Setup) -> Model:
    """The model for this process: whole, or its vocabulary where the engine gets a process of its own.

    Raises:
        ModelError, InputError, UnsupportedError: see `Model.load`.
        ModelTooLargeError, ContextError: it needs more memory than there is.
    """
    from llama_bind.core.model import Model

    if setup.model.check_memory and not setup.model.vocab_only:
        _check_memory(setup)
    given = setup.model
    if setup.own.engine_process and not given.vocab_only:
        given = ModelParams(vocab_only=True, devices=(), kv_overrides=given.kv_overrides, check_model=given.check_model)
    return Model.load(setup.model_path, given)


def _check_memory(setup: Setup) -> None:
    from llama_bind.core.cpu import available_memory
    from llama_bind.core.devices import has_gpu
    from llama_bind.core.needs import check_memory, memory_needs

    free = available_memory()
    gpu = setup.model.n_gpu_layers != 0 and has_gpu()
    try:
        needs = memory_needs(setup.model_path, setup.model, setup.context, free=free, gpu=gpu)
    except ModelError:
        return  # what is wrong with the file is told when it is loaded, which comes next
    check_memory(setup.model_path, needs, free)


def start(model: Model, setup: Setup, drafting: Drafting) -> Started:
    """Start an engine in this process.

    Raises:
        ContextError, AdapterError, UnsupportedError, InputError: what the options ask for cannot be made.
    """
    from llama_bind import states
    from llama_bind.core.context import Context
    from llama_bind.core.layout import with_layout
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.runner import Runner
    from llama_bind.storing import Storing

    adapters = _load_adapters(model, setup.adapters)
    params, pooling = embedding_options(model, setup.context) if setup.context.embedding else (setup.context, None)
    params = with_layout(model, params)

    def make_context() -> Context:  # kept by the engine's thread
        context = Context.create(model, params)
        if adapters:
            context.set_adapters(adapters)
        drafting.prepare(context)
        return context

    runner = Runner(make_context, constraints_of(model.vocab).make)
    try:
        draft = drafting.load(runner)
    except BaseException:
        runner.context.close()
        raise
    storing = Storing(setup, runner)
    engine = Engine(runner, setup.own.max_queue, setup.own.step_target, draft, storing.store)

    def close() -> None:
        engine.close()
        storing.close()
        if draft is not None:
            draft.close()

    return Started(
        engine,
        runner.context.n_seq_max,
        pooling,
        runner.can_draft,
        functools.partial(states.save_state, engine),
        functools.partial(states.load_state, engine),
        functools.partial(storing.set, engine),
        lambda: storing.stats,
        lambda: engine.slots,
        close,
    )


def _load_adapters(model: Model, specs: list[AdapterSpec]) -> list[tuple[Any, float]]:
    from llama_bind.core.adapter import Adapter

    return [(Adapter.load(model, spec.path), spec.scale) for spec in specs]


def start_process(model: Model, setup: Setup) -> Started:
    """Start an engine in a process of its own. `model`, of which only the vocabulary is here, learns the other facts.

    Raises:
        UnsupportedError: functions among the options that the other process could not call.
        ModelError, ContextError, UnsupportedError, InputError: whatever `start` raised there.
        EngineFailedError: the process ended while it loaded.
    """
    from llama_bind.engine.process import EngineProcess

    for name in ("abort_callback", "eval_callback"):
        if getattr(setup.context, name) is not None:
            raise InputError(f"{name} is called in the engine's process; leave out engine_process=True", param=name)
    own = dataclasses.replace(setup.own, tokenizer=None, chat_handler=None, max_queue=None)  # seen to here
    far = dataclasses.replace(setup, model=dataclasses.replace(setup.model, progress_callback=None), own=own)
    engine = EngineProcess(
        functools.partial(serve, far),
        setup.own.max_queue,
        setup.model.progress_callback,
        setup.own.hang_timeout,
        setup.own.load_hang_timeout,
    )
    model.adopt(engine.facts["model"])
    return Started(
        engine,
        engine.n_slots,
        engine.facts["pooling"],
        engine.facts["can_draft"],
        functools.partial(engine.ask, "save_state"),
        functools.partial(engine.ask, "load_state"),
        functools.partial(engine.set, "set_cache"),
        functools.partial(engine.ask, "cache_stats"),
        functools.partial(engine.ask, "slots"),
        engine.close,
    )


def serve(setup: Setup, progress: Progress | None) -> Service:
    """Load everything in an engine's own process."""
    from llama_bind import states
    from llama_bind.core.model import Model
    from llama_bind.drafting import Drafting
    from llama_bind.engine.child import Service
    from llama_bind.engine.loop import Engine

    model = Model.load(setup.model_path, dataclasses.replace(setup.model, progress_callback=progress))
    started = start(model, setup, Drafting(setup.own))
    assert isinstance(started.engine, Engine)

    def close() -> None:
        started.close()
        model.close()

    return Service(
        started.engine,
        started.n_slots,
        close,
        {
            "save_state": states.save_state,
            "load_state": states.load_state,
            "set_cache": lambda _engine, settings: started.set_cache(settings),
            "cache_stats": lambda _engine: started.cache_stats(),
            "slots": lambda engine: engine.slots,
        },
        {"model": model.facts(), "can_draft": started.can_draft, "pooling": started.pooling},
    )
