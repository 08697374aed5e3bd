"""What runs in an engine's own process: an `Engine`, and a socket to the process that started this one.

Four threads: the main one reads messages, the engine's computes, and one sends what the engine's events put into a
queue: everything that came since it last looked, in one message, so a step wakes it once and costs the engine's thread
no more than the queue. The last looks now and then whether the load or the engine has got on, and says so. When the
other end of the socket is gone, so is this process.

Not for: the other end (``process``), or making the engine (whoever starts the process hands in how).
"""

from __future__ import annotations

import contextlib
import dataclasses
import faulthandler
import logging
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, NoReturn

from llama_bind.engine.signs import LoadSigns
from llama_bind.engine.wire import Channel, Failed, Finished, PromptLogprobs, pack_error
from llama_bind.errors import EngineFailedError, RequestError, UnsupportedError
from llama_bind.values import FinishEvent, PieceEvent

if TYPE_CHECKING:
    from llama_bind.engine.handle import Event, RequestHandle
    from llama_bind.engine.loop import Engine
    from llama_bind.engine.request import Request

__all__ = ["EXIT_ENGINE_FAILED", "Make", "Progress", "Ready", "Service", "Start", "main"]

EXIT_LOAD_FAILED = 3
EXIT_ENGINE_FAILED = 4
MOST_IN_ONE_MESSAGE = 4096
TIMEOUTS = ("queue_timeout", "first_token_timeout", "timeout")

Progress = Callable[[float], Any]
"""Called with the share of the model that is loaded (0 to 1); returning False stops the load."""


@dataclasses.dataclass(frozen=True)
class Service:
    """What a process of its own offers.

    Attributes:
        engine: Takes the requests.
        n_slots: How many requests it runs at once.
        operations: Further things it can be asked for, by name; each is called with the engine first.
        facts: What the other end wants to know; anything that can be pickled.
        close: Ends it all in order.
    """

    engine: Engine
    n_slots: int
    close: Callable[[], None]
    operations: Mapping[str, Callable[..., Any]] = dataclasses.field(default_factory=dict)
    facts: Mapping[str, Any] = dataclasses.field(default_factory=dict)


Make = Callable[["Progress | None"], Service]
"""Loads everything and starts the engine. Pickled, so a function of a module, or a `functools.partial` of one."""


@dataclasses.dataclass(frozen=True)
class Start:
    """The first message to the process.

    `folder`: where relative paths begin. `pulse`: seconds between two looks whether it gets on; 0: none.
    """

    make: bytes
    log_level: int
    progress: bool
    folder: str
    pulse: float = 0.0


@dataclasses.dataclass(frozen=True)
class Ready:
    """The message that the engine runs; limits as `Engine.limits`."""

    limits: tuple[int, int]
    n_slots: int
    facts: Mapping[str, Any]


class _Forward(logging.Handler):
    """Log records to the other end, which has the program's handlers."""

    def __init__(self, outbox: SimpleQueue[Any]) -> None:
        super().__init__()
        self._outbox = outbox

    def emit(self, record: logging.LogRecord) -> None:
        self._outbox.put((None, (record.levelno, record.getMessage())))


@dataclasses.dataclass(eq=False)
class _Running:
    number: int
    prompt_sent: bool
    handle: RequestHandle | None = None
    cancelled: bool = False


