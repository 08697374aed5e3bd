"""The model that a server serves: loading while the server already answers, then ready, then gone.

Not for: HTTP (routes), or generating (`AsyncLlama`).
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from llama_bind.errors import LlamaBindError
from llama_bind.hub import DEFAULT_MODEL
from llama_bind.server.errors import NOT_FOUND, UNAVAILABLE, ApiError
from llama_bind.server.settings import Settings

if TYPE_CHECKING:
    from llama_bind.aio import AsyncLlama
    from llama_bind.engine.stats import EngineStats

__all__ = ["Progress", "Service"]

Progress: TypeAlias = Callable[[float, int], None]
"""Called from another thread with the share of the model that is loaded, and the bytes of its file."""

STATS_TIMEOUT = 2.0
"""Seconds to wait for an engine's counters: while its process starts again there are none."""


class Service:
    """One model and its life.

    Args:
        settings: What to load, and how.
        llm: A model that is loaded already, which its owner closes.

    Attributes:
        llm: The model when it is ready.
        error: Why it could not be loaded.
        progress: Share loaded, 0 to 1.
        created: When the server was made, in seconds since 1970.
    """

    def __init__(self, settings: Settings, llm: AsyncLlama | None = None) -> None:
        self.settings = settings
        self.llm = llm
        self._owned = llm is None
        self.error: BaseException | None = None
        self.progress = 0.0 if llm is None else 1.0
        self.created = int(time.time())
        self.closing = False
        self._path = None if llm is None else Path(llm.model_path)
        self._asked: asyncio.Task[EngineStats] | None = None
        self._last: EngineStats | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    async def load(self, on_progress: Progress = lambda _share, _size: None) -> None:
        """Find and load the model; `error` says it when that fails."""
        try:
            llm = await asyncio.to_thread(self._load, on_progress)
        except (LlamaBindError, OSError) as error:
            if not self.closing:  # else it was told to stop
                self.error = error
            return
        if self.closing:
            await llm.close()
        else:
            self.llm = llm

    def _load(self, on_progress: Progress) -> AsyncLlama:
        from llama_bind.aio import AsyncLlama
        from llama_bind.hub.find import find_model

        self._path = find_model(self.settings.model)
        options = dict(self.settings.load)
        if "embedding" not in options and only_embeds(self._path):
            options["embedding"] = True

        size = self._path.stat().st_size if self._path.is_file() else 0

        def progress(share: float) -> bool:
            self.progress = share
            on_progress(share, size)
            return not self.closing

        return AsyncLlama(self._path, progress_callback=progress, **options)

    async def close(self) -> None:
        """Free the model. Requests that still run end."""
        self.closing = True
        llm, self.llm = self.llm, None
        if llm is not None and self._owned:
            await llm.close()

    # -- the model -------------------------------------------------------------------------------------------------

    @property
    def names(self) -> tuple[str, ...]:
        """What clients may call the model; it is listed under the first."""
        aliases = self.settings.server.model_alias
        if aliases:
            return tuple(aliases)
        text = self.settings.model
        if text is not None:
            name = Path(text).name  # where the file lies is nobody's business
            return (name.removesuffix(".gguf"),)
        return (DEFAULT_MODEL,)

    def ready(self) -> AsyncLlama:
        """The model.

        Raises:
            ApiError: 503, it is still loading, could not be loaded, or the server ends.
        """
        if self.llm is not None:
            return self.llm
        if self.error is not None:
            message = "The model could not be loaded; the server's log says why."
            raise ApiError(503, UNAVAILABLE, "model_error", message)
        if self.closing:
            raise ApiError(503, UNAVAILABLE, "shutting_down", "The server is shutting down.", retry=True)
        message = f"The model is being loaded ({self.progress:.0%})."
        raise ApiError(503, UNAVAILABLE, "model_loading", message, retry=True)

    def named(self, name: str) -> None:
        """Raises `ApiError` 404 where `name` is none of the model's."""
        if name not in self.names:
            raise ApiError(404, NOT_FOUND, "model_not_found", f"There is no model {name!r:.80} here.", param="model")

    # -- its state -------------------------------------------------------------------------------------------------

    async def stats(self) -> EngineStats | None:
        """The engine's counters; the last ones known while it does not answer, None where there are none.

        However many ask at once, the engine is asked once.
        """
        llm = self.llm
        if llm is not None and self._asked is None:
            self._asked = asyncio.ensure_future(asyncio.to_thread(lambda: llm.stats))
            self._asked.add_done_callback(self._answered)
        if self._asked is not None:
            await asyncio.wait({self._asked}, timeout=STATS_TIMEOUT)
        return self._last

    def _answered(self, task: asyncio.Task[EngineStats]) -> None:
        self._asked = None
        with contextlib.suppress(LlamaBindError, asyncio.CancelledError):  # it ends, and counts no more
            self._last = task.result()

    @property
    def slots(self) -> int:
        """How many requests the engine runs at once."""
        return self.ready()._session.started.n_slots

    def facts(self) -> dict[str, Any] | None:
        """What the model is, as llama-server's /v1/models has it; None while it loads."""
        llm = self.llm
        if llm is None:
            return None
        model = llm.model
        return {
            "n_vocab": llm.n_vocab(),
            "n_ctx": llm.n_ctx(),
            "n_ctx_train": model.n_ctx_train,
            "n_embd": model.n_embd,
            "n_params": model.n_params,
            "size": model.size,
            "desc": model.desc,
        }


def only_embeds(path: Path) -> bool:
    """Whether a model file is made for embeddings: it names a pooling, or its texts are seen whole."""
    from llama_bind.core.gguf_reader import read_gguf

    file = read_gguf(path)
    arch = file.get("general.architecture", "")
    return bool(file.get(f"{arch}.pooling_type", 0)) or file.get(f"{arch}.attention.causal", True) is False
