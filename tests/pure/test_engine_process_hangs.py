"""An engine's process that gets nowhere, at work or while it loads; one that takes long; one that cannot be started."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llama_bind.engine import supervisor
from llama_bind.engine.process import EngineProcess
from llama_bind.engine.request import Request
from llama_bind.engine.spawned import Spawned
from llama_bind.errors import EngineCrashedError, EngineFailedError
from tests import child_engines as fakes
from tests.child_engines import SLOW, make
from tests.engine_processes import SECONDS, pid_of, started, text_of, until

HANG = 0.6


@contextlib.contextmanager
def watched(function: Any = fakes.fake, *arguments: Any, hang_timeout: float = HANG, **more: Any) -> Iterator[Any]:
    engine = EngineProcess(make(function, *arguments, **more), hang_timeout=hang_timeout)
    end = threading.Timer(SECONDS, engine.close)  # whatever waits gets an error then, and no test hangs
    end.start()
    try:
        yield engine
    finally:
        end.cancel()
        engine.close()


def test_a_process_that_stops_is_replaced() -> None:
    with watched(n_seq_max=1) as engine:
        running = engine.submit(Request(prompt=[SLOW], max_tokens=400))
        waiting = [engine.submit(Request(prompt=[i], max_tokens=2)) for i in range(1, 6)]
        next(iter(running))
        started(engine)
        os.kill(pid_of(engine), signal.SIGSTOP)
        begun = time.monotonic()
        with pytest.raises(EngineCrashedError, match=r"got nowhere for 0\.6 seconds") as caught:
            list(running)
        assert HANG * 0.5 < time.monotonic() - begun < 10
        assert caught.value.hung == HANG
        assert [text_of(handle)[0] for handle in waiting] == [f" {i + 1} {i + 2}" for i in range(1, 6)]
        assert engine.restarts == 1


def test_an_engine_that_waits_for_ever_is_replaced() -> None:
    with watched(fakes.stuck) as engine:
        handle = engine.submit(Request(prompt=[fakes.STUCK], max_tokens=5))
        with pytest.raises(EngineCrashedError, match="got nowhere"):
            list(handle)
        assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


def test_one_that_only_takes_long_is_left_alone() -> None:
    with watched() as engine:
        slow = engine.submit(Request(prompt=[SLOW], max_tokens=int(3 * HANG / 0.02), buffered=True))
        assert text_of(slow)[1].reason == "length"
        assert engine.restarts == 0


def test_a_step_that_is_seen_to_get_on_may_last() -> None:
    with watched(fakes.long_steps) as engine:
        assert text_of(engine.submit(Request(prompt=[fakes.LONG], max_tokens=1)))[1].reason == "length"
        assert engine.restarts == 0


def test_without_work_it_may_be_silent() -> None:
    with watched() as engine:
        pid = pid_of(engine)
        time.sleep(2 * HANG)
        assert engine.process_id == pid
        os.kill(pid, signal.SIGSTOP)
        time.sleep(2 * HANG)
        assert engine.process_id == pid, "nothing is expected of it"
        asked = engine.submit(Request(prompt=[1], max_tokens=1))
        assert text_of(asked)[0] == " 2", "and now it is: another process does it"
        assert engine.restarts == 1


def test_counters_of_a_process_that_stops() -> None:
    with watched() as engine:
        os.kill(pid_of(engine), signal.SIGSTOP)
        assert engine.stats.requests == 0, "the next process is asked"
        assert engine.restarts == 1


def test_what_cannot_be_started_now_is_started_later(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF", 0.05)
    monkeypatch.setattr(supervisor, "LONGEST_BACKOFF", 0.3)
    file = tmp_path / "model"
    file.write_text("there")
    with watched(fakes.reading, str(file)) as engine:
        text_of(engine.submit(Request(prompt=[1], max_tokens=1)))
        file.unlink()
        os.kill(pid_of(engine), signal.SIGKILL)
        waiting = engine.submit(Request(prompt=[1], max_tokens=1))
        with pytest.raises(EngineFailedError, match="could not be started again"):
            list(waiting)
        for _ in range(3):
            with pytest.raises(EngineFailedError, match="could not be started again"):
                engine.submit(Request(prompt=[1], max_tokens=1))
        assert not engine.closed
        file.write_text("there again")
        until(lambda: engine.restarts == 1)
        assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"


def test_starts_that_fail_become_seldom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF", 0.2)
    count = tmp_path / "n"
    with watched(fakes.only, 1, str(count), fakes.missing) as engine:
        os.kill(pid_of(engine), signal.SIGKILL)
        until(lambda: engine._supervisor.down is not None)
        before = int(count.read_text())
        time.sleep(0.7)  # 0.8 seconds is the wait after the third
        assert int(count.read_text()) <= before + 1
    assert engine.closed


# -- loads -------------------------------------------------------------------------------------------------------

LOAD_HANG = 2.0
"""More than an interpreter takes to start on a busy machine."""


@pytest.mark.parametrize("function", [fakes.waiting, fakes.spinning])
def test_a_load_that_gets_nowhere_is_ended(function: Any, caplog: pytest.LogCaptureFixture) -> None:
    begun = time.monotonic()
    with pytest.raises(EngineFailedError, match=r"got nowhere for 2 seconds while it loaded.*load_hang_timeout"):
        EngineProcess(make(function), load_hang_timeout=LOAD_HANG)
    assert LOAD_HANG * 0.9 < time.monotonic() - begun < SECONDS
    assert "while it loaded" in caplog.text


def test_loads_that_only_take_long_are_left_alone() -> None:
    told: list[float] = []

    def works(function: Any, progress: Any) -> None:
        engine = EngineProcess(make(function, 2 * LOAD_HANG), progress=progress, load_hang_timeout=LOAD_HANG)
        assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"
        assert engine.restarts == 0
        engine.close()

    with ThreadPoolExecutor(3) as pool:
        loads = [
            pool.submit(works, function, progress)
            for function, progress in ((fakes.filling, None), (fakes.telling, None), (fakes.telling, told.append))
        ]
        for load in loads:
            load.result(60)
    assert told == [share / 10 for share in range(10)] + [0.0, 0.5, 1.0]


def test_a_load_that_waits_for_this_process_is_left_alone() -> None:
    """Its progress function is the program's own, and may ask a person."""
    slow = threading.Event()

    def ask(_share: float) -> None:
        if not slow.is_set():
            slow.set()
            time.sleep(2 * LOAD_HANG)

    engine = EngineProcess(make(fakes.fake), progress=ask, load_hang_timeout=LOAD_HANG)
    assert text_of(engine.submit(Request(prompt=[1], max_tokens=1)))[0] == " 2"
    engine.close()


