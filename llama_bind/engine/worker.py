"""The engine's thread and the way to it: messages in, cancels, deadlines, the end. One request never ends another.

The thread works on a `Worker` that knows nothing of the `Engine` that callers hold, so that dropping the last engine
ends the thread. Not for: what happens in a step (steps), to a request (desk), or what callers hold (loop, handle).
"""

from __future__ import annotations

import atexit
import functools
import os
import threading
import weakref
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from llama_bind.engine.budget import StepBudget
from llama_bind.engine.deadlines import Deadlines
from llama_bind.engine.desk import Desk
from llama_bind.engine.flight import Flight
from llama_bind.engine.guessing import Drafter, Guesser
from llama_bind.engine.handle import Events, RequestHandle
from llama_bind.engine.keeper import Keeper
from llama_bind.engine.overflow import fitted
from llama_bind.engine.request import Request
from llama_bind.engine.scheduler import Scheduler
from llama_bind.engine.slots import SlotState, slot_states
from llama_bind.engine.stats import EngineStats
from llama_bind.engine.steps import Steps
from llama_bind.engine.store import TieredStore
from llama_bind.errors import (
    ClosedError,
    EngineFailedError,
    ForkedError,
    QueueFullError,
    UnsupportedError,
)
from llama_bind.values import FinishEvent, Timings, Usage

if TYPE_CHECKING:
    from llama_bind.engine.runner import Runner

__all__ = ["Worker", "exiting"]

T = TypeVar("T")


class Exiting:
    """Whether the interpreter is exiting. Registered late, so that it is told before finalizers run."""

    is_registered = False
    is_set = False

    def register(self) -> None:
        self.is_registered = True
        atexit.register(self._set)

    def _set(self) -> None:
        self.is_set = True


exiting = Exiting()


