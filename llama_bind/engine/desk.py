"""The requests of an engine on their way: from their arrival over each token to their end. Engine thread only.

Not for: what is computed next (scheduler), computing it (steps), or other threads (worker).
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from llama_bind.engine.handle import RequestHandle
from llama_bind.engine.output import merged_pieces, text_of, timings_of
from llama_bind.engine.scheduler import Scheduler, StepPlan
from llama_bind.engine.sequence import Phase, Sequence
from llama_bind.engine.stats import EngineStats
from llama_bind.values import FinishEvent, FinishReason, TokenLogprob, Usage

if TYPE_CHECKING:
    from llama_bind.engine.runner import Runner

__all__ = ["Desk"]

ENDLESS = 2**62


class Desk:
    """Sequences by handle and handles by sequence.

    Args:
        limit: Tokens that a text can have (see `Worker.limit`).
    """

    def __init__(self, runner: Runner, scheduler: Scheduler, stats: EngineStats, limit: int) -> None:
        self.runner = runner
        self.scheduler = scheduler
        self.stats = stats
        self.limit = limit
        self.eog = runner.context.model.vocab.eog_tokens
        self.piece = runner.context.model.vocab.token_to_piece
        # Guards `sequences` and `unfinished` against the threads that submit and cancel; the garbage collector may
        # cancel a dropped stream at any place.
        self.lock = threading.RLock()
        self.sequences: dict[RequestHandle, Sequence] = {}
        self.unfinished = 0
        self.handles: dict[Sequence, RequestHandle] = {}
        self.to_end: list[tuple[Sequence, FinishReason]] = []
        self._arrivals = 0

    def arrive(self, handle: RequestHandle) -> None:
        """A request was taken out of the inbox."""
        request = handle.request
        n = len(request.prompt)
        # A generated token needs a cell only when another follows it: hence one more than the context holds.
        limit = self.limit + 1 if request.kind == "generate" else n
        if request.overflow == "shift":
            limit = ENDLESS
        if request.max_tokens is not None:
            limit = min(limit, n + request.max_tokens)
        try:
            sequence = Sequence(request, self._arrivals, time.perf_counter(), limit=limit)
        except Exception as error:
            with self.lock:
                self.unfinished -= 1
            handle.deliver(error)
            return
        sequence.emit = sequence.pieces.append if request.buffered else handle.emit
        self._arrivals += 1
        self.stats.requests += 1
        with self.lock:
            self.sequences[handle] = sequence
        self.handles[sequence] = handle
        handle.prompt_logprobs = sequence.prompt_logprobs  # complete before the first event
        self.scheduler.add(sequence)

    def mark(self, handle: RequestHandle, reason: FinishReason) -> None:
        """A request is to be ended before the next step."""
        sequence = self.sequences.get(handle)
        if sequence is not None:
            sequence.cancelled = True
            self.to_end.append((sequence, reason))

    def end_marked(self) -> None:
        """End what was marked."""
        while self.to_end:
            sequence, reason = self.to_end.pop()
            if sequence in self.handles:
                self.finish(sequence, reason)

    def accept(
        self, sequence: Sequence, token: int, logprob: TokenLogprob | None = None, *, last: bool = False
    ) -> None:
        """One generated token: text, stop strings, limits. `last`: it completes the text."""
        if sequence.t_first == 0.0 and sequence.n_computed >= sequence.n_prompt:  # else it did not have to be computed
            sequence.t_first = time.perf_counter()
            self.stats.on_first_token(sequence.t_first - sequence.t_arrival)
        sequence.append(token)
        if logprob is not None:
            sequence.logprob += logprob.logprob
        if token in self.eog or token in sequence.request.stop_token_ids:
            sequence.finish_stop = self.piece(token, True).decode("utf-8", "replace")
            self.finish(sequence, "stop", ended_by_token=True)
            return
        if not sequence.lazy:
            request = sequence.request
            piece = self.piece(token, request.special or token in request.visible)
            event = sequence.assembler.push(token, piece, logprob)
            if event is not None:
                sequence.emit(event)
            if sequence.assembler.matched is not None:
                sequence.finish_stop = sequence.assembler.matched
                self.finish(sequence, "stop")
                return
        if last:
            self.finish(sequence, "stop")
        elif sequence.n_tokens >= sequence.limit:
            self.finish(sequence, "length")

    def finish(self, sequence: Sequence, reason: FinishReason, *, ended_by_token: bool = False) -> None:
        """A request ends with what it has."""
        now = time.perf_counter()
        if sequence.lazy:
            sequence.pieces += text_of(sequence, sequence.n_tokens - ended_by_token, self.piece)
        if reason != "cancelled":
            last = sequence.assembler.flush()
            if last is not None:
                sequence.emit(last)
        if sequence.n_computed > sequence.n_tokens:
            self.runner.trim(sequence, sequence.n_tokens)
        handle = self._remove(sequence)
        self.stats.on_finish(reason, now - sequence.t_arrival, sequence.n_generated)
        handle.embedding = sequence.result
        if sequence.request.buffered:
            handle.emit(merged_pieces(sequence.pieces))
        usage = Usage(sequence.n_prompt, sequence.n_generated, sequence.n_cached)
        timings = timings_of(sequence, now)
        logprob = None if sequence.request.logprobs is None else sequence.logprob
        handle.deliver(FinishEvent(reason, usage, timings, sequence.request.seed, sequence.finish_stop, logprob))

    def fail(self, sequence: Sequence, error: BaseException) -> None:
        """A request ends with an error."""
        self.stats.on_fail(sequence.n_generated)
        self._remove(sequence).deliver(error)

    def fail_plan(self, plan: StepPlan, error: BaseException) -> None:
        """All requests of a plan end with an error."""
        for chunk in plan.chunks:
            if chunk.sequence in self.handles:
                self.fail(chunk.sequence, error)

    def end_all(self, error: BaseException) -> None:
        """The engine ends; nothing is computed or given back any more."""
        for sequence in list(self.handles):
            handle = self.handles.pop(sequence)
            with self.lock:
                self.sequences.pop(handle, None)
            if sequence.sampler is not None:
                sequence.sampler.close()
            handle.deliver(error)

    def _remove(self, sequence: Sequence) -> RequestHandle:
        self.stats.longest = max(self.stats.longest, sequence.n_tokens)
        if not sequence.shareable and sequence.phase is Phase.RUNNING:
            self.runner.clear(sequence.slot)
        self.scheduler.finish(sequence, remember=True)
        if sequence.sampler is not None:
            sequence.sampler.close()
        handle = self.handles.pop(sequence)
        with self.lock:
            del self.sequences[handle]
            self.unfinished -= 1
        return handle
