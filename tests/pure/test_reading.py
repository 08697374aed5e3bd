"""Threads that read prompts: long ones never hold up short ones; how sizes are told."""

from __future__ import annotations

import asyncio
import contextvars
import os
import sys
import threading
from typing import Any

import numpy as np
import pytest

from llama_bind.reading import LONG, LONG_THREADS, SHORT_THREADS, in_reader, weight

WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


@pytest.mark.parametrize(
    ("value", "size"),
    [
        ("abc", 3), (b"abc", 3), ([1, 2, 3], 3), (["ab", "c"], 5), ({"a": "bcd", "e": [1, 2]}, 7), (None, 0), (5, 0),
        (np.arange(9), 9), ([[1, 2], [3]], 5), ([{"role": "user", "content": [{"type": "text", "text": "abcd"}]}], 18),
    ],
)  # fmt: skip
def test_weights(value: Any, size: int) -> None:
    assert weight(value) == size
    assert weight(value, "x") == size + 1


def test_a_weight_stops_counting() -> None:
    class Counted(str):
        looked = 0

        def __len__(self) -> int:
            Counted.looked += 1
            return 1000

    assert weight([Counted("x")] * 10_000) >= LONG
    assert Counted.looked <= LONG // 1000 + 1
    assert weight("x" * 10**6, [0] * 10**6) >= LONG


def test_long_ones_do_not_hold_up_short_ones() -> None:
    open_, most, running = threading.Event(), [0], [0]
    lock = threading.Lock()

    def wait() -> bool:
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        done = open_.wait(20)
        with lock:
            running[0] -= 1
        return done

    async def work() -> None:
        long = [asyncio.ensure_future(in_reader(LONG, wait)) for _ in range(50)]
        for _ in range(100):
            assert await asyncio.wait_for(in_reader(LONG - 1, str, 5), 10) == "5"
        assert await asyncio.wait_for(asyncio.to_thread(str, 6), 10) == "6", "asyncio's own threads are free"
        while running[0] < LONG_THREADS:
            await asyncio.sleep(0.01)
        assert not any(task.done() for task in long)
        open_.set()
        assert await asyncio.gather(*long) == [True] * 50

    asyncio.run(asyncio.wait_for(work(), 60))
    assert most[0] == LONG_THREADS


def test_threads_are_few_and_have_the_callers_context() -> None:
    names: set[str] = set()

    def look() -> str:
        names.add(threading.current_thread().name)
        return WHO.get()

    async def work() -> None:
        WHO.set("me")
        assert set(await asyncio.gather(*(in_reader(i % 2 * LONG, look) for i in range(200)))) == {"me"}

    asyncio.run(work())
    assert len(names) <= SHORT_THREADS + LONG_THREADS


def test_what_is_raised_and_what_was_cancelled() -> None:
    ran: list[int] = []
    open_ = threading.Event()

    async def work() -> None:
        with pytest.raises(ZeroDivisionError):
            await in_reader(1, divmod, 1, 0)
        blocked = [asyncio.ensure_future(in_reader(LONG, open_.wait, 20)) for _ in range(LONG_THREADS)]
        late = asyncio.ensure_future(in_reader(LONG, ran.append, 1))
        await asyncio.sleep(0.05)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
        open_.set()
        await asyncio.gather(*blocked)

    asyncio.run(asyncio.wait_for(work(), 60))
    assert ran == [], "what nobody waits for any more is not begun"


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_threads_of_its_own() -> None:
    code = (
        "import asyncio, os, signal\n"
        "from llama_bind.reading import in_reader\n"
        "asyncio.run(in_reader(1, str, 1))\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    signal.alarm(20)\n"
        "    os._exit(asyncio.run(in_reader(1, int, '7')))\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7\n"
    )
    import subprocess

    done = subprocess.run(
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", code], capture_output=True, text=True, timeout=60,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
