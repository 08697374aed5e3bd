"""The thread that looks after an engine's process: starts it, sends requests in, gives events out, starts it again.

Everything that other threads want (a request, a cancel, the end) is a function in an inbox, which this thread runs
between two looks at the process's socket: its state needs no locks. A request is kept until it starts in the form in
which it was sent. When the process dies, the requests that it had reported as started end with `EngineCrashedError`;
those that still waited are sent to the next process, in their order. A process that works or loads and says nothing for
too long hangs, and is killed. Where no process can be started, requests are refused until one can: that is tried again
and again, more and more seldom.

Not for: what callers hold (``process``), or descriptors (``spawned``).
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import selectors
import signal
import socket
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from llama_bind.engine.child import EXIT_LOAD_FAILED, Ready, Start
from llama_bind.engine.handle import RequestHandle
from llama_bind.engine.records import Ask, Record
from llama_bind.engine.spawned import Spawned
from llama_bind.engine.watchdog import Watchdog
from llama_bind.engine.wire import Failed, Finished, PromptLogprobs, unpack_error
from llama_bind.engine.worker import exiting
from llama_bind.errors import (
    ClosedError,
    EngineCrashedError,
    EngineFailedError,
    QueueFullError,
    UnsupportedError,
    signal_name,
)
from llama_bind.values import FinishEvent, PieceEvent, Timings, Usage

__all__ = ["Supervisor"]

MOST_FAILED_LOADS = 3
"""In a row, after which requests do not wait for a process any more."""
MOST_LOST_STARTS = 3
"""How often a request may be in a process that died before any request was started in it."""
HARMLESS = ("stats", "slots", "forget")
"""Operations that can be asked again of another process."""
BACKOFF = 0.5
"""Seconds before another start after the first failed load; each further one doubles them."""
LONGEST_BACKOFF = 30.0
CLOSE_TIMEOUT = 10.0
"""Seconds that the process has to end in order; then it is told to terminate, and KILL_TIMEOUT later it is killed."""
KILL_TIMEOUT = 2.0
LOAD_HANGS = (
    "the engine's process got nowhere for {:g} seconds while it loaded, and was ended: it read nothing and filled no "
    "memory. See whether the drive with the model's file answers, and the device it is loaded to; load_hang_timeout "
    "sets the seconds (0: wait for ever)"
)

logger = logging.getLogger("llama_bind")


class Supervisor:
    """The state and the thread. It knows nothing of the `EngineProcess` that callers hold.

    Args:
        start: The first message to every process.
        max_queue: Most requests that wait besides those that run; None for any number.
        hang_timeout: Seconds of silence after which a process that has work is killed; 0: never.
        load_hang_timeout: Likewise for one that loads.

    Attributes:
        failure: Why nothing can be computed any more.
        down: Why nothing can be computed now.
    """

    def __init__(
        self, start: Start, max_queue: int | None, hang_timeout: float = 0.0, load_hang_timeout: float = 0.0
    ) -> None:
        self.start_message = start
        self.max_queue = max_queue
        self.news: SimpleQueue[tuple[str, Any]] = SimpleQueue()  # how the first load goes, for the constructor
        self.pid = os.getpid()
        self.ready: Ready | None = None  # of the last process that was
        self.restarts = 0
        self.failure: BaseException | None = None
        self.down: BaseException | None = None
        self.stopping = threading.Event()
        self.unfinished = 0  # submitted and not ended; guarded by the lock
        self.lock = threading.Lock()
        self.thread = threading.Thread(target=self.main, name="llama_bind engine process", daemon=True)
        self._records: dict[int, Record] = {}
        self._numbers: dict[RequestHandle, int] = {}
        self._asks: dict[int, Ask] = {}
        self._kept: dict[str, Ask] = {}  # the last of each name
        self._next_number = 0
        self._inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._woken = False
        for end in (self._wake_read, self._wake_write):
            end.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._on_wake)
        self._process: Spawned | None = None
        self._is_ready = False  # the process that is there now
        self._any_started = False  # a request, in the process that is there now
        self._load_error: BaseException | None = None
        self._failed_loads = 0
        self._watchdog = Watchdog(hang_timeout)
        self._load_watchdog = Watchdog(load_hang_timeout)
        self._asks_us = False  # the process that loads waits for what `reply` will say
        self._hung = False  # the process that is there now, and it is being killed
        self._timer: tuple[float, Callable[[], None]] | None = None
        self._finished = False

    # -- called from any thread ------------------------------------------------------------------------------------

    def submit(self, handle: RequestHandle, data: bytes) -> None:
        ready = self.ready
        assert ready is not None
        with self.lock:
            self.check_open()
            if self.max_queue is not None and self.unfinished >= self.max_queue + ready.n_slots:
                raise QueueFullError(self.max_queue)
            self.unfinished += 1
            self._next_number += 1
            record = Record(self._next_number, handle, data, time.perf_counter())
            self._inbox.put(lambda: self._arrive(record))
        self._wake()

    def cancel(self, handle: RequestHandle) -> None:
        """Takes no lock: the garbage collector may call it at any place."""
        if not handle.done and self.pid == os.getpid():
            self._inbox.put(lambda: self._cancel(handle))
            self._wake()

    def ask(self, name: str, arguments: tuple[Any, ...], *, keep: bool = False) -> Any:
        box: SimpleQueue[tuple[Any, BaseException | None]] = SimpleQueue()
        with self.lock:
            self.check_open()
            self._next_number += 1
            asked = Ask(self._next_number, name, arguments, box, keep)
            self._inbox.put(lambda: self._ask(asked))
        self._wake()
        value, error = box.get()
        if error is not None:
            raise error
        return value

    def check_open(self) -> None:
        failure = self.failure or self.down
        if failure is not None:
            raise EngineFailedError(str(failure)) from failure
        if self.stopping.is_set():
            raise ClosedError("the engine")

    def reply(self, value: Any) -> None:
        """Answer the process's question whether to go on loading."""
        self._inbox.put(lambda: self._reply(value))
        self._wake()

    def shutdown(self) -> None:
        """Static in spirit: runs as a finalizer, at interpreter exit too."""
        if self.pid != os.getpid():
            return
        with self.lock:
            self.stopping.set()
        self._inbox.put(self._close)
        self._wake()
        if self.thread.is_alive() and threading.current_thread() is not self.thread:
            self.thread.join()

    @property
    def process_id(self) -> int | None:
        process = self._process
        return None if process is None else process.process.pid

    def _wake(self) -> None:
        if not self._woken:
            self._woken = True
            with contextlib.suppress(OSError):  # full: it will wake; closed: the thread has ended
                self._wake_write.send(b"w")

    # -- the thread ------------------------------------------------------------------------------------------------

    def main(self) -> None:
        try:
            self._spawn()
            while not self._finished:
                for key, events in self._selector.select(self._wait()):
                    key.data(events)
                self._watch()
                if self._timer is not None and time.monotonic() >= self._timer[0]:
                    _, action = self._timer
                    self._timer = None
                    action()
        except BaseException as error:
            self.failure = EngineFailedError(f"the thread that looks after the engine's process ended: {error!r}")
            self.failure.__cause__ = error
        with self.lock:
            self.stopping.set()
        if self._process is not None:
            self._process.process.kill()
            self._process.reap(0)
        if self.failure is not None:
            self.news.put(("failed", self.failure))
        self._end_all()
        self._run_inbox()
        self._end_all()
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def _wait(self) -> float | None:
        """Seconds until something is due that nobody will tell."""
        timer = None if self._timer is None else self._timer[0]
        due = [at for at in (self._watchdog.due, self._load_watchdog.due, timer) if at is not None]
        return max(min(due) - time.monotonic(), 0.0) if due else None

    def _watch(self) -> None:
        """See to it that a process which hangs does not do so for ever. Everything that came was read before."""
        now, watchdog = time.monotonic(), self._watchdog
        asked = bool(self._asks) and any(asked.name in HARMLESS for asked in self._asks.values())
        watchdog.work(self._is_ready and not self._hung and (bool(self._records) or asked), now)
        loads = self._process is not None and not self._is_ready and not self._hung and not self.stopping.is_set()
        self._load_watchdog.work(loads and not self._asks_us, now)
        if self._process is None:
            return
        if watchdog.hangs(now):
            logger.error("the engine's process has got nowhere for %g seconds; it is killed", watchdog.timeout)
            self._end_hung(self._process)
        elif self._load_watchdog.hangs(now):
            self._load_error = EngineFailedError(LOAD_HANGS.format(self._load_watchdog.timeout))
            logger.error("%s", self._load_error)
            self._end_hung(self._process)

    def _end_hung(self, process: Spawned) -> None:
        self._hung = True
        process.process.kill()  # its socket ends then, and all else follows from that
        self._timer = (time.monotonic() + KILL_TIMEOUT, self._abandon)

    def _abandon(self) -> None:
        """A process that was killed is there still: it waits inside the kernel, for a drive that is gone."""
        if self._process is not None:
            logger.error("the engine's process cannot be ended; it is left alone")
            self._process.abandon()
            self._ended(-signal.SIGKILL, self._process)

    def _on_wake(self, _events: int) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wake_read.recv(4096)
        self._woken = False  # before looking into the inbox: what comes later wakes again
        self._run_inbox()

    def _run_inbox(self) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._inbox.get_nowait()()

    def _end_all(self) -> None:
        if exiting.is_set:
            return  # daemon threads that wait at exit are left waiting: an error would print a traceback
        for record in list(self._records.values()):
            self._end(record, self._closing_error())
        for asked in self._asks.values():
            asked.box.put((None, self._closing_error()))
        self._asks.clear()

    def _closing_error(self) -> BaseException:
        failure = self.failure or self.down
        return ClosedError("the engine") if failure is None else EngineFailedError(str(failure))

    # -- requests --------------------------------------------------------------------------------------------------

    def _arrive(self, record: Record) -> None:
        self._records[record.number] = record
        self._numbers[record.handle] = record.number
        if self._is_ready:
            self._send_record(record)

    def _send_record(self, record: Record) -> None:
        record.sent = True
        waited = time.perf_counter() - record.arrived if self.restarts else 0.0
        self._send(("submit", record.number, waited, record.data))

    def _cancel(self, handle: RequestHandle) -> None:
        number = self._numbers.get(handle)
        if number is None:
            return
        record = self._records[number]
        record.cancelled = True
        if record.sent:
            self._send(("cancel", number))
        else:
            self._end_cancelled(record)

    def _end_cancelled(self, record: Record) -> None:
        request, waited = record.handle.request, time.perf_counter() - record.arrived
        timings = Timings(queued=waited, prompt=0.0, generation=0.0, prompt_tokens=0, generated_tokens=0)
        self._end(record, FinishEvent("cancelled", Usage(len(request.prompt), 0), timings, request.seed))

    def _end(self, record: Record, event: FinishEvent | BaseException) -> None:
        self._forget(record)
        try:
            record.handle.deliver(event)
        except Exception:
            logger.exception("whoever takes the events of a request raised")

    def _forget(self, record: Record) -> None:
        del self._records[record.number]
        del self._numbers[record.handle]
        with self.lock:
            self.unfinished -= 1

    def _ask(self, asked: Ask) -> None:
        self._asks[asked.number] = asked
        if self._is_ready:
            self._send_ask(asked)

    def _send_ask(self, asked: Ask) -> None:
        asked.sent = True
        self._send(("ask", asked.number, asked.name, asked.arguments))

    # -- the process -----------------------------------------------------------------------------------------------

    def _spawn(self) -> None:
        self._load_error = None
        self._any_started = self._hung = self._asks_us = False
        try:
            self._process = Spawned(self._selector, self._on_message, self._on_end)
        except (OSError, UnsupportedError) as error:
            text = f"no process could be started for the engine: {error}"
            self._load_error = EngineFailedError(text) if isinstance(error, OSError) else error
            self._on_failed_load(EXIT_LOAD_FAILED, ())
            return
        first = self.ready is None
        self._send(self.start_message if first else dataclasses.replace(self.start_message, progress=False))

    def _reply(self, value: Any) -> None:
        self._asks_us = False
        self._send(value)

    def _send(self, message: Any) -> None:
        if self._process is not None:
            self._process.send(message)

    def _on_message(self, message: tuple[Any, ...]) -> None:
        kind, *values = message
        now = time.monotonic()
        self._watchdog.heard(now)
        self._load_watchdog.heard(now)
        if kind == "events":
            for number, payload in values[0]:
                record = self._records.get(number)
                if record is not None:  # else it was ended here meanwhile
                    self._on_event(record, payload)
        elif kind == "started":
            record = self._records.get(values[0])
            self._any_started = True
            if record is not None:
                record.started = True
                record.data = b""  # it will not be sent again
        elif kind == "log":
            logger.log(values[0], "%s", values[1])
        elif kind == "answer":
            asked = self._asks.pop(values[0], None)
            if asked is not None:
                if asked.keep and values[2] is None:
                    self._kept[asked.name] = asked
                asked.box.put((values[1], None if values[2] is None else unpack_error(values[2])))
        elif kind == "ready":
            self._on_ready(values[0])
        elif kind == "failed":
            self._load_error = unpack_error(values[0])
        elif kind == "progress":
            self._asks_us = True
            self.news.put(("progress", values[0]))

    def _on_event(self, record: Record, payload: Any) -> None:
        handle = record.handle
        record.started = True
        if isinstance(payload, Finished):
            handle.embedding = payload.embedding
            self._end(record, payload.event)
        elif isinstance(payload, Failed):
            self._end(record, unpack_error(payload.error))
        elif isinstance(payload, PromptLogprobs):
            handle.prompt_logprobs = payload.values
        else:
            try:
                handle.emit(PieceEvent(*payload) if type(payload) is tuple else payload)
            except Exception:  # it must not end others: this request is given up
                logger.exception("whoever takes the events of a request raised")
                self._forget(record)
                self._send(("cancel", record.number))

    def _on_ready(self, ready: Ready) -> None:
        if self.ready is not None:
            self.restarts += 1
        self.ready = ready
        self._is_ready = True
        self._failed_loads = 0
        if self.down is not None:
            logger.warning("the engine's process could be started again")
            self.down = None
        if self.stopping.is_set():
            return
        self.news.put(("ready", None))
        for asked in self._kept.values():
            self._send_ask(asked)  # its answer is for nobody
        for record in list(self._records.values()):
            self._send_record(record)
        for asked in self._asks.values():
            self._send_ask(asked)

    def _on_end(self) -> None:
        """The process is gone, or has closed its socket and goes."""
        assert self._process is not None
        self._ended(self._process.reap(KILL_TIMEOUT), self._process)

    def _ended(self, code: int, process: Spawned) -> None:
        stderr, self._process, self._timer = process.stderr, None, None
        was_ready, self._is_ready = self._is_ready, False
        self._run_inbox()  # who was cancelled before is not told of a crash
        if self.stopping.is_set():
            self._finished = True
        elif was_ready:
            logger.error("the engine's process ended with %s; starting another", signal_name(code) or code)
            self._on_crash(code, stderr)
            self._spawn()
        else:
            self._on_failed_load(code, stderr)

    def _on_crash(self, code: int, stderr: tuple[str, ...]) -> None:
        for record in list(self._records.values()):
            record.lost += record.sent and not self._any_started
            if record.cancelled:
                self._end_cancelled(record)
            elif record.started or record.lost >= MOST_LOST_STARTS:
                self._end(record, self._crashed(code, stderr))
            record.sent = False
        for asked in [asked for asked in self._asks.values() if asked.sent]:
            if asked.name in HARMLESS:
                continue  # the next process is asked
            del self._asks[asked.number]
            asked.box.put((None, self._crashed(code, stderr)))

    def _crashed(self, code: int, stderr: tuple[str, ...]) -> EngineCrashedError:
        return EngineCrashedError(code, stderr, hung=self._watchdog.timeout if self._hung else 0.0)

    def _on_failed_load(self, code: int, stderr: tuple[str, ...]) -> None:
        self._failed_loads += 1
        error = self._load_error
        if error is None:
            how = signal_name(code) or f"exit code {code}"
            error = EngineFailedError("\n".join([f"the engine's process ended with {how} while loading", *stderr]))
        if self.ready is None:
            self.news.put(("failed", error))
            self._finished = True
            return
        logger.error("the engine's process did not start again: %s", error)
        if self._failed_loads >= MOST_FAILED_LOADS:
            text = f"the engine's process could not be started again, {self._failed_loads} times in a row: {error}"
            down = EngineFailedError("\n".join([text, *(stderr if code != EXIT_LOAD_FAILED else ())]))
            down.__cause__ = error
            with self.lock:  # what is submitted from here on is refused
                self.down = down
            self._run_inbox()
            self._end_all()
        if not self.stopping.is_set():
            wait = min(BACKOFF * 2.0 ** min(self._failed_loads - 1, 20), LONGEST_BACKOFF)
            self._timer = (time.monotonic() + wait, self._spawn)

    def _close(self) -> None:
        self._end_all()
        if self._process is None:
            self._finished = True
        elif self._is_ready:
            self._send(("close",))
            self._timer = (time.monotonic() + CLOSE_TIMEOUT, self._terminate)
        else:
            self._terminate()  # it loads, and does not listen meanwhile

    def _terminate(self) -> None:
        if self._process is not None:
            self._process.process.terminate()
            self._timer = (time.monotonic() + KILL_TIMEOUT, self._kill)

    def _kill(self) -> None:
        if self._process is not None:
            self._process.process.kill()
