"""The engine in a process of its own, on the fake runner: the same results, crashes, loading."""

from __future__ import annotations

import functools
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from llama_bind.engine import supervisor
from llama_bind.engine.handle import RequestHandle
from llama_bind.engine.loop import Engine
from llama_bind.engine.process import EngineProcess
from llama_bind.engine.request import Request
from llama_bind.engine.speculative import PromptLookup
from llama_bind.errors import (
    ClosedError,
    ContextOverflowError,
    EngineCrashedError,
    EngineFailedError,
    InputError,
    ModelNotFoundError,
    RequestError,
    UnsupportedError,
)
from llama_bind.values import FinishEvent, PieceEvent
from tests import child_engines as fakes
from tests.child_engines import ABORT, EXIT, FAIL_ENGINE, KILL, SEGV, SLOW, make
from tests.engine_processes import SECONDS, Poison, counted, engine_of, is_gone, pid_of, text_of, until
from tests.fakes import FakeRunner


@pytest.fixture(scope="module")
def shared() -> Iterator[EngineProcess]:
    """One that tests may crash but do not close."""
    engine = EngineProcess(make(fakes.fake))
    yield engine
    engine.close()


# -- the same as an engine in this process -----------------------------------------------------------------------------


def test_it_gives_what_an_engine_gives(shared: EngineProcess) -> None:
    near = Engine(FakeRunner())  # type: ignore[arg-type]
    requests = [
        Request(prompt=[1, 2, 3], max_tokens=4),
        Request(prompt=[5], max_tokens=6, stop=("8 9",), seed=17),
        Request(prompt=[7, 7], max_tokens=3, buffered=True),
        Request(prompt=[9], max_tokens=9, stop_token_ids=frozenset({12})),
        Request(prompt=[998], max_tokens=9),
    ]
    for request in requests:
        text, finish = text_of(shared.submit(request))
        expected, end = text_of(near.submit(request))
        assert (text, finish.reason, finish.usage.completion_tokens) == (
            expected,
            end.reason,
            end.usage.completion_tokens,
        )
        assert (finish.seed, finish.stop) == (end.seed, end.stop)
    near.close()


def test_vectors_come_back(shared: EngineProcess) -> None:
    handle = shared.submit(Request(prompt=[1, 2], kind="embed"))
    assert [type(event) for event in handle] == [FinishEvent]
    assert handle.embedding.shape == (4,)
    assert handle.embedding.dtype == "float32"


def test_proposers_work_there(shared: EngineProcess) -> None:
    prompt = [20, 21, 22, 23, 24, 20, 21]
    before = shared.stats.drafted_tokens
    text, _ = text_of(shared.submit(Request(prompt=prompt, max_tokens=8, proposer=PromptLookup())))
    assert text == counted(21, 8)
    assert shared.stats.drafted_tokens > before


def test_events_go_to_a_queue_that_is_given(shared: EngineProcess) -> None:
    events: Any = SimpleQueue()
    handles = [shared.submit(Request(prompt=[i], max_tokens=2), events) for i in (3, 4, 5)]
    ended: list[RequestHandle] = []
    while len(ended) < 3:
        handle, event = events.get(timeout=SECONDS)
        if isinstance(event, FinishEvent):
            ended.append(handle)
    assert set(ended) == set(handles)
    with pytest.raises(TypeError):
        iter(handles[0])


def test_what_cannot_be_asked_is_said_at_once(shared: EngineProcess) -> None:
    with pytest.raises(InputError):
        shared.submit(Request(prompt=[]))
    with pytest.raises(ContextOverflowError) as caught:
        shared.submit(Request(prompt=[1] * 2049))
    assert (caught.value.requested, caught.value.limit) == (2049, 2048)
    assert text_of(shared.submit(Request(prompt=[5] * 2049, max_tokens=2, overflow="truncate")))[0] == " 6 7"
    assert text_of(shared.submit(Request(prompt=[5] * 2049, overflow="stop")))[1].reason == "length"
    with pytest.raises(InputError, match="regions"):  # a check that only the engine makes
        shared.ask("echo", InputError("too many regions"))


