"""What the tests of engine processes share: engines of the fake runner, and ways to look at processes."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from llama_bind.engine.handle import RequestHandle
from llama_bind.engine.process import EngineProcess
from llama_bind.values import FinishEvent, PieceEvent
from tests import child_engines as fakes
from tests.child_engines import make

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20.0


@contextlib.contextmanager
def engine_of(function: Any = fakes.fake, *arguments: Any, **options: Any) -> Iterator[EngineProcess]:
    engine = EngineProcess(make(function, *arguments, **options))
    try:
        yield engine
    finally:
        engine.close()


def text_of(handle: RequestHandle) -> tuple[str, FinishEvent]:
    events = list(handle)
    finish = events[-1]
    assert isinstance(finish, FinishEvent)
    return "".join(e.text for e in events[:-1] if isinstance(e, PieceEvent)), finish


def counted(start: int, n: int) -> str:
    return "".join(f" {start + 1 + i}" for i in range(n))


def until(condition: Callable[[], Any], seconds: float = SECONDS) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


def is_gone(pid: int) -> bool:
    """Whether there is no such process, not even a zombie."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def started(engine: EngineProcess, n: int = 1) -> None:
    until(lambda: engine.stats.running >= n)


def pid_of(engine: EngineProcess) -> int:
    until(lambda: engine.process_id is not None)
    pid = engine.process_id
    assert pid is not None
    return pid


class Poison:
    """Ends the process that reads it."""

    def __reduce__(self) -> Any:
        return os._exit, (9,)

    def __call__(self, _ids: Any) -> Any:
        return []


class Unreadable:
    """Can be written, not read."""

    def __reduce__(self) -> Any:
        return int, ("no number",)

    def __call__(self, _ids: Any) -> Any:
        return []
