"""The engine in a process of its own, on the fake runner: processes are really started and really killed."""

from __future__ import annotations

import contextlib
import functools
import gc
import logging
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from llama_bind.engine import supervisor
from llama_bind.engine.handle import RequestHandle
from llama_bind.engine.loop import Engine
from llama_bind.engine.process import EngineProcess
from llama_bind.engine.request import Request
from llama_bind.engine.sequence import Sequence
from llama_bind.engine.speculative import PromptLookup
from llama_bind.errors import (
    ClosedError,
    ContextOverflowError,
    EngineCrashedError,
    EngineFailedError,
    ForkedError,
    InputError,
    ModelNotFoundError,
    QueueFullError,
    RequestError,
    UnsupportedError,
)
from llama_bind.values import FinishEvent, PieceEvent
from tests import child_engines as fakes
from tests.child_engines import ABORT, EXIT, FAIL_ENGINE, KILL, RAISE, SEGV, SLOW, make
from tests.fakes import FakeRunner

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20.0


@pytest.fixture(scope="module")
def shared() -> Iterator[EngineProcess]:
    """One that tests may crash but do not close."""
    engine = EngineProcess(make(fakes.fake))
    yield engine
    engine.close()


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
        with pytest.raises(EngineCrashedError, match=number.name):
            list(first)
        ended = [handle for handle, event in (order.get(timeout=SECONDS) for _ in range(58)) if handle.done]
        assert list(dict.fromkeys(ended)) == waiting
        assert [handle.request.prompt[0] for handle in dict.fromkeys(ended)] == list(range(1, 30))


def test_a_crash_says_where(shared: EngineProcess) -> None:
    with pytest.raises(EngineCrashedError) as caught:
        list(shared.submit(Request(prompt=[SEGV])))
    assert any("Segmentation fault" in line for line in caught.value.stderr)
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


# -- cancelling --------------------------------------------------------------------------------------------------------


def test_cancel_at_every_stage() -> None:
    with engine_of(n_seq_max=1) as engine:
        running = engine.submit(Request(prompt=[SLOW], max_tokens=400))
        waiting = engine.submit(Request(prompt=[1]))
        next(iter(running))
        waiting.cancel()
        waiting.cancel()
        assert text_of(waiting)[1].reason == "cancelled"
        running.cancel()
        _, finish = text_of(running)
        assert finish.reason == "cancelled"
        running.cancel()
        done = engine.submit(Request(prompt=[1], max_tokens=1))
        assert text_of(done)[0] == " 2"
        done.cancel()
        assert text_of(engine.submit(Request(prompt=[1], max_tokens=2)))[0] == " 2 3"


def test_cancel_while_it_restarts(tmp_path: Path) -> None:
    slow = functools.partial(fakes.slowly, 1.0)
    with engine_of(fakes.only, 1, str(tmp_path / "n"), slow) as engine:
        pid = pid_of(engine)
        os.kill(pid, signal.SIGKILL)
        until(lambda: engine.process_id != pid)
        handle, other = engine.submit(Request(prompt=[1, 2], seed=5)), engine.submit(Request(prompt=[1], max_tokens=1))
        begun = time.perf_counter()
        handle.cancel()
        handle.cancel()
        _, finish = text_of(handle)
        assert time.perf_counter() - begun < 0.5
        assert (finish.reason, finish.usage.prompt_tokens, finish.seed) == ("cancelled", 2, 5)
        assert text_of(other)[0] == " 2"


def test_what_was_cancelled_is_not_run_again() -> None:
    with engine_of(n_seq_max=1) as engine:
        running, waiting, kept = (engine.submit(Request(prompt=[SLOW], max_tokens=n)) for n in (400, 400, 2))
        next(iter(running))
        os.kill(pid_of(engine), signal.SIGSTOP)
        running.cancel()
        waiting.cancel()
        os.kill(pid_of(engine), signal.SIGKILL)
        assert text_of(running)[1].reason == text_of(waiting)[1].reason == "cancelled"
        assert text_of(kept)[1].reason == "length"
        assert engine.stats.requests == 1


