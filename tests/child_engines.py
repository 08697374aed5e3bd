"""Engines for processes of their own: each function here is called in such a process, with the fake runner or none.

The fake model counts up: the token after n is n + 1. Some tokens do things to the process, so that tests decide when.
"""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from llama_bind.engine.child import Progress, Service
from llama_bind.engine.loop import Engine
from llama_bind.engine.outcome import Sampled
from llama_bind.engine.scheduler import StepPlan
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import ModelNotFoundError
from tests.fakes import FakeContext, FakeRunner, count_up

SEGV, ABORT, KILL, EXIT, SLOW, RAISE, FAIL_ENGINE = 901, 911, 921, 931, 941, 951, 961
"""The fake model's answer to these tokens: it ends its process in this way, takes 20 ms a token, or raises."""


class EngineBug(BaseException):
    """Not an Exception: nothing in the engine expects it."""


def next_token(sequence: Sequence) -> int:
    first, last = int(sequence.view()[0]), int(sequence.view()[-1])
    if first == SLOW:
        time.sleep(0.02)
        return 500 if last == SLOW else last + 1
    if last == SEGV:
        signal.raise_signal(signal.SIGSEGV)  # in this thread, so that it goes no further
    elif last == ABORT:
        os.abort()
    elif last == KILL:
        os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(60)
    elif last == EXIT:
        os._exit(7)
    elif last == RAISE:
        raise ZeroDivisionError("by the model")
    elif last == FAIL_ENGINE:
        raise EngineBug("a bug")
    return count_up(sequence)


def fake(progress: Progress | None = None, *, n_seq_max: int = 2, **operations: Any) -> Service:
    """An engine on the fake runner."""
    if progress is not None:
        for share in (0.0, 0.5, 1.0):
            if progress(share) is False:
                raise RuntimeError("the load was stopped")
    engine = Engine(FakeRunner(FakeContext(n_ctx=2048, n_seq_max=n_seq_max), next_token))  # type: ignore[arg-type]
    return Service(
        engine,
        n_seq_max,
        engine.close,
        {"echo": echo, "note": note, "noted": lambda _engine: list(NOTES), **operations},
        {"pid": os.getpid()},
    )


NOTES: list[str] = []


def note(_engine: Engine, text: str) -> None:
    """An operation with an effect that a new process does not have."""
    if not text:
        raise ValueError("an empty note")
    NOTES.append(text)


def echo(_engine: Engine, value: Any) -> Any:
    """An operation: gives what it got, after doing what that says."""
    if value == "die":
        os._exit(5)
    if isinstance(value, Exception):
        raise value
    return (lambda: 1) if value == "unpicklable" else value


def missing(_progress: Progress | None = None, **_options: Any) -> Service:
    raise ModelNotFoundError("no such file: nowhere.gguf", path="nowhere.gguf")


def crashing(_progress: Progress | None = None, **_options: Any) -> Service:
    sys.stderr.write("about to crash\n")
    sys.stderr.flush()
    signal.raise_signal(signal.SIGSEGV)
    raise AssertionError("not reached")


def only(times: int, count: str, failing: Any, progress: Progress | None = None, **options: Any) -> Service:
    """Loads so many times; after that `failing` is what happens. The file `count` counts."""
    path = Path(count)
    loaded = int(path.read_text()) if path.exists() else 0
    path.write_text(str(loaded + 1))
    service: Service = fake(progress, **options) if loaded < times else failing(progress, **options)
    return service


def reading(name: str, progress: Progress | None = None) -> Service:
    """Needs a file with a relative path."""
    Path(name).read_text()
    return fake(progress)


def slowly(seconds: float, progress: Progress | None = None, **options: Any) -> Service:
    time.sleep(seconds)
    return fake(progress, **options)


def make(function: Any = fake, *arguments: Any, **options: Any) -> Any:
    return functools.partial(function, *arguments, **options)


def talking(_progress: Progress | None = None) -> Service:
    logger = logging.getLogger("llama_bind")
    logger.info("hello %s", "from there")
    logger.debug("much too detailed")
    sys.stderr.write("written to standard error\n")
    sys.stderr.flush()
    return fake()


def failing_second(count: str, progress: Progress | None = None) -> Service:
    """The first load works, the second does not, the third does."""
    path = Path(count)
    loaded = int(path.read_text()) if path.exists() else 0
    path.write_text(str(loaded + 1))
    return crashing() if loaded == 1 else fake(progress)


STUCK, LONG = 971, 981


class _Stuck(FakeRunner):
    """Waits for something that never comes."""

    def run(self, plan: StepPlan) -> list[Sampled]:
        if any(int(chunk.sequence.view()[0]) == STUCK for chunk in plan.chunks):
            time.sleep(600)
        return super().run(plan)


def stuck(_progress: Progress | None = None) -> Service:
    engine = Engine(_Stuck(FakeContext(n_ctx=2048, n_seq_max=2)))  # type: ignore[arg-type]
    return Service(engine, 2, engine.close)


class _Long(FakeRunner):
    """Takes two seconds for a step, and shows that it gets on."""

    def run(self, plan: StepPlan) -> list[Sampled]:
        for _ in range(40):
            time.sleep(0.05)
            self.nodes_done += 1
        return super().run(plan)


def long_steps(_progress: Progress | None = None) -> Service:
    engine = Engine(_Long(FakeContext(n_ctx=2048, n_seq_max=2)))  # type: ignore[arg-type]
    return Service(engine, 2, engine.close)


def waiting(_progress: Progress | None = None) -> Service:
    """A load that waits for what does not come."""
    time.sleep(600)
    raise AssertionError("not reached")


def spinning(_progress: Progress | None = None) -> Service:
    """One whose threads wait for each other, and burn time."""
    end = time.monotonic() + 600
    while time.monotonic() < end:
        pass
    raise AssertionError("not reached")


def filling(seconds: float, progress: Progress | None = None) -> Service:
    """One that fills memory for so long, and says nothing."""
    end, kept = time.monotonic() + seconds, []
    while time.monotonic() < end:
        kept.append(bytearray(4 << 20))
        time.sleep(0.1)
    return fake(progress)


def telling(seconds: float, progress: Progress | None = None) -> Service:
    """One that says how far it is, and else shows nothing."""
    assert progress is not None
    for share in range(10):
        progress(share / 10)
        time.sleep(seconds / 10)
    return fake(progress)
