from __future__ import annotations

import gc
import os
import signal
import threading
import time
import weakref
from collections.abc import Iterator
from queue import SimpleQueue
from typing import Any, cast

import pytest

from llama_bind.engine.handle import RequestHandle, merged
from llama_bind.engine.loop import Engine
from llama_bind.engine.request import Request
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import (
    ClosedError,
    ContextOverflowError,
    DecodeError,
    EngineFailedError,
    ForkedError,
    InputError,
    NativeAbortError,
)
from llama_bind.values import FinishEvent, PieceEvent
from tests.fakes import EOG, FakeContext, FakeRunner


@pytest.fixture
def runner() -> FakeRunner:
    return FakeRunner()


@pytest.fixture
def engine(runner: FakeRunner) -> Iterator[Engine]:
    made = Engine(runner)  # type: ignore[arg-type]
    yield made
    made.close()


def text_of(handle: RequestHandle) -> tuple[str, FinishEvent]:
    events = list(handle)
    finish = events[-1]
    assert isinstance(finish, FinishEvent)
    return "".join(e.text for e in events[:-1] if isinstance(e, PieceEvent)), finish


def reason_of(events: Any) -> str:
    """How the request whose events go to this queue ended."""
    while True:
        event = events.get(timeout=10)[1]
        if isinstance(event, FinishEvent):
            return event.reason


def test_events_that_go_elsewhere_are_not_waited_for(engine: Engine) -> None:
    events: Any = SimpleQueue()
    with pytest.raises(TypeError, match="another queue"):
        iter(engine.submit(Request(prompt=[1], max_tokens=1), events))


def test_a_request_runs_to_its_limit(engine: Engine) -> None:
    text, finish = text_of(engine.submit(Request(prompt=[1, 2], max_tokens=3)))
    assert text == " 3 4 5"
    assert finish.reason == "length"
    assert (finish.usage.prompt_tokens, finish.usage.completion_tokens) == (2, 3)


def test_a_buffered_request_gives_one_piece(engine: Engine) -> None:
    events = list(engine.submit(Request(prompt=[1], max_tokens=3, buffered=True)))
    assert [type(e) for e in events] == [PieceEvent, FinishEvent]
    assert isinstance(events[0], PieceEvent)
    assert events[0].text == " 2 3 4"


def test_the_models_own_end_is_not_text() -> None:
    engine = Engine(FakeRunner(next_token=lambda s: EOG if s.n_generated == 2 else 7))  # type: ignore[arg-type]
    text, finish = text_of(engine.submit(Request(prompt=[1])))
    assert (text, finish.reason, finish.stop) == (" 7 7", "stop", "<eog>")
    engine.close()


def test_a_stop_string_over_two_tokens_does_not_leak(engine: Engine) -> None:
    text, finish = text_of(engine.submit(Request(prompt=[1], stop=("4 5",))))
    assert (text, finish.reason, finish.stop) == (" 2 3 ", "stop", "4 5")


def test_stop_token_ids_end_the_text(engine: Engine) -> None:
    assert text_of(engine.submit(Request(prompt=[1], stop_token_ids=frozenset({4}))))[0] == " 2 3"


def test_the_context_is_the_limit_when_none_is_given(engine: Engine) -> None:
    _, finish = text_of(engine.submit(Request(prompt=[1, 2, 3, 4])))
    assert finish.reason == "length"
    # 64 cells hold 4 + 60 tokens, and the last token sampled needs none.
    assert finish.usage.completion_tokens == 61


def test_max_tokens_zero_computes_the_prompt_only(engine: Engine, runner: FakeRunner) -> None:
    text, finish = text_of(engine.submit(Request(prompt=[1, 2], max_tokens=0)))
    assert (text, finish.usage.completion_tokens) == ("", 0)
    assert runner.context.memory.slots[0] == [1, 2]


def test_a_prompt_as_long_as_the_context_gives_one_token(engine: Engine) -> None:
    assert text_of(engine.submit(Request(prompt=[1] * 64)))[1].usage.completion_tokens == 1


def test_a_longer_prompt_is_refused(engine: Engine) -> None:
    with pytest.raises(ContextOverflowError, match=r"Requested tokens \(65\) exceed context window of 64"):
        engine.submit(Request(prompt=[1] * 65))