def test_ten_thousand_requests() -> None:
    with engine_of(n_seq_max=8) as engine:
        events: Any = SimpleQueue()
        handles = [
            engine.submit(Request(prompt=[1 + i % 800], max_tokens=2, buffered=True), events) for i in range(10_000)
        ]
        until(lambda: engine.stats.finished > 100)
        os.kill(pid_of(engine), signal.SIGKILL)
        left, crashed = set(handles), 0
        while left:
            handle, event = events.get(timeout=60)
            if isinstance(event, PieceEvent):
                assert event.text == counted(handle.request.prompt[0], 2)
            else:
                left.remove(handle)
                crashed += isinstance(event, EngineCrashedError)
                assert isinstance(event, (FinishEvent, EngineCrashedError))
        assert crashed <= 16, "more than had started: their reports were under way"
        assert engine.stats.waiting == 0


def test_max_queue() -> None:
    engine = EngineProcess(make(fakes.fake, n_seq_max=1), max_queue=2)
    with contextlib.closing(engine):
        handles = [engine.submit(Request(prompt=[SLOW], max_tokens=300)) for _ in range(3)]
        with pytest.raises(QueueFullError):
            engine.submit(Request(prompt=[1]))
        for handle in handles:
            handle.cancel()
            text_of(handle)
        assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


# -- what cannot cross -------------------------------------------------------------------------------------------------


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


def test_functions_that_cannot_be_pickled(shared: EngineProcess) -> None:
    with pytest.raises(UnsupportedError, match="picklable"):
        shared.submit(Request(prompt=[1], logits_processors=(lambda _ids, scores: scores,)))
    lock = threading.Lock()
    with pytest.raises(UnsupportedError, match="the request"):
        shared.submit(Request(prompt=[1], stopping_criteria=(functools.partial(max, lock),)))


def test_functions_of_the_script_are_refused() -> None:
    code = """
        from llama_bind.engine.process import EngineProcess
        from llama_bind.engine.request import Request
        from llama_bind.errors import UnsupportedError
        from tests.child_engines import fake

        def processor(ids, scores):
            return scores

        engine = EngineProcess(fake)
        try:
            engine.submit(Request(prompt=[1], logits_processors=(processor,)))
        except UnsupportedError as error:
            print(error)
        print(list(engine.submit(Request(prompt=[1], max_tokens=1)))[0].text)
    """
    output = run(code)
    assert "processor is defined in the script that runs" in output
    assert output.endswith(" 2\n")


