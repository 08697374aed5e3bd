"""The engine in a process of its own, on the fake runner: cancelling, what cannot cross, the end."""

from __future__ import annotations

import contextlib
import functools
import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import pytest

from llama_bind.engine import supervisor
from llama_bind.engine.loop import Engine
from llama_bind.engine.process import EngineProcess
from llama_bind.engine.request import Request
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import (
    ClosedError,
    EngineCrashedError,
    ForkedError,
    QueueFullError,
    UnsupportedError,
)
from llama_bind.values import FinishEvent, PieceEvent
from tests import child_engines as fakes
from tests.child_engines import KILL, RAISE, SLOW, make
from tests.engine_processes import (
    ROOT,
    SECONDS,
    Unreadable,
    counted,
    engine_of,
    is_gone,
    pid_of,
    started,
    text_of,
    until,
)
from tests.fakes import FakeRunner


@pytest.fixture(scope="module")
def shared() -> Iterator[EngineProcess]:
    """One that tests may crash but do not close."""
    engine = EngineProcess(make(fakes.fake))
    yield engine
    engine.close()


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
        # 8 run at a time, but more had started: their ends were still under way, on a busy machine of several steps
        assert crashed <= 80, "requests that waited were given up"
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
