"""What several benchmarks' own side needs. Not for: theirs (``programs``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from benchmarks.registry import Settings

if TYPE_CHECKING:
    from llama_bind import Llama

__all__ = ["open_llama"]


def open_llama(settings: Settings) -> Llama:
    """A `Llama` with everything at its default but what both sides are told."""
    from llama_bind import Llama

    return Llama(
        str(settings.model),
        n_ctx=settings.n_ctx,
        n_batch=settings.n_batch,
        n_ubatch=settings.n_ubatch,
        n_threads=settings.threads,
        n_threads_batch=settings.threads,
    )