def test_a_request_that_cannot_be_read_there_ends_alone(shared: EngineProcess) -> None:
    pid = shared.process_id
    with pytest.raises(UnsupportedError, match="could not be read"):
        list(shared.submit(Request(prompt=[1], proposer=Unreadable())))
    assert text_of(shared.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"
    assert shared.process_id == pid


def test_errors_say_where_they_came_from(shared: EngineProcess) -> None:
    with pytest.raises(ZeroDivisionError, match="by the model") as caught:
        list(shared.submit(Request(prompt=[RAISE])))
    assert "child_engines.py" in str(caught.value.__cause__)


# -- the end -----------------------------------------------------------------------------------------------------------


def test_close_ends_everything() -> None:
    descriptors = set(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else set()
    threads = threading.active_count()
    engine = EngineProcess(make(fakes.fake))
    pid = pid_of(engine)
    handles = [engine.submit(Request(prompt=[SLOW], max_tokens=500)) for _ in range(50)]
    started(engine)
    engine.close()
    engine.close()
    for handle in handles:
        with pytest.raises(ClosedError):
            list(handle)
    with pytest.raises(ClosedError):
        engine.submit(Request(prompt=[1]))
    with pytest.raises(ClosedError):
        engine.forget()
    handles[0].cancel()
    assert engine.closed
    assert is_gone(pid)
    assert threading.active_count() == threads
    if descriptors:
        assert set(os.listdir("/proc/self/fd")) == descriptors


def test_crashes_leak_nothing(shared: EngineProcess) -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("counts descriptors in /proc")
    text_of(shared.submit(Request(prompt=[1], max_tokens=1)))
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with pytest.raises(EngineCrashedError):
            list(shared.submit(Request(prompt=[KILL])))
    text_of(shared.submit(Request(prompt=[1], max_tokens=1)))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_process_that_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "CLOSE_TIMEOUT", 0.3)
    monkeypatch.setattr(supervisor, "KILL_TIMEOUT", 0.3)
    engine = EngineProcess(make(fakes.fake))
    pid = pid_of(engine)
    os.kill(pid, signal.SIGSTOP)
    begun = time.perf_counter()
    engine.close()
    assert time.perf_counter() - begun < 5
    assert is_gone(pid)


def test_a_dropped_engine_ends_its_process() -> None:
    engine = EngineProcess(make(fakes.fake))
    pid, thread = pid_of(engine), engine._supervisor.thread
    text_of(engine.submit(Request(prompt=[1], max_tokens=1)))
    gone = weakref.ref(engine)
    del engine
    gc.collect()
    thread.join(SECONDS)
    assert gone() is None
    assert not thread.is_alive()
    assert is_gone(pid)


def test_a_stream_keeps_its_engine() -> None:
    stream = iter(EngineProcess(make(fakes.fake)).submit(Request(prompt=[SLOW], max_tokens=10)))
    gc.collect()
    assert len(list(stream)) == 11


def test_a_forked_process_has_no_part_in_it() -> None:
    with engine_of() as engine:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            told = b""
            for use in (lambda: engine.submit(Request(prompt=[1])), engine.forget):
                try:
                    use()
                except ForkedError:
                    told += b"forked "
            engine.close()
            os.write(write, told)
            os._exit(0)
        os.waitpid(pid, 0)
        assert os.read(read, 100) == b"forked forked "
        os.close(read)
        os.close(write)
        assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


def run(code: str) -> str:
    prelude = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", prelude + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return done.stdout


def test_the_process_dies_with_the_program_even_when_a_fork_of_it_lives() -> None:
    code = """
        import os, signal, subprocess, sys, time
        from llama_bind.engine.process import EngineProcess
        from llama_bind.engine.request import Request
        from tests.child_engines import SLOW, fake

        engine = EngineProcess(fake)
        stream = iter(engine.submit(Request(prompt=[SLOW], max_tokens=2000)))
        next(stream)
        print(engine.process_id, flush=True)
        if os.fork() == 0:
            time.sleep(5)
            os._exit(0)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    prelude = f"import sys; sys.path.insert(0, {str(ROOT)!r})\n"
    program = subprocess.Popen(
        [sys.executable, "-c", prelude + textwrap.dedent(code)], stdout=subprocess.PIPE, text=True, cwd=ROOT
    )
    assert program.stdout is not None
    pid = int(program.stdout.readline())
    begun = time.monotonic()
    program.wait(SECONDS)
    until(lambda: is_dead(pid), 4)
    assert time.monotonic() - begun < 4.5
    program.stdout.close()


def is_dead(pid: int) -> bool:
    """As `is_gone`, for a process whose parent may not have taken notice yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return is_gone(pid)


def test_the_interpreter_exits_in_order() -> None:
    code = """
        from llama_bind.engine.process import EngineProcess
        from llama_bind.engine.request import Request
        from tests.child_engines import SLOW, fake

        engine = EngineProcess(fake)
        handle = engine.submit(Request(prompt=[SLOW], max_tokens=2000))
        next(iter(handle))
        print(engine.process_id)
    """
    assert is_dead(int(run(code)))


def test_ctrl_c_in_a_terminal_does_not_reach_it(shared: EngineProcess) -> None:
    pid = pid_of(shared)
    assert os.getpgid(pid) == pid != os.getpgid(0)
    assert os.getsid(pid) == pid


def test_a_start_is_told_before_anything_is_computed() -> None:
    order: list[str] = []

    def computed(_sequence: Sequence) -> int:
        order.append("computed")
        return 5

    engine = Engine(FakeRunner(next_token=computed))  # type: ignore[arg-type]
    text_of(engine.submit(Request(prompt=[1], max_tokens=1, on_start=lambda: order.append("started"))))
    assert order == ["started", "computed"]
    engine.close()