class _Child:
    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.outbox: SimpleQueue[Any] = SimpleQueue()
        self.running: dict[int, _Running] = {}
        self.by_handle: dict[RequestHandle, _Running] = {}
        self.submitting = threading.Lock()  # held from a submit until its handle is known
        self.sender = threading.Thread(target=self._send_all, name="llama_bind sender", daemon=True)
        self.service: Service
        self.is_loading = True
        self.share = 0.0  # of the model that is loaded

    # -- messages that come ----------------------------------------------------------------------------------------

    def load(self, start: Start) -> bool:
        """Make the engine; False if that failed, which the other end has been told then."""
        if start.pulse:
            threading.Thread(target=self._pulse, args=(start.pulse,), name="llama_bind pulse", daemon=True).start()
        logger = logging.getLogger("llama_bind")
        logger.setLevel(start.log_level)
        logger.propagate = False
        logger.addHandler(_Forward(self.outbox))
        with contextlib.suppress(OSError):  # gone since then: the error will name the file that is missed
            os.chdir(start.folder)
        try:
            make: Make = pickle.loads(start.make)
            self.service = make(self._progress if start.progress else self._note)
            self.is_loading = False
        except BaseException as error:
            self.finish_sending()
            self.channel.send(("failed", pack_error(error)))
            return False
        service = self.service
        self.channel.send(("ready", Ready(service.engine.limits, service.n_slots, service.facts)))
        return True

    def _pulse(self, every: float) -> None:
        """Say that it gets on: with the load, then with work where there is some. When it does not, silence tells."""
        signs = LoadSigns()
        before: tuple[int, ...] | None = None
        with contextlib.suppress(OSError):  # the other end is gone, and the main thread ends this process
            while True:
                time.sleep(every)
                if self.is_loading:
                    lives = signs.got_on(self.share)
                else:
                    now = self.service.engine.progress
                    lives = bool(self.running) and (now is None or now != before)
                    before = now
                if lives:
                    self.channel.send(("alive",))

    def _note(self, share: float) -> None:
        self.share = share

    def _progress(self, share: float) -> Any:
        self.channel.send(("progress", share))
        return self.channel.receive()

    def serve(self) -> None:
        """Messages until the one to close."""
        while True:
            kind, *values = self.channel.receive()
            if kind == "submit":
                self._submit(*values)
            elif kind == "cancel":
                self._cancel(values[0])
            elif kind == "ask":
                # Others may wait for the engine's thread, and meanwhile cancels must be heard.
                threading.Thread(target=self._answer, args=values, daemon=True).start()
            elif kind == "close":
                return

    def _submit(self, number: int, waited: float, data: bytes) -> None:
        try:
            request: Request = pickle.loads(data)
        except Exception as error:
            text = f"a request could not be read in the engine's process ({type(error).__name__}: {error})"
            self.channel.send(("events", [(number, Failed(pack_error(UnsupportedError(text))))]))
            return
        changes: dict[str, Any] = {"on_start": lambda: self._report(number)}
        if waited:  # in a process before this one
            for name in TIMEOUTS:
                if (seconds := getattr(request, name)) is not None:
                    changes[name] = max(seconds - waited, 1e-3)
        request = dataclasses.replace(request, **changes)
        running = _Running(number, prompt_sent=request.prompt_logprobs is None)
        self.running[number] = running
        if request.constraint is None:
            self._start(running, request)
        else:  # it is compiled first, which may take a while, and meanwhile cancels must be heard
            threading.Thread(target=self._start, args=(running, request), daemon=True).start()

    def _start(self, running: _Running, request: Request) -> None:
        engine = self.service.engine
        try:
            if request.constraint is not None:
                engine.prepare(request.constraint)
            with self.submitting:
                running.handle = engine.submit(request, self.outbox)
                self.by_handle[running.handle] = running
                cancelled = running.cancelled
            if cancelled:
                running.handle.cancel()
        except EngineFailedError as error:
            die(error)
        except Exception as error:
            del self.running[running.number]
            with contextlib.suppress(OSError):  # the other end is gone, and the main thread ends this process
                self.channel.send(("events", [(running.number, Failed(pack_error(error)))]))

    def _cancel(self, number: int) -> None:
        running = self.running.get(number)
        if running is None:
            return
        with self.submitting:
            running.cancelled = True
            handle = running.handle
        if handle is not None:
            handle.cancel()

    def _report(self, number: int) -> None:
        """Say that a request starts, before anything is computed for it: on the engine's thread."""
        with contextlib.suppress(OSError):  # the other end is gone, and the main thread ends this process
            self.channel.send(("started", number))

    def _answer(self, number: int, name: str, arguments: tuple[Any, ...]) -> None:
        engine = self.service.engine
        try:
            if name == "stats":
                value: Any = engine.stats
            elif name == "forget":
                engine.forget()
                value = None
            elif name in self.service.operations:
                value = self.service.operations[name](engine, *arguments)
            else:
                raise UnsupportedError(f"the engine's process has no operation {name!r}")
            answer: tuple[Any, ...] = ("answer", number, value, None)
        except BaseException as error:
            answer = ("answer", number, None, pack_error(error))
        with contextlib.suppress(OSError):
            try:
                self.channel.send(answer)
            except (pickle.PicklingError, TypeError, AttributeError) as error:
                self.channel.send(("answer", number, None, pack_error(RequestError(f"{name}: {error}"))))

    # -- messages that go ------------------------------------------------------------------------------------------

    def finish_sending(self) -> None:
        """Send what is in the queue and stop the thread that does."""
        self.outbox.put(None)
        self.sender.join()

    def _send_all(self) -> None:
        outbox, more = self.outbox, True
        with contextlib.suppress(OSError):
            while more:
                items = [outbox.get()]
                with contextlib.suppress(Empty):
                    while len(items) < MOST_IN_ONE_MESSAGE:
                        items.append(outbox.get_nowait())
                more = None not in items
                self._send([item for item in items if item is not None])

    def _send(self, items: list[tuple[RequestHandle | None, Any]]) -> None:
        events: list[tuple[int, Any]] = []
        for handle, event in items:
            if handle is None:
                self.channel.send(("log", *event))
                continue
            running = self._running_of(handle)
            if not running.prompt_sent:
                running.prompt_sent = True
                events.append((running.number, PromptLogprobs(handle.prompt_logprobs)))
            events.append((running.number, self._payload(handle, event)))
        if events:
            self.channel.send(("events", events))

    def _running_of(self, handle: RequestHandle) -> _Running:
        running = self.by_handle.get(handle)
        if running is None:
            with self.submitting:  # the engine was faster than the return from its submit
                running = self.by_handle[handle]
        return running

    def _payload(self, handle: RequestHandle, event: Event) -> Any:
        if type(event) is PieceEvent:
            return tuple(event)  # pickled in a fifth of the time
        if isinstance(event, EngineFailedError):
            die(event)
        if not isinstance(event, (FinishEvent, BaseException)):
            return event
        running = self.by_handle.pop(handle)
        del self.running[running.number]
        return Failed(pack_error(event)) if isinstance(event, BaseException) else Finished(event, handle.embedding)


def die(error: BaseException) -> NoReturn:
    """End this process, because its engine ended: the next one is better."""
    sys.stderr.write(f"{error}\n")
    sys.stderr.flush()
    os._exit(EXIT_ENGINE_FAILED)


def main(descriptor: int) -> NoReturn:
    """The whole life of the process. `descriptor`: its end of the socket."""
    faulthandler.enable(all_threads=False)  # a crash says where; looking at threads that run on can crash again
    child = _Child(Channel(socket.socket(fileno=descriptor)))
    status = 0
    child.sender.start()
    try:
        if child.load(child.channel.receive()):
            child.serve()
            child.service.close()
            child.finish_sending()
        else:
            status = EXIT_LOAD_FAILED
    except (EOFError, OSError):
        status = 0  # nobody is there any more who could be told
    except BaseException:
        traceback.print_exc()
        status = 1
    sys.stderr.flush()
    os._exit(status)
