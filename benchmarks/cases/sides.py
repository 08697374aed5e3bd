"""What several benchmarks' own side needs. Not for: theirs (``programs``, ``server``, ``peer``)."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.registry import Settings

if TYPE_CHECKING:
    from llama_bind import Llama

__all__ = ["GREEDY", "Hold", "check_work", "letters", "llama_options", "open_llama"]

GREEDY: dict[str, Any] = {"temperature": 0.0, "ignore_eos": True}
"""Options of a call whose work does not depend on what the model says."""


def llama_options(settings: Settings, **options: Any) -> dict[str, Any]:
    """Keyword arguments of `Llama`: what both sides are told, and `options`, which win."""
    return {
        "n_ctx": settings.n_ctx,
        "n_batch": settings.n_batch,
        "n_ubatch": settings.n_ubatch,
        "n_threads": settings.threads,
        "n_threads_batch": settings.threads,
        **options,
    }


def open_llama(settings: Settings, **options: Any) -> Llama:
    """A `Llama` with everything at its default but what both sides are told, and `options`."""
    from llama_bind import Llama

    return Llama(str(settings.model), **llama_options(settings, **options))


class Hold:
    """The engine takes nothing up until `release`, so that what is asked for meanwhile arrives together.

    Attributes:
        released: When that was.
    """

    def __init__(self, llm: Llama) -> None:
        self._open, held = threading.Event(), threading.Event()

        def wait(_: object) -> None:
            held.set()
            self._open.wait(60)

        engine: Any = llm.engine  # one in a child process cannot be held
        threading.Thread(target=engine.call, args=(wait,), daemon=True).start()
        if not held.wait(60):
            raise RuntimeError("the engine does not answer")
        self.released = 0.0

    def release(self) -> None:
        """Let it go on."""
        self.released = time.perf_counter()
        self._open.set()


def letters(llm: Llama) -> list[int]:
    """Token ids that are ordinary text of letters: prompts made of them are computed like any other text."""
    known: list[int] = []
    for token in range(llm.n_vocab()):
        piece = llm.detokenize([token])
        if piece.strip().isalpha() and piece.isascii():
            known.append(token)
    return known


def check_work(result: Any, *, generated: int, cached: int | None = 0) -> None:
    """Whether a result is of the work that was asked for.

    Raises:
        RuntimeError: fewer tokens were generated, or some of the prompt was not computed (`cached`: None for any).
    """
    timings = result["timings"]
    if timings["predicted_n"] != generated or (cached is not None and timings["cache_n"] != cached):
        raise RuntimeError(f"not the work that was asked for: {timings}")
