"""What happens to requests beside others: shared beginnings, deadlines, overflow, want of memory, saved states."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from llama_bind.engine.deadlines import PURGE
from llama_bind.engine.handle import RequestHandle
from llama_bind.engine.loop import Engine
from llama_bind.engine.overflow import truncated_middle
from llama_bind.engine.request import Request
from llama_bind.engine.store import HostStore, TieredStore
from llama_bind.errors import ContextOverflowError, NoCellsError, StateError, UnsupportedError
from llama_bind.values import FinishEvent, PieceEvent
from tests.fakes import FakeContext, FakeRunner


def start(runner: FakeRunner, **options: Any) -> Engine:
    return Engine(runner, **options)  # type: ignore[arg-type]


def text_of(handle: RequestHandle) -> tuple[str, FinishEvent]:
    events = list(handle)
    finish = events[-1]
    assert isinstance(finish, FinishEvent)
    return "".join(e.text for e in events[:-1] if isinstance(e, PieceEvent)), finish


def counted(first: int, n: int) -> str:
    return "".join(f" {(first + i) % 1000}" for i in range(n))


def test_requests_that_begin_alike_compute_the_beginning_once() -> None:
    runner = FakeRunner(FakeContext(n_ctx=256, n_batch=64, n_seq_max=8, kv_unified=True))
    runner.hold.set()
    engine = start(runner)
    shared = list(range(10, 110))
    handles = [engine.submit(Request(prompt=[*shared, 200 + i], max_tokens=3)) for i in range(8)]
    assert runner.entered.wait(5)
    runner.hold.clear()
    runner.release.set()
    for i, handle in enumerate(handles):
        text, finish = text_of(handle)
        assert text == counted(201 + i, 3)
        assert finish.usage.cached_tokens == (0 if i == 0 else 100)
    assert engine.stats.prompt_tokens == 101 + 7
    engine.close()


def test_requests_of_different_salts_compute_it_each_for_itself() -> None:
    engine = start(FakeRunner(FakeContext(n_ctx=256, n_batch=64, n_seq_max=2)))
    prompt = list(range(10, 60))
    for salt in (b"a" * 16, b"b" * 16):
        assert text_of(engine.submit(Request(prompt=prompt, max_tokens=1, salt=salt)))[1].usage.cached_tokens == 0
    assert text_of(engine.submit(Request(prompt=prompt, max_tokens=1, salt=b"a" * 16)))[1].usage.cached_tokens == 49
    engine.close()


@pytest.mark.parametrize("kind", ["queue_timeout", "first_token_timeout", "timeout"])
def test_a_deadline_that_passes_while_a_request_waits(kind: str) -> None:
    runner = FakeRunner()
    runner.hold.set()
    engine = start(runner)
    first = engine.submit(Request(prompt=[1], max_tokens=2))
    assert runner.entered.wait(5)
    late = engine.submit(Request(prompt=[5], max_tokens=2, **{kind: 0.05}))  # type: ignore[arg-type]
    time.sleep(0.1)
    runner.hold.clear()
    runner.release.set()
    text, finish = text_of(late)
    assert (text, finish.reason) == ("", "deadline")
    assert text_of(first)[0] == " 2 3"
    assert engine.stats.deadlines == 1
    engine.close()


def test_a_total_deadline_gives_what_there_is_and_stops_the_step() -> None:
    runner = FakeRunner(FakeContext(n_ctx=1000))
    slow = threading.Event()

    def next_token(sequence: Any) -> int:
        if sequence.n_generated == 5:
            runner.hold.set()  # from now on a step lasts until somebody aborts it
        return 7

    runner.next_token = next_token
    engine = start(runner)
    started = time.monotonic()
    text, finish = text_of(engine.submit(Request(prompt=[1], timeout=0.2)))
    assert finish.reason == "deadline"
    assert text == " 7" * 6
    assert 0.15 < time.monotonic() - started < 5
    assert not slow.is_set()
    runner.hold.clear()
    assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 7", "nobody else is hurt"
    engine.close()


def test_deadlines_that_are_kept_change_nothing() -> None:
    engine = start(FakeRunner())
    request = Request(prompt=[1], max_tokens=3, queue_timeout=5.0, first_token_timeout=5.0, timeout=5.0)
    assert text_of(engine.submit(request))[1].reason == "length"
    engine.close()


def test_a_queue_deadline_does_not_end_what_has_started() -> None:
    runner = FakeRunner(FakeContext(n_ctx=1000))
    runner.hold.set()
    engine = start(runner)
    handle = engine.submit(Request(prompt=[1], max_tokens=3, queue_timeout=0.05))
    assert runner.entered.wait(5)
    time.sleep(0.1)
    runner.hold.clear()
    runner.release.set()
    assert text_of(handle)[1].reason == "length"
    engine.close()


def test_a_prompt_longer_than_the_context() -> None:
    engine = start(FakeRunner(FakeContext(n_ctx=64)))
    prompt = list(range(1, 101))
    with pytest.raises(ContextOverflowError):
        engine.submit(Request(prompt=prompt))
    text, finish = text_of(engine.submit(Request(prompt=prompt, overflow="stop")))
    assert (text, finish.reason, finish.usage.completion_tokens) == ("", "length", 0)
    text, finish = text_of(engine.submit(Request(prompt=prompt, overflow="truncate", max_tokens=10, n_keep=4)))
    assert finish.usage.prompt_tokens == 54
    assert text == counted(101, 10)
    engine.close()


def test_truncating_keeps_both_ends() -> None:
    assert truncated_middle(range(100), 10, 3) == [0, 1, 2, *range(93, 100)]
    assert truncated_middle(range(100), 10, 0) == [0, *range(91, 100)]
    assert truncated_middle(range(100), 10, 90) == [0, 1, 2, 3, 4, *range(95, 100)]


def test_a_text_that_shifts_goes_on_beyond_the_context() -> None:
    runner = FakeRunner(FakeContext(n_ctx=64))
    engine = start(runner)
    text, finish = text_of(engine.submit(Request(prompt=[1, 2, 3], overflow="shift", max_tokens=300, buffered=True)))
    assert text == counted(4, 300)
    assert finish.usage.completion_tokens == 300
    text, finish = text_of(engine.submit(Request(prompt=[1, 2, 3], max_tokens=300)))
    assert (finish.reason, finish.usage.cached_tokens) == ("length", 0), "what was shifted is not shared"
    assert finish.usage.completion_tokens == 62
    engine.close()


def test_reproducible_needs_memory_of_its_own() -> None:
    engine = start(FakeRunner(FakeContext(n_seq_max=2, kv_unified=True)))
    with pytest.raises(UnsupportedError, match="kv_unified"):
        engine.submit(Request(prompt=[1], reproducible=True))
    engine.close()


def test_when_cells_run_out_everybody_finishes_all_the_same() -> None:
    context = FakeContext(n_ctx=200, n_batch=64, n_seq_max=16, kv_unified=True)
    engine = start(FakeRunner(context))
    handles = [engine.submit(Request(prompt=[i, *range(30)], max_tokens=60)) for i in range(100, 132)]
    for handle in handles:
        text, finish = text_of(handle)
        assert (text, finish.reason) == (counted(30, 60), "length")
    stats = engine.stats
    assert stats.finished == 32
    assert stats.preemptions > 0
    engine.close()


def test_a_memory_with_less_room_than_was_counted_preempts_too() -> None:
    runner = FakeRunner(FakeContext(n_ctx=256, n_batch=64, n_seq_max=4))
    engine = start(runner)
    original, refused = runner.run, []

    def run(plan: Any) -> Any:
        if len({c.sequence for c in plan.chunks}) > 2:
            refused.append(plan)
            raise NoCellsError("full", code=1)
        return original(plan)

    runner.run = run  # type: ignore[method-assign]
    handles = [engine.submit(Request(prompt=[10 * i + 1], max_tokens=8)) for i in range(4)]
    assert [text_of(h)[0] for h in handles] == [counted(10 * i + 2, 8) for i in range(4)]
    assert refused

    def full(_: object) -> Any:
        raise NoCellsError("full", code=1)

    runner.run = full  # type: ignore[method-assign, assignment]
    with pytest.raises(NoCellsError):
        list(engine.submit(Request(prompt=[1])))
    engine.close()


def test_what_a_slot_loses_comes_back_from_the_store() -> None:
    runner = FakeRunner(FakeContext(n_ctx=512, n_batch=64))
    store = TieredStore(runner.fingerprint, HostStore(1 << 20))
    engine = start(runner, store=store)
    first = list(range(1, 201))
    assert text_of(engine.submit(Request(prompt=first, max_tokens=1)))[1].usage.cached_tokens == 0
    text_of(engine.submit(Request(prompt=[900] * 100, max_tokens=1)))
    assert store.stats.host_entries == 1
    text, finish = text_of(engine.submit(Request(prompt=[*first, 700], max_tokens=1)))
    assert (text, finish.usage.cached_tokens) == (" 701", 200)
    assert engine.stats.host_hits == 1
    engine.set_store(None)
    text_of(engine.submit(Request(prompt=[900] * 100, max_tokens=1)))
    assert text_of(engine.submit(Request(prompt=first, max_tokens=1)))[1].usage.cached_tokens == 0
    engine.close()


def test_an_entry_that_the_store_gave_up_is_not_looked_for() -> None:
    runner = FakeRunner(FakeContext(n_ctx=512, n_batch=64))
    engine = start(runner, store=TieredStore(runner.fingerprint, HostStore(6000)))
    prompts = [[i] * 150 for i in range(1, 9)]
    for prompt in prompts:
        text_of(engine.submit(Request(prompt=prompt, max_tokens=1)))
    finish = text_of(engine.submit(Request(prompt=prompts[0], max_tokens=1)))[1]
    assert finish.usage.cached_tokens == 0
    engine.close()


def test_memory_that_cannot_be_cut_goes_on_from_checkpoints() -> None:
    runner = FakeRunner(FakeContext(n_ctx=512, n_batch=64, n_seq_max=2))
    runner.can_cut = False
    engine = start(runner)
    system = list(range(1, 101))
    cached = [
        text_of(engine.submit(Request(prompt=[*system, 300 + i, 301 + i], max_tokens=2)))[1].usage.cached_tokens
        for i in range(6)
    ]
    assert cached[:2] == [0, 0], "the second one shows where they part"
    assert cached[2:] == [100] * 4
    engine.close()


def test_a_step_target_holds_prompts_back_while_others_decode() -> None:
    runner = FakeRunner(FakeContext(n_ctx=4096, n_batch=512, n_seq_max=2))
    original = runner.run

    def run(plan: Any) -> Any:
        time.sleep(0.0002 * plan.n_tokens)  # a slow machine: 100 tokens take 20 ms
        return original(plan)

    runner.run = run  # type: ignore[method-assign]
    engine = start(runner, step_target=0.02)
    running = engine.submit(Request(prompt=[1], max_tokens=300))
    time.sleep(0.05)
    engine.submit(Request(prompt=list(range(2, 900)) * 3, max_tokens=1))
    text_of(running)
    chunks = [count for plan in runner.plans if len(plan) == 2 for _, _, count in plan[1:]]
    assert len(chunks) > 10
    assert sorted(chunks)[len(chunks) // 2] < 200
    engine.close()


def test_a_saved_state_that_cannot_be_loaded_is_computed_and_dropped() -> None:
    runner = FakeRunner(FakeContext(n_ctx=512, n_batch=64))
    store = TieredStore(runner.fingerprint, HostStore(1 << 20))
    engine = start(runner, store=store)
    first = list(range(1, 201))
    text_of(engine.submit(Request(prompt=first, max_tokens=1)))
    text_of(engine.submit(Request(prompt=[900] * 100, max_tokens=1)))
    (entry,) = store.entries()
    original = runner.prepare

    def prepare(admission: Any, state: bytes | None = None) -> int:
        if state is not None:
            runner.clear(admission.slot)
            raise StateError("damaged")
        return original(admission, state)

    runner.prepare = prepare  # type: ignore[method-assign]
    text, finish = text_of(engine.submit(Request(prompt=first, max_tokens=1)))
    assert (text, finish.usage.cached_tokens) == (" 201", 0)
    assert store.get(entry.key) is None
    engine.close()


def test_a_state_is_not_loaded_for_a_small_part_of_it() -> None:
    runner = FakeRunner(FakeContext(n_ctx=2048, n_batch=64))
    engine = start(runner, store=TieredStore(runner.fingerprint, HostStore(1 << 20)))
    long = [i % 900 + 1 for i in range(1600)]
    text_of(engine.submit(Request(prompt=long, max_tokens=1)))
    text_of(engine.submit(Request(prompt=[950] * 100, max_tokens=1)))
    assert text_of(engine.submit(Request(prompt=[*long[:100], 7], max_tokens=1)))[1].usage.cached_tokens == 0
    assert text_of(engine.submit(Request(prompt=[*long[:900], 7], max_tokens=1)))[1].usage.cached_tokens == 900
    engine.close()


def test_deadlines_of_requests_that_have_ended_are_forgotten() -> None:
    engine = start(FakeRunner())
    for _ in range(3000):
        text_of(engine.submit(Request(prompt=[1], max_tokens=1, timeout=1000.0)))
    assert len(engine._worker.deadlines._heap) <= 2 * PURGE
    engine.close()
