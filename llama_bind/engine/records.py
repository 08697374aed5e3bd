"""What the supervisor of an engine's process knows of each request, and of each operation that somebody waits for.

Not for: what happens to them (``supervisor``).
"""

from __future__ import annotations

import dataclasses
from queue import SimpleQueue
from typing import Any

from llama_bind.engine.handle import RequestHandle

__all__ = ["Ask", "Record"]


@dataclasses.dataclass(eq=False)
class Record:
    """A request that has not ended. `sent`: to the process that is there now."""

    number: int
    handle: RequestHandle
    data: bytes
    arrived: float
    sent: bool = False
    started: bool = False
    cancelled: bool = False
    lost: int = 0


@dataclasses.dataclass(eq=False)
class Ask:
    """An operation that somebody waits for: gets (value, error). `keep`: it is asked of every later process too."""

    number: int
    name: str
    arguments: tuple[Any, ...]
    box: SimpleQueue[tuple[Any, BaseException | None]]
    keep: bool
    sent: bool = False