def test_an_empty_prompt_is_refused(engine: Engine) -> None:
    with pytest.raises(InputError, match="at least one"):
        engine.submit(Request(prompt=[]))


def test_a_second_prompt_shares_the_first_ones_prefix(engine: Engine) -> None:
    text_of(engine.submit(Request(prompt=[1, 2, 3], max_tokens=2)))
    _, finish = text_of(engine.submit(Request(prompt=[1, 2, 3, 4, 9], max_tokens=1)))
    assert finish.usage.cached_tokens == 4


def test_many_threads_on_one_engine() -> None:
    engine = Engine(FakeRunner(FakeContext(n_ctx=64, n_batch=32, n_seq_max=4)))  # type: ignore[arg-type]
    results: dict[int, str] = {}

    def call(i: int) -> None:
        results[i] = text_of(engine.submit(Request(prompt=[100 + i], max_tokens=5)))[0]

    threads = [threading.Thread(target=call, args=(i,)) for i in range(64)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(20)
    assert results == {i: "".join(f" {100 + i + k}" for k in range(1, 6)) for i in range(64)}
    stats = engine.stats
    assert (stats.requests, stats.finished, stats.generated_tokens, stats.running) == (64, 64, 320, 0)
    engine.close()


def test_cancel_inside_prompt_processing_aborts_the_decode(engine: Engine, runner: FakeRunner) -> None:
    runner.hold.set()
    handle = engine.submit(Request(prompt=[1, 2, 3]))
    assert runner.entered.wait(5)
    handle.cancel()
    handle.cancel()
    _, finish = text_of(handle)
    assert finish.reason == "cancelled"
    runner.hold.clear()
    assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"
    handle.cancel()  # after its end: nothing happens
    assert engine.stats.cancelled == 1


def test_cancel_of_one_leaves_the_other_alone() -> None:
    runner = FakeRunner(FakeContext(n_seq_max=2, n_batch=16))
    engine = Engine(runner)  # type: ignore[arg-type]
    runner.hold.set()
    first = engine.submit(Request(prompt=[1], max_tokens=1))
    assert runner.entered.wait(5)
    second = engine.submit(Request(prompt=[5], max_tokens=4))
    second.cancel()
    runner.hold.clear()
    runner.release.set()
    assert text_of(first)[0] == " 2"
    assert text_of(second)[1].reason == "cancelled"
    engine.close()


def test_leaving_a_stream_cancels_it() -> None:
    runner = FakeRunner(FakeContext(n_ctx=10**8))
    engine = Engine(runner)  # type: ignore[arg-type]
    events: Any = SimpleQueue()
    stream = merged([engine.submit(Request(prompt=[1]), events)], events)
    next(stream)
    stream.close()
    assert reason_of(events) == "cancelled"
    assert runner.samplers[0].closed
    engine.close()


def test_dropping_a_stream_that_was_never_read_cancels_it(engine: Engine, runner: FakeRunner) -> None:
    runner.hold.set()
    events: Any = SimpleQueue()
    handle = engine.submit(Request(prompt=[1]), events)
    stream = merged([handle], events)
    assert runner.entered.wait(5)
    del stream
    assert reason_of(events) == "cancelled"


def test_a_decode_error_ends_its_requests_only(engine: Engine, runner: FakeRunner) -> None:
    runner.error = DecodeError("no", code=-3)
    with pytest.raises(DecodeError):
        list(engine.submit(Request(prompt=[1])))
    assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


def test_a_native_abort_rebuilds_the_context(engine: Engine, runner: FakeRunner) -> None:
    text_of(engine.submit(Request(prompt=[1, 2, 3], max_tokens=1)))
    runner.error = NativeAbortError("GGML_ASSERT")
    with pytest.raises(NativeAbortError):
        list(engine.submit(Request(prompt=[1, 2, 3])))
    assert runner.rebuilt == 1
    _, finish = text_of(engine.submit(Request(prompt=[1, 2, 3], max_tokens=1)))
    assert finish.usage.cached_tokens == 0


def test_an_unexpected_error_ends_the_engine_and_says_so(engine: Engine, runner: FakeRunner) -> None:
    def broken(*_: object) -> int:
        raise ZeroDivisionError("a bug")

    runner.prepare = broken  # type: ignore[assignment]
    with pytest.raises(EngineFailedError, match="a bug"):
        list(engine.submit(Request(prompt=[1])))
    with pytest.raises(EngineFailedError):
        engine.submit(Request(prompt=[1]))


def test_close_ends_running_and_waiting_requests(engine: Engine, runner: FakeRunner) -> None:
    runner.hold.set()
    handles = [engine.submit(Request(prompt=[i + 1])) for i in range(50)]
    assert runner.entered.wait(5)
    engine.close()
    engine.close()
    for handle in handles:
        with pytest.raises(ClosedError):
            list(handle)
    with pytest.raises(ClosedError):
        engine.submit(Request(prompt=[1]))
    with pytest.raises(ClosedError):
        engine.call(lambda _: None)
    assert all(s.closed for s in runner.samplers)


def test_dropping_the_engine_stops_its_thread(runner: FakeRunner) -> None:
    engine = Engine(runner)  # type: ignore[arg-type]
    thread = engine._worker.thread
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    thread.join(5)
    assert gone() is None
    assert not thread.is_alive()


def test_call_runs_on_the_engine_thread_and_carries_errors(engine: Engine, runner: FakeRunner) -> None:
    assert engine.call(lambda r: (r is cast(Any, runner), threading.current_thread().name)) == (
        True,
        "llama_bind engine",
    )
    with pytest.raises(KeyError):
        engine.call(lambda _: cast(dict[str, int], {})["x"])


def test_forget_clears_the_memory(engine: Engine, runner: FakeRunner) -> None:
    text_of(engine.submit(Request(prompt=[1, 2, 3], max_tokens=1)))
    assert engine.remembered() == (0, [1, 2, 3])
    engine.forget()
    assert runner.context.memory.slots[0] == []
    assert text_of(engine.submit(Request(prompt=[1, 2, 3], max_tokens=1)))[1].usage.cached_tokens == 0


def test_a_forked_child_is_told(engine: Engine) -> None:
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            engine.submit(Request(prompt=[1]))
        except ForkedError:
            os.write(write, b"forked")
        os._exit(0)
    os.close(write)
    assert os.read(read, 10) == b"forked"
    os.close(read)
    os.waitpid(pid, 0)
    assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


def test_embeddings_and_text_take_turns(engine: Engine) -> None:
    text = engine.submit(Request(prompt=[1], max_tokens=3))
    vector = engine.submit(Request(prompt=[1, 2], kind="embed"))
    assert text_of(text)[0] == " 2 3 4"
    assert [type(e) for e in vector] == [FinishEvent]
    assert vector.embedding.shape == (4,)


def test_ctrl_c_while_waiting_cancels(engine: Engine, runner: FakeRunner) -> None:
    runner.hold.set()
    events: Any = SimpleQueue()
    handle = engine.submit(Request(prompt=[1]), events)
    assert runner.entered.wait(5)
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT)).start()
    started = time.perf_counter()
    with pytest.raises(KeyboardInterrupt):
        list(merged([handle], events))
    assert time.perf_counter() - started < 5
    assert reason_of(events) == "cancelled"


def test_sequences_grow() -> None:
    sequence = Sequence(Request(prompt=[1, 2]), 0, 0.0, limit=500)
    for i in range(300):
        sequence.append(i)
    assert sequence.view().tolist() == [1, 2, *range(300)]
    assert sequence.n_generated == 300


def test_a_stream_may_be_dropped_at_any_place(engine: Engine, runner: FakeRunner) -> None:
    """The garbage collector may cancel in a thread that is just submitting."""
    runner.hold.set()
    handle = engine.submit(Request(prompt=[1]))
    worker = engine._worker
    done = threading.Event()

    def call() -> None:
        with worker.flight.lock, worker.desk.lock:
            handle.cancel()
        done.set()

    threading.Thread(target=call, daemon=True).start()
    assert done.wait(5)
    runner.release.set()
    runner.hold.clear()
    assert list(handle)[-1].reason == "cancelled"  # type: ignore[union-attr]