def test_operations_are_asked_by_name(shared: EngineProcess) -> None:
    assert shared.ask("echo", {"a": b"x" * 3_000_000}) == {"a": b"x" * 3_000_000}
    with pytest.raises(KeyError):
        shared.ask("echo", KeyError("k"))
    with pytest.raises(UnsupportedError, match="no operation 'nothing'"):
        shared.ask("nothing")
    with pytest.raises(RequestError, match="echo"):
        shared.ask("echo", "unpicklable")
    shared.forget()
    finished = shared.stats.finished
    text_of(shared.submit(Request(prompt=[1], max_tokens=1)))
    assert shared.stats.finished == finished + 1


def test_what_was_set_is_set_again() -> None:
    with engine_of() as engine:
        engine.set("note", "first")
        engine.set("note", "second")
        with pytest.raises(ValueError, match="empty"):
            engine.set("note", "")
        engine.ask("note", "third")
        assert engine.ask("noted") == ["first", "second", "third"]
        for i in range(2):
            os.kill(pid_of(engine), signal.SIGKILL)
            until(lambda: engine.restarts > i)  # noqa: B023
            until(lambda: engine.ask("noted") == ["second"])


def test_statistics_can_be_read_while_it_crashes(shared: EngineProcess) -> None:
    pid = pid_of(shared)
    os.kill(pid, signal.SIGSTOP)
    threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
    assert shared.stats.running == 0
    assert shared.process_id != pid


def test_the_log_comes_here(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "llama_bind"), engine_of(fakes.talking):
        until(lambda: "hello from there" in caplog.messages)
        until(lambda: any("written to standard error" in message for message in caplog.messages))
    assert "much too detailed" not in caplog.text


# -- crashes -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("token", "code", "name"), [(SEGV, -11, "SIGSEGV"), (ABORT, -6, "SIGABRT"), (KILL, -9, "SIGKILL"), (EXIT, 7, None)]
)
def test_a_crash_ends_what_was_computed_and_nothing_else(
    shared: EngineProcess, token: int, code: int, name: str | None
) -> None:
    pid, restarts = pid_of(shared), shared.restarts
    beside = shared.submit(Request(prompt=[SLOW], max_tokens=400))
    assert next(iter(beside)) == PieceEvent(" 500", (500,))
    culprit = shared.submit(Request(prompt=[token], max_tokens=5))
    waiting = [shared.submit(Request(prompt=[100 + i], max_tokens=3)) for i in range(20)]
    for handle in (beside, culprit):
        with pytest.raises(EngineCrashedError, match=name or "exit code 7") as caught:
            list(handle)
        assert (caught.value.exit_code, caught.value.signal) == (code, name)
        assert "sent again" in str(caught.value)
    assert [text_of(handle)[0] for handle in waiting] == [counted(100 + i, 3) for i in range(20)]
    assert shared.restarts == restarts + 1
    assert pid_of(shared) != pid
    assert is_gone(pid)


@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT, signal.SIGKILL, signal.SIGTERM])
def test_killed_from_outside_under_load(number: signal.Signals) -> None:
    with engine_of(n_seq_max=1) as engine:
        order: Any = SimpleQueue()
        first = engine.submit(Request(prompt=[SLOW], max_tokens=300))
        waiting = [engine.submit(Request(prompt=[i], max_tokens=2, buffered=True), order) for i in range(1, 30)]
        next(iter(first))
        os.kill(pid_of(engine), number)
        # Writing down where an abort happened may itself crash.
        names = "SIGABRT|SIGSEGV" if number == signal.SIGABRT else number.name
        with pytest.raises(EngineCrashedError, match=names):
            list(first)
        ended = [handle for handle, event in (order.get(timeout=SECONDS) for _ in range(58)) if handle.done]
        assert list(dict.fromkeys(ended)) == waiting
        assert [handle.request.prompt[0] for handle in dict.fromkeys(ended)] == list(range(1, 30))


def test_a_crash_says_where(shared: EngineProcess) -> None:
    with pytest.raises(EngineCrashedError) as caught:
        list(shared.submit(Request(prompt=[SEGV])))
    assert caught.value.signal == "SIGSEGV"
    assert any("Segmentation fault" in line for line in caught.value.stderr), caught.value.stderr
    assert any("child_engines.py" in line for line in caught.value.stderr)