def test_a_later_load_that_gets_nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "MOST_FAILED_LOADS", 1)
    with watched(fakes.only, 1, str(tmp_path / "n"), fakes.waiting, hang_timeout=0) as engine:
        engine._supervisor._load_watchdog.timeout = LOAD_HANG
        os.kill(pid_of(engine), signal.SIGKILL)
        until(lambda: engine.process_id is None or engine._supervisor._is_ready is False)
        waiting = engine.submit(Request(prompt=[1], max_tokens=1))
        with pytest.raises(EngineFailedError, match="while it loaded"):
            list(waiting)


def test_a_process_that_cannot_be_killed_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It waits inside the kernel, as reading from a drive that is gone does."""
    spawned: list[Any] = []

    class Immortal(Spawned):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments)
            spawned.append((self.process, self.process.kill))
            self.process.kill = lambda: None  # type: ignore[method-assign]

    monkeypatch.setattr(supervisor, "Spawned", Immortal)
    monkeypatch.setattr(supervisor, "KILL_TIMEOUT", 0.3)
    try:
        with pytest.raises(EngineFailedError, match="while it loaded"):
            EngineProcess(make(fakes.waiting), load_hang_timeout=LOAD_HANG)
        assert spawned[0][0].poll() is None
    finally:
        for process, kill in spawned:
            kill()
            process.wait(SECONDS)