class Worker:
    """The state of an engine and the thread that works on it. See the module."""

    def __init__(
        self,
        runner: Runner,
        max_queue: int | None = None,
        step_target: float | None = None,
        drafter: Drafter | None = None,
        store: TieredStore | None = None,
    ) -> None:
        context = runner.context
        shared = context.kv_unified and context.n_seq_max > 1 and context.memory.exists
        cells = context.n_ctx if shared else None
        self.runner = runner
        self.max_queue = max_queue
        self.limit = min(context.n_ctx_seq, context.model.n_pos_max or context.n_ctx_seq)
        self.embed_limit = min(self.limit, context.n_ubatch) if context.whole_texts else self.limit
        self.n_slots = context.n_seq_max
        self._n_cells = context.n_ctx if cells is not None else context.n_ctx_seq * context.n_seq_max
        self.scheduler = Scheduler(
            context.n_seq_max,
            context.n_batch,
            cells,
            whole_texts=context.whole_texts,
            embed_budget=context.n_ubatch,
            can_cut=runner.can_cut,
            copy_worth=runner.copy_worth,
        )
        self.stats = EngineStats()
        self.inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.flight = Flight(self._abort)
        self.desk = Desk(runner, self.scheduler, self.stats, self.limit)
        self.keeper = Keeper(runner, self.scheduler, self.stats)
        self.keeper.use(store)
        self.steps = Steps(
            runner,
            self.scheduler,
            self.desk,
            self.flight,
            self.stats,
            StepBudget(step_target, context.n_batch),
            Guesser(context.model.vocab.n_tokens, context.n_batch, drafter),
            self.keeper,
            idle=self.inbox.empty,
            window=self.limit,
        )
        self.deadlines = Deadlines()
        self.pid = os.getpid()
        self.failure: BaseException | None = None
        self._rounds = 0
        self._has_drafter = drafter is not None
        self.thread = threading.Thread(target=self.main, name="llama_bind engine", daemon=True)

    # -- called from any thread ------------------------------------------------------------------------------------

    def submit(self, request: Request, events: Events | None = None) -> RequestHandle:
        self._check_open()
        limit = self.limit if request.kind == "generate" else self.embed_limit
        request = fitted(request, limit)
        n = len(request.prompt)
        if request.reproducible and self.scheduler.cells is not None:
            raise UnsupportedError(
                "reproducible=True needs sequences with memory of their own: load with kv_unified=False"
            )
        if request.constraint is not None:
            self.runner.make_constraint(request.constraint)  # compiled here, and not while others wait for the engine
        handle = RequestHandle(request, self.cancel, events)
        if n > limit:
            handle.deliver(FinishEvent("length", Usage(n, 0), Timings(0.0, 0.0, 0.0, 0, 0), request.seed))
            return handle
        with self.flight.lock:
            if self.max_queue is not None and self.desk.unfinished >= self.max_queue + self.n_slots:
                raise QueueFullError(self.max_queue)
            self._post_locked(lambda: self.desk.arrive(handle))
            with self.desk.lock:
                self.desk.unfinished += 1
        self._set_deadlines(handle)
        return handle

    def _set_deadlines(self, handle: RequestHandle) -> None:
        request, known = handle.request, weakref.ref(handle)

        def needed() -> bool:
            alive = known()
            return alive is not None and not alive.done

        stages = (("queue", request.queue_timeout), ("first", request.first_token_timeout), ("end", request.timeout))
        for stage, seconds in stages:
            if seconds is not None:
                self.deadlines.add(seconds, functools.partial(self._expire, known, stage), needed)

    def _expire(self, known: weakref.ref[RequestHandle], stage: str) -> None:
        """A deadline has come; called by the thread of the deadlines."""
        handle = known()
        if handle is None or handle.done:
            return
        with self.desk.lock:
            sequence = self.desk.sequences.get(handle)
        if sequence is not None:
            reached = {"queue": sequence.t_start, "first": sequence.t_first, "end": 0.0}[stage]
            if reached:
                return
        self.inbox.put(lambda: self.desk.mark(handle, "deadline"))
        self.flight.cancel(sequence)

    def call(self, function: Callable[[Runner], T]) -> T:
        self._check_open()
        if threading.current_thread() is self.thread:
            return function(self.runner)
        box: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

        def job() -> None:
            if self.flight.stopping.is_set():
                box.put((False, ClosedError("the engine")))
                return
            try:
                box.put((True, function(self.runner)))
            except BaseException as error:
                box.put((False, error))

        self._post(job)
        done, value = box.get()
        if not done:
            raise value
        result: T = value
        return result

    def cancel(self, handle: RequestHandle) -> None:
        if handle.done or self.pid != os.getpid():
            return
        self.inbox.put(lambda: self.desk.mark(handle, "cancelled"))
        with self.desk.lock:
            sequence = self.desk.sequences.get(handle)
        self.flight.cancel(sequence)

    def shutdown(self) -> None:
        """Static in spirit: runs as a finalizer, at interpreter exit too."""
        if self.pid != os.getpid():
            return
        self.flight.stop()
        self.deadlines.close()
        self.inbox.put(lambda: None)
        if self.thread.is_alive() and threading.current_thread() is not self.thread:
            self.thread.join()

    def snapshot(self) -> EngineStats:
        stats = self.stats.copy()
        stats.running = len(self.scheduler.running)
        stats.waiting = len(self.desk.sequences) - stats.running
        stats.preemptions, stats.moves = self.scheduler.preemptions, self.scheduler.moves
        stats.cells_used, stats.cells_total = self.scheduler.cells_used, self._n_cells
        return stats

    def slots(self) -> list[SlotState]:
        """What runs, by slot."""
        return slot_states(self.scheduler.running, drafter=self._has_drafter)

    def progress(self) -> tuple[int, ...] | None:
        """Numbers that change as the thread gets on, also in a step that takes long; None: it has nothing to do."""
        if self.scheduler.idle and self.inbox.empty():
            return None
        computed = [sequence.n_computed for sequence in tuple(self.scheduler.running)]
        return (self._rounds, self.runner.nodes_done, *computed)

    def _check_open(self) -> None:
        if self.pid != os.getpid():
            raise ForkedError("this model's engine")
        if self.failure is not None:
            raise EngineFailedError(f"the engine ended: {self.failure}") from self.failure
        if self.flight.stopping.is_set():
            raise ClosedError("the engine")

    def _post(self, message: Callable[[], None]) -> None:
        with self.flight.lock:
            self._post_locked(message)

    def _post_locked(self, message: Callable[[], None]) -> None:
        if self.flight.stopping.is_set():  # nobody reads the inbox any more
            raise ClosedError("the engine")
        self.inbox.put(message)

    def _abort(self) -> None:
        self.runner.abort()

    # -- the thread ------------------------------------------------------------------------------------------------

    def main(self) -> None:
        try:
            while not self.flight.stopping.is_set():
                self._drain(wait=self.scheduler.idle)
                self._rounds += 1
                self.steps.step()
        except BaseException as error:
            self.failure = error
            self.flight.stop()
        if self.failure is None:
            self.keeper.close()
        if exiting.is_set:
            return  # daemon threads that wait at exit are left waiting: an error would print a traceback
        cause = self.failure
        self.desk.end_all(
            ClosedError("the engine") if cause is None else EngineFailedError(f"the engine ended: {cause}")
        )
        self._drain(wait=False)
        self.desk.end_all(ClosedError("the engine"))

    def _drain(self, *, wait: bool) -> None:
        try:
            if wait:
                self.inbox.get()()
            while True:
                self.inbox.get_nowait()()
        except Empty:
            return
