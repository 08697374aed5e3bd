"""The engine's thread: takes messages, plans, runs, applies. One request never ends another.

The thread works on a `Worker` that knows nothing of the `Engine` that callers hold, so that dropping the last engine
ends the thread. Not for: what to compute (scheduler), how (runner), or what callers hold (loop, handle).
"""

from __future__ import annotations

import atexit
import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any, TypeVar

from llama_bind.engine.handle import Events, RequestHandle
from llama_bind.engine.outcome import Sampled
from llama_bind.engine.output import merged_pieces, text_of, timings_of
from llama_bind.engine.request import Request
from llama_bind.engine.scheduler import Chunk, Scheduler, StepPlan
from llama_bind.engine.sequence import Phase, Sequence
from llama_bind.engine.stats import EngineStats
from llama_bind.errors import (
    ClosedError,
    ContextOverflowError,
    DecodeAbortedError,
    EngineFailedError,
    ForkedError,
    InputError,
    NativeAbortError,
    QueueFullError,
    TokenError,
)
from llama_bind.values import FinishEvent, FinishReason, TokenLogprob, Usage

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

    def __init__(self, runner: Runner, max_queue: int | None = None) -> None:
        context = runner.context
        cells = context.n_ctx if context.kv_unified and context.n_seq_max > 1 else None
        self.runner = runner
        self.max_queue = max_queue
        self.unfinished = 0  # submitted and not ended; guarded by the lock
        self.limit = min(context.n_ctx_seq, context.model.n_pos_max or context.n_ctx_seq)
        self.embed_limit = min(self.limit, context.n_ubatch)
        self.n_slots = context.n_seq_max
        self.scheduler = Scheduler(context.n_seq_max, context.n_batch, cells)
        self.n_vocab = context.model.vocab.n_tokens
        self.eog = context.model.vocab.eog_tokens
        self.piece = context.model.vocab.token_to_piece
        self.inbox: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self.sequences: dict[RequestHandle, Sequence] = {}
        self.handles: dict[Sequence, RequestHandle] = {}
        self.to_cancel: list[Sequence] = []
        self.stats = EngineStats()
        self.last_slot = 0
        self.arrivals = 0
        self.pid = os.getpid()
        self.lock = threading.Lock()  # guards in_flight and stopping against the threads that cancel
        self.in_flight: StepPlan | None = None
        self.stopping = threading.Event()
        self.failure: BaseException | None = None
        self.thread = threading.Thread(target=self.main, name="llama_bind engine", daemon=True)

    # -- called from any thread ------------------------------------------------------------------------------------

    def submit(self, request: Request, events: Events | None = None) -> RequestHandle:
        self._check_open()
        n = len(request.prompt)
        limit = self.limit if request.kind == "generate" else self.embed_limit
        if n == 0:
            raise InputError("the prompt has no tokens; give at least one", param="prompt")
        if n > limit:
            raise ContextOverflowError(n, limit)
        handle = RequestHandle(request, self.cancel, events)
        with self.lock:
            if self.max_queue is not None and self.unfinished >= self.max_queue + self.n_slots:
                raise QueueFullError(self.max_queue)
            self._post_locked(lambda: self._arrive(handle))
            self.unfinished += 1
        return handle

    def call(self, function: Callable[[Runner], T]) -> T:
        self._check_open()
        if threading.current_thread() is self.thread:
            return function(self.runner)
        box: SimpleQueue[tuple[bool, Any]] = SimpleQueue()

        def job() -> None:
            if self.stopping.is_set():
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
        self.inbox.put(lambda: self._mark_cancelled(handle))
        with self.lock:
            sequence = self.sequences.get(handle)
            if sequence is not None:
                sequence.cancelled = True
            self._abort_if_useless()

    def shutdown(self) -> None:
        """Static in spirit: runs as a finalizer, at interpreter exit too."""
        if self.pid != os.getpid():
            return
        with self.lock:
            self.stopping.set()
            if self.in_flight is not None:
                self.runner.abort()
        self.inbox.put(lambda: None)
        if self.thread.is_alive() and threading.current_thread() is not self.thread:
            self.thread.join()

    def snapshot(self) -> EngineStats:
        stats = self.stats.copy()
        stats.running = len(self.scheduler.running)
        stats.waiting = len(self.sequences) - stats.running
        return stats

    def _check_open(self) -> None:
        if self.pid != os.getpid():
            raise ForkedError("this model's engine")
        if self.failure is not None:
            raise EngineFailedError(f"the engine ended: {self.failure}") from self.failure
        if self.stopping.is_set():
            raise ClosedError("the engine")

    def _post(self, message: Callable[[], None]) -> None:
        with self.lock:
            self._post_locked(message)

    def _post_locked(self, message: Callable[[], None]) -> None:
        if self.stopping.is_set():  # nobody reads the inbox any more
            raise ClosedError("the engine")
        self.inbox.put(message)

    def _abort_if_useless(self) -> None:
        if self.in_flight is not None and all(c.sequence.cancelled for c in self.in_flight.chunks):
            self.runner.abort()

    # -- the thread ------------------------------------------------------------------------------------------------

    def main(self) -> None:
        try:
            while not self.stopping.is_set():
                self._drain(wait=self.scheduler.idle)
                self.step()
        except BaseException as error:
            self.failure = error
            with self.lock:
                self.stopping.set()
        if exiting.is_set:
            return  # daemon threads that wait at exit are left waiting: an error would print a traceback
        cause = self.failure
        self._end_all(ClosedError("the engine") if cause is None else EngineFailedError(f"the engine ended: {cause}"))
        self._drain(wait=False)
        self._end_all(ClosedError("the engine"))

    def step(self) -> None:
        """Plan, run, apply."""
        self._drop_cancelled()
        self._admit()
        self._propose()
        if self._run_alone():
            return
        plan = self.scheduler.plan()
        if plan is not None:
            for sampled in self._run(plan):
                if sampled.sequence.phase is Phase.RUNNING:  # else a guess after its end held
                    self._apply(sampled)

    def _drain(self, *, wait: bool) -> None:
        try:
            if wait:
                self.inbox.get()()
            while True:
                self.inbox.get_nowait()()
        except Empty:
            return

    def _admit(self) -> None:
        while (admission := self.scheduler.next_admission()) is not None:
            sequence = admission.sequence
            sequence.t_start = time.perf_counter()
            kept = self.runner.prepare(admission)
            self.scheduler.start(admission, kept)
            self.last_slot = admission.slot
            self.stats.cached_tokens += kept
            try:
                self.runner.equip(sequence)
            except Exception as error:
                self._fail(sequence, error)

    def _propose(self) -> None:
        for sequence in list(self.scheduler.running):
            sequence.draft = ()
            proposer = sequence.request.proposer
            if proposer is None or not sequence.decoding:
                continue
            room = min(sequence.draft_length.next(), sequence.limit - sequence.n_tokens - 1)
            if room > 0:
                try:
                    sequence.draft = self._guess(proposer(sequence.view().copy()), room)
                except Exception as error:
                    self._fail(sequence, error)

    def _guess(self, tokens: Any, room: int) -> tuple[int, ...]:
        draft = tuple(int(t) for t in tokens[:room])
        for token in draft:
            if not 0 <= token < self.n_vocab:
                raise TokenError(token, self.n_vocab, param="draft_model")
        return draft

    def _run_alone(self) -> bool:
        """Generate for the only running sequence until something else is to be done; False if that cannot be."""
        running = self.scheduler.running
        if len(running) != 1 or not running[0].decoding:
            return False
        sequence = running[0]
        stepper = self.runner.alone(sequence)
        if stepper is None:
            return False
        started, before = time.perf_counter(), sequence.n_tokens
        with self._computing(StepPlan((Chunk(sequence, sequence.n_computed, 1, "last"),))), stepper as next_token:
            self._generate(sequence, next_token)
        self.stats.steps += sequence.n_tokens - before
        self.stats.decode_seconds += time.perf_counter() - started
        return True

    def _generate(self, sequence: Sequence, next_token: Callable[[int, int], int]) -> None:
        """The way from one token to the next: as little Python as there can be (see core.stepper)."""
        n = sequence.n_tokens
        token = int(sequence.tokens[n - 1])
        nothing_to_do, accept = self.inbox.empty, self._accept
        while nothing_to_do() and sequence.phase is Phase.RUNNING:
            token = next_token(token, n - 1)
            sequence.n_computed = n
            n += 1
            accept(sequence, token)

    def _run(self, plan: StepPlan) -> list[Sampled]:
        started = time.perf_counter()
        sampled: list[Sampled] = []
        with self._computing(plan):
            sampled = self.runner.run(plan)
        stats = self.stats
        stats.steps += 1
        stats.decode_seconds += time.perf_counter() - started
        for chunk in plan.chunks:
            stats.drafted_tokens += len(chunk.draft)
            if chunk.start < chunk.sequence.n_prompt:
                stats.prompt_tokens += chunk.count
        if len(sampled) > len(plan.chunks):
            stats.accepted_tokens += len(sampled) - len(plan.chunks)
        return sampled

    @contextlib.contextmanager
    def _computing(self, plan: StepPlan) -> Iterator[None]:
        """While a plan is computed cancels can stop it, and what goes wrong ends its requests and nothing else."""
        with self.lock:
            self.in_flight = plan
            if self.stopping.is_set():
                self.runner.abort()
            self._abort_if_useless()
        try:
            yield
        except DecodeAbortedError as error:
            self.runner.give_back(plan)
            if not self.stopping.is_set() and not all(c.sequence.cancelled for c in plan.chunks):
                self._fail_plan(plan, error)  # the user's own abort callback asked for it
        except NativeAbortError as error:
            self._fail_plan(plan, error)
            self._lost_memory()
        except Exception as error:
            self.runner.give_back(plan)
            self._fail_plan(plan, error)
        finally:
            with self.lock:
                self.in_flight = None
                self.runner.ready()

    def _apply(self, sampled: Sampled) -> None:
        sequence = sampled.sequence
        if sampled.error is not None:
            self._fail(sequence, sampled.error)
        elif sequence.request.kind == "embed" or sampled.token < 0:
            self._finish(sequence, "length" if sequence.request.kind == "generate" else "stop")
        else:
            self._accept(sequence, sampled.token, sampled.logprob)
            if sampled.stop and sequence.phase is Phase.RUNNING:
                self._finish(sequence, "stop")

    def _accept(self, sequence: Sequence, token: int, logprob: TokenLogprob | None = None) -> None:
        """One generated token: text, stop strings, limits."""
        if sequence.n_tokens == sequence.n_prompt:
            sequence.t_first = time.perf_counter()
        sequence.append(token)
        if token in self.eog or token in sequence.request.stop_token_ids:
            sequence.finish_stop = self.piece(token, True).decode("utf-8", "replace")
            self._finish(sequence, "stop", ended_by_token=True)
            return
        if not sequence.lazy:
            event = sequence.assembler.push(token, self.piece(token, sequence.request.special), logprob)
            if event is not None:
                sequence.emit(event)
            if sequence.assembler.matched is not None:
                sequence.finish_stop = sequence.assembler.matched
                self._finish(sequence, "stop")
                return
        if sequence.n_tokens >= sequence.limit:
            self._finish(sequence, "length")

    # -- requests --------------------------------------------------------------------------------------------------

    def _arrive(self, handle: RequestHandle) -> None:
        request = handle.request
        n = len(request.prompt)
        # A generated token needs a cell only when another follows it: hence one more than the context holds.
        limit = self.limit + 1 if request.kind == "generate" else n
        if request.max_tokens is not None:
            limit = min(limit, n + request.max_tokens)
        try:
            sequence = Sequence(request, self.arrivals, time.perf_counter(), limit=limit)
        except Exception as error:
            with self.lock:
                self.unfinished -= 1
            handle.deliver(error)
            return
        sequence.emit = sequence.pieces.append if request.buffered else handle.emit
        self.arrivals += 1
        self.stats.requests += 1
        with self.lock:
            self.sequences[handle] = sequence
        self.handles[sequence] = handle
        handle.prompt_logprobs = sequence.prompt_logprobs  # complete before the first event
        self.scheduler.add(sequence)

    def _mark_cancelled(self, handle: RequestHandle) -> None:
        sequence = self.sequences.get(handle)
        if sequence is not None:
            sequence.cancelled = True
            self.to_cancel.append(sequence)

    def _drop_cancelled(self) -> None:
        while self.to_cancel:
            sequence = self.to_cancel.pop()
            if sequence in self.handles:
                self.stats.cancelled += 1
                self._finish(sequence, "cancelled")

    def _finish(self, sequence: Sequence, reason: FinishReason, *, ended_by_token: bool = False) -> None:
        now = time.perf_counter()
        if sequence.lazy:
            sequence.pieces += text_of(sequence, sequence.n_tokens - ended_by_token, self.piece)
        if reason != "cancelled":
            last = sequence.assembler.flush()
            if last is not None:
                sequence.emit(last)
        if sequence.n_computed > sequence.n_tokens:
            self.runner.trim(sequence, sequence.n_tokens)
        handle = self._remove(sequence, remember=sequence.request.kind == "generate")
        self.stats.finished += 1
        self.stats.generated_tokens += sequence.n_generated
        handle.embedding = sequence.result
        if sequence.request.buffered:
            handle.emit(merged_pieces(sequence.pieces))
        usage = Usage(sequence.n_prompt, sequence.n_generated, sequence.n_cached)
        timings = timings_of(sequence, now)
        handle.deliver(FinishEvent(reason, usage, timings, sequence.request.seed, sequence.finish_stop))

    def _fail(self, sequence: Sequence, error: BaseException) -> None:
        self.stats.failed += 1
        self.stats.generated_tokens += sequence.n_generated
        self._remove(sequence, remember=True).deliver(error)

    def _remove(self, sequence: Sequence, *, remember: bool) -> RequestHandle:
        if not remember and sequence.phase is not Phase.WAITING:
            self.runner.context.memory.seq_rm(sequence.slot, -1, -1)
        self.scheduler.finish(sequence, remember=remember)
        if sequence.sampler is not None:
            sequence.sampler.close()
        handle = self.handles.pop(sequence)
        with self.lock:
            del self.sequences[handle]
            self.unfinished -= 1
        return handle

    def _fail_plan(self, plan: StepPlan, error: BaseException) -> None:
        for chunk in plan.chunks:
            if chunk.sequence in self.handles:
                self._fail(chunk.sequence, error)

    def _end_all(self, error: BaseException) -> None:
        for sequence in list(self.handles):
            handle = self.handles.pop(sequence)
            with self.lock:
                self.sequences.pop(handle, None)
            if sequence.sampler is not None:
                sequence.sampler.close()
            handle.deliver(error)

    def _lost_memory(self) -> None:
        """Native state is in doubt: everything computed is forgotten, running requests start over from their tokens."""
        self.runner.rebuild()
        for slot in self.scheduler.slots.cached():
            self.scheduler.slots.forget(slot)
        for sequence in self.scheduler.running:
            sequence.n_computed = 0

    def forget_free(self) -> None:
        for slot in self.scheduler.slots.cached():
            self.runner.context.memory.seq_rm(slot, -1, -1)
            self.scheduler.slots.forget(slot)

    def restore(self, slot: int, tokens: list[int]) -> None:
        self.scheduler.slots.replace(slot, tokens)
        self.last_slot = slot
