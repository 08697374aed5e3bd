"""Counters of an engine, as one value that is copied out. Not for: exporting (the server does)."""

from __future__ import annotations

import dataclasses

__all__ = ["EngineStats"]


@dataclasses.dataclass
class EngineStats:
    """Totals since the engine started. Times in seconds."""

    requests: int = 0
    finished: int = 0
    cancelled: int = 0
    failed: int = 0
    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    generated_tokens: int = 0
    drafted_tokens: int = 0
    accepted_tokens: int = 0
    decode_seconds: float = 0.0
    waiting: int = 0
    running: int = 0

    def copy(self) -> EngineStats:
        return dataclasses.replace(self)