def test_an_idle_engine_that_is_killed_comes_back(shared: EngineProcess) -> None:
    for _ in range(4):  # more often than loads may fail
        pid = pid_of(shared)
        os.kill(pid, signal.SIGKILL)
        until(lambda: shared.process_id not in (None, pid))  # noqa: B023
        assert text_of(shared.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


def test_an_engine_that_fails_in_python_is_replaced(shared: EngineProcess) -> None:
    culprit = shared.submit(Request(prompt=[FAIL_ENGINE]))
    waiting = [shared.submit(Request(prompt=[i], max_tokens=2)) for i in range(10, 20)]
    with pytest.raises(EngineCrashedError, match="exit code 4") as caught:
        list(culprit)
    assert any("a bug" in line for line in caught.value.stderr)
    crashed = 0
    for i, handle in enumerate(waiting):
        try:
            assert text_of(handle)[0] == counted(10 + i, 2)
        except EngineCrashedError:
            crashed += 1
    assert crashed <= 1, "one more ran beside the culprit at most"


def test_a_request_that_kills_before_it_starts_is_given_up(shared: EngineProcess) -> None:
    restarts = shared.restarts
    poison = shared.submit(Request(prompt=[1], proposer=Poison()))
    with pytest.raises(EngineCrashedError):
        list(poison)
    assert shared.restarts <= restarts + supervisor.MOST_LOST_STARTS
    assert text_of(shared.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


def test_an_operation_that_crashes(shared: EngineProcess) -> None:
    with pytest.raises(EngineCrashedError, match="exit code 5"):
        shared.ask("echo", "die")
    assert shared.ask("echo", 1) == 1


def test_timeouts_go_on_while_the_process_restarts(tmp_path: Path) -> None:
    slow = functools.partial(fakes.slowly, 1.0)
    with engine_of(fakes.only, 1, str(tmp_path / "n"), slow, n_seq_max=1) as engine:
        first = engine.submit(Request(prompt=[SLOW], max_tokens=300))
        blocker = engine.submit(Request(prompt=[SLOW], max_tokens=20))
        late = engine.submit(Request(prompt=[1], max_tokens=3, queue_timeout=0.9))
        next(iter(first))
        os.kill(pid_of(engine), signal.SIGKILL)
        with pytest.raises(EngineCrashedError):
            list(first)
        assert text_of(late)[1].reason == "deadline"
        assert text_of(blocker)[1].reason == "length"


def test_many_crashes_under_many_threads() -> None:
    """Every request gets its text or `EngineCrashedError`, whatever is killed when."""
    results: list[str] = []
    failed: list[BaseException] = []
    stop = threading.Event()

    def ask(engine: EngineProcess, first: int) -> None:
        i = first
        while not stop.is_set():
            i = first + (i + 1) % 50
            try:
                text, _ = text_of(engine.submit(Request(prompt=[i], max_tokens=5)))
                results.append("right" if text == counted(i, 5) else f"wrong: {text}")
            except EngineCrashedError:
                results.append("crashed")
            except BaseException as error:
                failed.append(error)
                return

    with engine_of(n_seq_max=4) as engine:
        threads = [threading.Thread(target=ask, args=(engine, 100 * n)) for n in range(1, 7)]
        for thread in threads:
            thread.start()
        for i, number in enumerate((signal.SIGKILL, signal.SIGSEGV, signal.SIGKILL)):
            time.sleep(0.3)
            os.kill(pid_of(engine), number)
            until(lambda: engine.restarts > i)  # noqa: B023
        time.sleep(0.5)
        stop.set()
        for thread in threads:
            thread.join(SECONDS)
        assert not failed
        assert set(results) <= {"right", "crashed"}
        assert results.count("right") > 100
        assert engine.restarts == 3


# -- loading -----------------------------------------------------------------------------------------------------------


def test_an_error_of_the_load_is_raised_here() -> None:
    with pytest.raises(ModelNotFoundError, match=r"nowhere\.gguf") as caught:
        EngineProcess(fakes.missing)
    assert caught.value.path == "nowhere.gguf"


def test_a_crash_while_loading() -> None:
    with pytest.raises(EngineFailedError, match=r"(?s)SIGSEGV while loading.*about to crash"):
        EngineProcess(fakes.crashing)


def test_what_cannot_be_sent_there() -> None:
    with pytest.raises(UnsupportedError, match="engine_process"):
        EngineProcess(lambda _progress: fakes.fake())


def test_progress_is_told_here() -> None:
    shares: list[float] = []
    thread: list[threading.Thread] = []

    def progress(share: float) -> None:
        shares.append(share)
        thread.append(threading.current_thread())

    EngineProcess(fakes.fake, progress=progress).close()
    assert shares == [0.0, 0.5, 1.0]
    assert set(thread) == {threading.current_thread()}
    with pytest.raises(RuntimeError, match="stopped"):
        EngineProcess(fakes.fake, progress=lambda share: share < 0.5)
    with pytest.raises(ZeroDivisionError):
        EngineProcess(fakes.fake, progress=lambda _share: 1 / 0)


def test_a_load_that_fails_once_is_tried_again(tmp_path: Path) -> None:
    with engine_of(fakes.failing_second, str(tmp_path / "n")) as engine:
        os.kill(pid_of(engine), signal.SIGKILL)
        waiting = engine.submit(Request(prompt=[1], max_tokens=1))
        assert text_of(waiting)[0] == " 2"
        assert (tmp_path / "n").read_text() == "3"


@pytest.mark.parametrize("failing", [fakes.missing, fakes.crashing])
def test_an_engine_that_cannot_be_started_again_fails(tmp_path: Path, failing: Any) -> None:
    count = tmp_path / "n"
    with engine_of(fakes.only, 1, str(count), failing) as engine:
        running = engine.submit(Request(prompt=[SLOW], max_tokens=300))
        next(iter(running))
        os.kill(pid_of(engine), signal.SIGKILL)
        waiting = [engine.submit(Request(prompt=[i])) for i in range(1, 10)]
        with pytest.raises(EngineCrashedError):
            list(running)
        reason = "nowhere.gguf" if failing is fakes.missing else "(?s)SIGSEGV.*about to crash"
        for handle in waiting:
            with pytest.raises(EngineFailedError, match=reason):
                list(handle)
        with pytest.raises(EngineFailedError, match=reason):
            engine.submit(Request(prompt=[1]))
        with pytest.raises(EngineFailedError):
            engine.forget()
        assert engine.process_id is None
        assert count.read_text() == "4"


def test_relative_paths_mean_what_they_meant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("there")
    monkeypatch.chdir(tmp_path)
    with engine_of(fakes.reading, "file") as engine:
        monkeypatch.chdir("/")
        os.kill(pid_of(engine), signal.SIGKILL)
        assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


def test_no_process_can_be_started(shared: EngineProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(sys, "executable", "/nowhere/python")
        with pytest.raises(EngineFailedError, match="no process could be started"):
            EngineProcess(fakes.fake)
        pid = pid_of(shared)
        os.kill(pid, signal.SIGKILL)
        until(lambda: shared.process_id is None)
        time.sleep(0.2)  # the first new start fails meanwhile
    assert text_of(shared.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"
    monkeypatch.setattr(sys, "executable", "")
    with pytest.raises(UnsupportedError, match=r"sys\.executable"):
        EngineProcess(fakes.fake)


def test_whoever_takes_events_and_raises_ends_nothing_else(
    shared: EngineProcess, caplog: pytest.LogCaptureFixture
) -> None:
    class Broken:
        def put(self, _item: Any, /) -> None:
            raise ZeroDivisionError("by the reader")

    pid, cancelled = pid_of(shared), shared.stats.cancelled
    shared.submit(Request(prompt=[SLOW], max_tokens=300), Broken())
    until(lambda: shared.stats.cancelled > cancelled)
    shared.submit(Request(prompt=[1], max_tokens=0, buffered=True), Broken())
    assert text_of(shared.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"
    assert "by the reader" in caplog.text
    assert shared.process_id == pid
    assert shared._supervisor.unfinished == 0


def test_close_while_it_loads_again(tmp_path: Path) -> None:
    slow = functools.partial(fakes.slowly, 60.0)
    with engine_of(fakes.only, 1, str(tmp_path / "n"), slow) as engine:
        first = pid_of(engine)
        os.kill(first, signal.SIGKILL)
        until(lambda: engine.process_id not in (None, first))
        second, waiting = pid_of(engine), engine.submit(Request(prompt=[1]))
        begun = time.perf_counter()
        engine.close()
        assert time.perf_counter() - begun < 3
        assert is_gone(second)
        with pytest.raises(ClosedError):
            list(waiting)
