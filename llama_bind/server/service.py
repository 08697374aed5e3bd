"""One model that a server serves: not there, loading while the server already answers, ready, gone again.

Not for: HTTP (routes), generating (`AsyncLlama`), or which models are there (``models``).
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_bind.errors import LlamaBindError, ModelTooLargeError
from llama_bind.options import options_of
from llama_bind.params import ContextParams, ModelParams
from llama_bind.server.asking import Asking
from llama_bind.server.errors import UNAVAILABLE, ApiError
from llama_bind.server.settings import Settings

if TYPE_CHECKING:
    from llama_bind.aio import AsyncLlama
    from llama_bind.engine.slots import SlotState
    from llama_bind.engine.stats import EngineStats

__all__ = ["Progress", "Service"]

Progress: TypeAlias = Callable[[float, int], None]
"""Called from another thread with the share of the model that is loaded, and the bytes of its file."""

FIRST_WAIT = 1.0
"""Seconds after a load that failed before another one is tried; each further failure doubles them."""
LONGEST_WAIT = 60.0
PROCESS = 100 * 2**20
"""Bytes that an engine's process takes besides its model."""


class Service:
    """One model and its life.

    Args:
        settings: What to load, and how.
        llm: A model that is loaded already, which its owner closes.
        on_demand: Whether it is loaded when it is needed, and not from the beginning.

    Attributes:
        llm: The model when it is ready. `owned`: whether it is closed here.
        error: Why it could not be loaded.
        progress: Share loaded, 0 to 1.
        created: When the server was made, in seconds since 1970.
        was_loaded: Whether it was ever ready.
        task: The load that goes on.
        freeing: The last unload.
        leases: How many requests use it. `used`: when one did last, by the monotonic clock.
        size: Bytes that it counts with, from the moment when room for it was made.
        is_cramped: Whether it waits for room.
        props: What /props said of it last.
    """

    def __init__(self, settings: Settings, llm: AsyncLlama | None = None, *, on_demand: bool = False) -> None:
        self.settings = settings
        self.llm = llm
        self.on_demand = on_demand
        self.owned = llm is None
        self.error: BaseException | None = None
        self.progress = 0.0 if llm is None else 1.0
        self.created = int(time.time())
        self.closing = False
        self.was_loaded = llm is not None
        self.task: asyncio.Task[ApiError | None] | None = None
        self.freeing: asyncio.Task[None] | None = None
        self.leases = 0
        self.used = time.monotonic()
        self.size = 0
        self.is_cramped = False
        self._failures = 0
        self._measured: dict[str, Any] = {}
        self._try_again = 0.0
        self._facts: dict[str, Any] | None = None
        self.props: dict[str, Any] | None = None
        self._path = None if llm is None else Path(llm.model_path)
        self._stats: Asking[EngineStats] = Asking()
        self._running: Asking[list[SlotState]] = Asking()

    # -- life ------------------------------------------------------------------------------------------------------

    async def load(self, on_progress: Progress = lambda _share, _size: None) -> None:
        """Find and load the model; `error` says it when that fails."""
        self.progress = 0.0
        try:
            llm = await asyncio.to_thread(self._load, on_progress)
        except (LlamaBindError, OSError) as error:
            if not self.closing:  # else it was told to stop
                self.fail(error)
            return
        if self.closing:
            await llm.close()
        else:
            self.llm, self.was_loaded, self.error = llm, True, None
            self._failures, self.used = 0, time.monotonic()

    def fail(self, error: BaseException) -> None:
        """It could not be loaded. The next requests are told at once; after a while, one of them tries again."""
        self.error = error
        self._try_again = time.monotonic() + min(FIRST_WAIT * 2.0 ** min(self._failures, 20), LONGEST_WAIT)
        self._failures += 1

    def _find(self) -> tuple[Path, dict[str, Any]]:
        """The file, and what it is to be loaded with."""
        from llama_bind.hub.find import find_model

        path = find_model(self.settings.model)
        options = dict(self.settings.load)
        if "embedding" not in options and only_embeds(path):
            options["embedding"] = True
        return path, options

    def measure(self, budget: int) -> int:
        """Bytes of memory that it will take, told from its file. It is loaded with the context that was measured.

        Args:
            budget: Bytes that all models may take, by which an unset context is decided.

        Raises:
            LlamaBindError, OSError: as `load`.
        """
        from llama_bind.core.devices import has_gpu
        from llama_bind.core.needs import memory_needs

        path, options = self._find()
        model = ModelParams(**{k: v for k, v in options.items() if k in options_of(ModelParams)})
        context = ContextParams(**{k: v for k, v in options.items() if k in options_of(ContextParams)})
        gpu = model.n_gpu_layers != 0 and has_gpu()
        needs = memory_needs(path, model, context, free=budget, gpu=gpu)
        self._measured = {"n_ctx": needs.n_ctx_seq}
        if needs.n_seq_max > 1:
            self._measured["kv_unified"] = needs.n_streams == 1
        return needs.total + (PROCESS if options.get("engine_process") else 0)

    def _load(self, on_progress: Progress) -> AsyncLlama:
        from llama_bind.aio import AsyncLlama

        self._path, options = self._find()
        options.update({name: value for name, value in self._measured.items() if options.get(name) is None})
        size = self._path.stat().st_size if self._path.is_file() else 0

        def progress(share: float) -> bool:
            self.progress = share
            on_progress(share, size)
            return not self.closing

        return AsyncLlama(self._path, progress_callback=progress, **options)

    async def close(self) -> None:
        """Free the model for good. Requests that still run end."""
        self.closing = True
        await self.unload()

    def begin_unload(self) -> None:
        """Free the model; from here on it is not there. Requests that still run end."""
        self.facts()  # what is known of it stays known
        llm, self.llm = self.llm, None
        if llm is not None and self.owned:
            self.freeing = asyncio.ensure_future(self._free(llm))

    async def _free(self, llm: AsyncLlama) -> None:
        try:
            await llm.close()
        finally:
            self.size = 0
            self.freeing = None

    async def unload(self) -> None:
        """As `begin_unload`, to its end."""
        self.begin_unload()
        if self.freeing is not None:
            await asyncio.wait({self.freeing})

    # -- what it does --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        """loaded, loading, unloaded or failed."""
        if self.llm is not None:
            return "loaded"
        if self.task is not None or (not self.on_demand and not self.was_loaded and self.error is None):
            return "loading"
        return "unloaded" if self.error is None else "failed"

    @property
    def idle_timeout(self) -> float | None:
        """Seconds without a request after which it is unloaded."""
        own = self.settings.idle_timeout
        return self.settings.server.idle_timeout if own is None else own

    @property
    def is_busy(self) -> bool:
        """Whether it must stay: requests use it, or it comes or goes."""
        if self.leases or self.task is not None or self.freeing is not None or not self.owned:
            return True
        return self.llm is not None and self.llm._session.started.engine.unfinished > 0

    def is_idle(self, now: float) -> bool:
        """Whether it was not used for its `idle_timeout`."""
        if self.llm is None or self.idle_timeout is None:
            return False
        if self.is_busy:
            self.used = now
        return now - self.used >= self.idle_timeout

    # -- the model -------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may call the model; it is listed under the first."""
        return self.settings.names

    def ready(self) -> AsyncLlama:
        """The model.

        Raises:
            ApiError: 503, it is still loading, could not be loaded, or the server ends.
        """
        if self.llm is not None:
            return self.llm
        if self.error is not None:
            raise self.unavailable(time.monotonic())
        self._check_closing()
        if self.state == "unloaded":
            said = "The model is not loaded; the next request for it loads it."
            raise ApiError(503, UNAVAILABLE, "model_unloaded", said, retry=True)
        message = f"The model is being loaded ({self.progress:.0%})."
        raise ApiError(503, UNAVAILABLE, "model_loading", message, retry=True)

    def check_usable(self, now: float) -> None:
        """Raises `ApiError` 503 where it is no use to try to load it now."""
        self._check_closing()
        if self.error is not None and now < self._try_again:
            raise self.unavailable(now)

    def _check_closing(self) -> None:
        if self.closing:
            raise ApiError(503, UNAVAILABLE, "shutting_down", "The server is shutting down.", retry=True)

    def unavailable(self, now: float) -> ApiError:
        """What is told where it could not be loaded: not why, which may name files."""
        if isinstance(self.error, ModelTooLargeError):
            message = "The model needs more memory than the server has; its log says the numbers."
            return ApiError(503, UNAVAILABLE, "model_too_large", message)
        message = "The model could not be loaded; the server's log says why."
        if not self.was_loaded and not self.on_demand:
            return ApiError(503, UNAVAILABLE, "model_error", message)
        wait = {"Retry-After": str(max(math.ceil(self._try_again - now), 1))}
        return ApiError(503, UNAVAILABLE, "model_error", message, headers=wait)

    # -- its state -------------------------------------------------------------------------------------------------

    async def stats(self) -> EngineStats | None:
        """The engine's counters; the last ones known while it does not answer, None where there are none.

        However many ask at once, the engine is asked once.
        """
        llm = self.llm
        return await self._stats.ask(None if llm is None else lambda: llm.stats)

    async def running(self) -> list[SlotState]:
        """What the engine computes; likewise."""
        llm = self.llm
        return await self._running.ask(None if llm is None else lambda: llm.slots) or []

    @property
    def slots(self) -> int:
        """How many requests the engine runs at once."""
        return self.ready()._session.started.n_slots

    def facts(self) -> dict[str, Any] | None:
        """What the model is, as llama-server's /v1/models has it; None where it was never loaded."""
        llm = self.llm
        if llm is None:
            return self._facts
        model = llm.model
        self._facts = {
            "n_vocab": llm.n_vocab(),
            "n_ctx": llm.n_ctx(),
            "n_ctx_train": model.n_ctx_train,
            "n_embd": model.n_embd,
            "n_params": model.n_params,
            "size": model.size,
            "desc": model.desc,
        }
        return self._facts


def only_embeds(path: Path) -> bool:
    """Whether a model file is made for embeddings: it names a pooling, or its texts are seen whole."""
    from llama_bind.core.gguf_reader import read_gguf

    file = read_gguf(path)
    arch = file.get("general.architecture", "")
    return bool(file.get(f"{arch}.pooling_type", 0)) or file.get(f"{arch}.attention.causal", True) is False
