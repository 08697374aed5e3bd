"""Ten thousand requests that wait at once: all of them end, in order, and leave nothing behind."""

from __future__ import annotations

import gc
import time
import tracemalloc
from queue import SimpleQueue
from typing import Any

import pytest

from llama_bind.engine.loop import Engine
from llama_bind.engine.request import Request
from llama_bind.errors import QueueFullError
from llama_bind.values import FinishEvent
from tests.fakes import FakeContext, FakeRunner

N = 10_000


def request(i: int, **options: Any) -> Request:
    return Request(prompt=[i % 900 + 1, i % 7 + 1], max_tokens=2, buffered=True, **options)


def ends_of(events: Any, count: int, timeout: float = 100) -> list[tuple[Any, FinishEvent]]:
    found: list[tuple[Any, FinishEvent]] = []
    deadline = time.monotonic() + timeout
    while len(found) < count:
        handle, event = events.get(timeout=max(deadline - time.monotonic(), 0.01))
        assert not isinstance(event, BaseException), event
        if isinstance(event, FinishEvent):
            found.append((handle, event))
    return found


def held_back(n_waiting: int) -> tuple[Engine, FakeRunner]:
    """An engine that computes nothing until it is let go, and takes `n_waiting` requests."""
    runner = FakeRunner(FakeContext(n_ctx=64, n_seq_max=16, n_batch=512))
    runner.plans = _Nothing()
    runner.samplers = _Nothing()
    runner.hold.set()
    return Engine(runner, max_queue=n_waiting - 16), runner  # type: ignore[arg-type]


def let_go(runner: FakeRunner) -> None:
    runner.hold.clear()
    runner.release.set()


@pytest.mark.parametrize("keys", [1, 50])
def test_ten_thousand_requests_wait_and_all_end(keys: int) -> None:
    engine, runner = held_back(N)
    events: Any = SimpleQueue()
    try:
        handles = [engine.submit(request(i, key=str(i % keys) if keys > 1 else None), events) for i in range(N)]
        with pytest.raises(QueueFullError):
            engine.submit(request(0), events)
        handles[5000].cancel()
        let_go(runner)
        ends = ends_of(events, N)
        reasons = [end.reason for _, end in ends]
        assert (reasons.count("cancelled"), reasons.count("length")) == (1, N - 1)
        assert {id(handle) for handle, _ in ends} == {id(handle) for handle in handles}, "each ends once"
        if keys == 1:
            places = {id(handle): i for i, handle in enumerate(handles)}
            order = [places[id(handle)] for handle, end in ends if end.reason == "length"]
            assert all(order[i] < order[i + 16] for i in range(0, N - 32, 16)), "first come, first served"
        stats = engine.stats
        assert (stats.running, stats.waiting, stats.requests) == (0, 0, N)
    finally:
        engine.close()


def test_requests_that_wait_are_small_and_leave_nothing_behind() -> None:
    engine, runner = held_back(2000)
    events: Any = SimpleQueue()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        handles = [engine.submit(request(i), events) for i in range(2000)]
        assert (tracemalloc.get_traced_memory()[0] - before) / 2000 < 10_000, "bytes for each"
        let_go(runner)
        ends_of(events, 2000)
        del handles
        gc.collect()
        assert (tracemalloc.get_traced_memory()[0] - before) / 2000 < 200
        worker = engine._worker
        assert not worker.desk.sequences
        assert not worker.desk.handles
        assert worker.desk.unfinished == 0
    finally:
        tracemalloc.stop()
        engine.close()


class _Nothing(list[Any]):
    """A log that keeps nothing."""

    def append(self, _item: Any) -> None:
        pass


def test_ten_thousand_requests_that_are_cancelled_while_they_wait() -> None:
    runner = FakeRunner(FakeContext(n_ctx=64, n_seq_max=4))
    engine = Engine(runner)  # type: ignore[arg-type]
    events: Any = SimpleQueue()
    try:
        runner.hold.set()
        handles = [engine.submit(request(i), events) for i in range(N)]
        for handle in handles:
            handle.cancel()
        runner.hold.clear()
        runner.release.set()
        ends = ends_of(events, N)
        assert sum(end.reason == "cancelled" for _, end in ends) >= N - 4
        assert engine.stats.waiting == 0
    finally:
        engine.close()


def test_closing_with_ten_thousand_waiting_ends_them_all() -> None:
    runner = FakeRunner(FakeContext(n_ctx=64, n_seq_max=4))
    engine = Engine(runner)  # type: ignore[arg-type]
    events: Any = SimpleQueue()
    runner.hold.set()
    handles = [engine.submit(request(i), events) for i in range(N)]
    runner.hold.clear()
    engine.close()
    assert all(handle.done for handle in handles)
