"""What the engine tells its statistics: they add up to what the requests themselves say."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest

from llama_bind.engine.loop import Engine
from llama_bind.engine.request import Request
from llama_bind.errors import DecodeError
from llama_bind.results import timings_dict
from llama_bind.values import FinishEvent, Usage
from tests.fakes import FakeContext, FakeRunner


@contextmanager
def running(runner: FakeRunner | None = None, **options: Any) -> Iterator[Engine]:
    engine = Engine(runner or FakeRunner(FakeContext(n_ctx=256, n_seq_max=4)), **options)  # type: ignore[arg-type]
    try:
        yield engine
    finally:
        engine.close()


def finish_of(engine: Engine, request: Request) -> FinishEvent:
    *_, last = engine.submit(request)
    assert isinstance(last, FinishEvent)
    return last


def test_counters_equal_the_sums_over_the_requests() -> None:
    with running() as engine:
        handles = [engine.submit(Request(prompt=[1, 2, 3, i + 10], max_tokens=4 + i)) for i in range(10)]
        ends = [list(handle)[-1] for handle in handles]
        stats = engine.stats
    usages = [end.usage for end in ends if isinstance(end, FinishEvent)]
    assert stats.requests == stats.finished == len(usages) == 10
    assert stats.generated_tokens == sum(u.completion_tokens for u in usages)
    assert stats.cached_tokens == sum(u.cached_tokens for u in usages)
    assert stats.prompt_tokens == sum(u.prompt_tokens - u.cached_tokens for u in usages)
    assert stats.queue_seconds.count == stats.first_token_seconds.count == stats.total_seconds.count == 10
    assert stats.device_hits + stats.misses == 10
    assert stats.device_hits > 0
    assert stats.token_seconds.count == stats.generated_tokens - 10, "each first token comes out of its prompt"
    assert stats.step_seconds.count == stats.step_tokens.count == stats.steps
    assert stats.step_decoding.sum == stats.token_seconds.count
    assert stats.step_prompt.sum == stats.prompt_tokens
    assert stats.step_tokens.sum == stats.prompt_tokens + stats.token_seconds.count
    assert stats.step_decoding.high <= 4
    assert (stats.running, stats.waiting) == (0, 0)


def test_ends_are_told_apart() -> None:
    runner = FakeRunner(FakeContext(n_ctx=256))
    with running(runner) as engine:
        runner.hold.set()
        cancelled = engine.submit(Request(prompt=[1], max_tokens=4))
        assert runner.entered.wait(10)
        waiting = engine.submit(Request(prompt=[2], queue_timeout=0.02))
        time.sleep(0.1)
        cancelled.cancel()
        runner.hold.clear()
        ends = [list(handle)[-1] for handle in (cancelled, waiting)]
        assert [end.reason for end in ends if isinstance(end, FinishEvent)] == ["cancelled", "deadline"]
        runner.error = DecodeError("broken")
        with pytest.raises(DecodeError):
            list(engine.submit(Request(prompt=[3])))
        stats = engine.stats
    assert (stats.cancelled, stats.deadlines, stats.failed, stats.finished) == (1, 1, 1, 2)


def test_guesses_are_counted_for_the_engine_and_for_each_request() -> None:
    def guess(ids: Any) -> Any:
        last = int(ids[-1])
        return np.array([last + 1, last + 2, 999])  # the third is wrong

    with running() as engine:
        plain = finish_of(engine, Request(prompt=[1], max_tokens=20)).timings
        timings = finish_of(engine, Request(prompt=[500], max_tokens=20, proposer=guess)).timings
        stats = engine.stats
    assert (plain.drafted_tokens, plain.accepted_tokens) == (0, 0)
    assert timings.drafted_tokens > timings.accepted_tokens > 0
    assert (stats.drafted_tokens, stats.accepted_tokens) == (timings.drafted_tokens, timings.accepted_tokens)
    assert 0 < stats.acceptance < 1
    told = timings_dict(timings, Usage(1, 20))
    assert (told["draft_n"], told["draft_n_accepted"]) == (timings.drafted_tokens, timings.accepted_tokens)
    assert "draft_n" not in timings_dict(plain, Usage(1, 20))


def test_a_pause_between_requests_is_no_time_between_tokens() -> None:
    with running() as engine:
        finish_of(engine, Request(prompt=[1], max_tokens=5))
        time.sleep(0.3)
        finish_of(engine, Request(prompt=[2], max_tokens=5))
        stats = engine.stats
    assert stats.token_seconds.count == 8
    assert stats.token_seconds.high < 0.3


def test_what_readers_wait_for_counts_not_only_the_decoding() -> None:
    def slow(_ids: Any) -> Any:
        time.sleep(0.01)
        return ()

    with running() as engine:
        finish_of(engine, Request(prompt=[1], max_tokens=6, proposer=slow))
        stats = engine.stats
    assert stats.token_seconds.count == 5
    assert stats.token_seconds.quantile(0.8) >= 0.01 > stats.step_seconds.quantile(0.8)
    assert stats.token_seconds.sum <= stats.total_seconds.high


@pytest.mark.parametrize("unified", [False, True])
def test_cells_in_use(unified: bool) -> None:
    context = FakeContext(n_ctx=64, n_seq_max=2, kv_unified=unified)
    with running(FakeRunner(context)) as engine:
        assert engine.stats.cells_used == 0
        finish_of(engine, Request(prompt=[1, 2, 3], max_tokens=5))
        assert engine.stats.cells_used == 7  # the last token needs none
        assert engine.stats.cells_total == (64 if unified else 128)


def test_evictions_and_preemptions_are_counted() -> None:
    context = FakeContext(n_ctx=64, n_seq_max=8, kv_unified=True)
    with running(FakeRunner(context)) as engine:
        handles = [engine.submit(Request(prompt=[i * 30] * 4, max_tokens=40)) for i in range(12)]
        for handle in handles:
            assert isinstance(list(handle)[-1], FinishEvent)
        stats = engine.stats
    assert stats.finished == 12
    assert stats.evictions > 0
    assert stats.preemptions > 0
    assert stats.requests == stats.queue_seconds.count == 12, "one that is started again counts once"
