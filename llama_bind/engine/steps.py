"""One step after another: start who can, guess, compute what is planned, hand out what came of it. Engine thread only.

What goes wrong in a step ends the requests it was for, and nothing else. Not for: what to compute (scheduler), how
(runner), or what a token means for its request (desk).
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from llama_bind.engine.budget import StepBudget
from llama_bind.engine.constraint import Constraint
from llama_bind.engine.desk import Desk
from llama_bind.engine.flight import Flight
from llama_bind.engine.guessing import Guesser
from llama_bind.engine.keeper import Keeper
from llama_bind.engine.moving import Mover
from llama_bind.engine.outcome import Sampled
from llama_bind.engine.scheduler import Admission, Chunk, Scheduler, StepPlan
from llama_bind.engine.sequence import Phase, Sequence
from llama_bind.engine.stats import EngineStats
from llama_bind.errors import DecodeAbortedError, NativeAbortError, NoCellsError, StateError
from llama_bind.values import PieceEvent, Progress

if TYPE_CHECKING:
    from llama_bind.engine.runner import Runner

__all__ = ["Steps"]


class Steps:
    """Computes for the sequences of `scheduler` on `runner`.

    Args:
        idle: Whether no messages wait that may change what is to be done.
        window: Tokens that the memory of one sequence can hold.
    """

    def __init__(
        self,
        runner: Runner,
        scheduler: Scheduler,
        desk: Desk,
        flight: Flight,
        stats: EngineStats,
        budget: StepBudget,
        guesser: Guesser,
        keeper: Keeper,
        *,
        idle: Callable[[], bool],
        window: int,
    ) -> None:
        self.runner = runner
        self.scheduler = scheduler
        self.desk = desk
        self.flight = flight
        self.stats = stats
        self.budget = budget
        self.guesser = guesser
        self.keeper = keeper
        self.mover = Mover(runner, scheduler)
        self.last_slot = 0
        self._decoded = 0.0  # when the step before gave a token; 0: it gave none
        self._nothing_to_do = idle
        self._window = window

    def step(self) -> None:
        """Plan, run, apply."""
        self.desk.end_marked()
        self._shift()
        self._admit()
        self._gather()
        self._propose()
        if self._run_alone():
            return
        n_decoding = sum(s.decoding for s in self.scheduler.running)
        budget = self.budget
        n_prompt = budget.prompt_tokens(n_decoding, self.scheduler.wanted)
        for plan in self.scheduler.plans(n_prompt, budget.embed_tokens(n_decoding)):
            sampled = self._run(plan, n_decoding)
            if sampled is None:
                break  # what was planned after it may not hold any more
            self._apply_all(sampled)

    # -- before the step -------------------------------------------------------------------------------------------

    def _shift(self) -> None:
        """Make room in texts that have filled the context and want to go on."""
        for sequence in self.scheduler.running:
            if sequence.request.overflow == "shift" and sequence.n_tokens > self._window:
                keep = min(max(sequence.request.n_keep, 1), self._window // 2)
                count = max((sequence.n_tokens - keep) // 2, 1)
                self.scheduler.slots.unshare(sequence.slot)
                sequence.n_computed = self.runner.shift(sequence, keep, count)
                sequence.drop(keep, count)
                self.scheduler.computed(sequence)

    def _admit(self) -> None:
        while (admission := self.scheduler.next_admission()) is not None:
            sequence = admission.sequence
            if not sequence.t_start:
                sequence.t_start = time.perf_counter()
                if sequence.request.on_start is not None:
                    sequence.request.on_start()  # before native code touches it: what follows may end the process
            state, tier = self.keeper.state(admission)  # first: what is saved next may take its place
            self.keeper.before_admission(admission)
            kept = self._prepare(admission, state)
            self.scheduler.start(admission, kept)
            self.last_slot = admission.slot
            if not sequence.preempted:
                sequence.n_cached = kept
                self.stats.on_start(sequence.t_start - sequence.t_arrival, kept, tier)
                self.stats.restored += state is not None and kept > 0
            self.stats.evictions += len(admission.evicted)
            self._report(sequence)
            if sequence.sampler is None:
                try:
                    self.runner.equip(sequence)
                    if sequence.constraint is not None:
                        self._apply_all(self.runner.first(sequence))
                except Exception as error:
                    self.desk.fail(sequence, error)

    def _gather(self) -> None:
        if self.guesser.by_slots:
            return
        try:
            move = self.mover.gather()
        except NativeAbortError:
            self._lost_memory()
            return
        if move is not None and self.last_slot in move[:2]:
            self.last_slot = move.source + move.target - self.last_slot

    @staticmethod
    def _report(sequence: Sequence) -> None:
        """Tell how far a prompt is, before anything of the text comes, to those who want to know."""
        request = sequence.request
        if request.buffered or request.prompt_logprobs is not None:
            return  # those come first
        if request.progress and not sequence.n_generated:
            queued = sequence.t_start - sequence.t_arrival
            seconds = time.perf_counter() - sequence.t_start if sequence.n_computed > sequence.n_cached else 0.0
            progress = Progress(sequence.n_computed, sequence.n_prompt, sequence.n_cached, seconds, queued)
            sequence.emit(PieceEvent("", progress=progress))

    def _prepare(self, admission: Admission, state: bytes | None) -> int:
        try:
            return self.runner.prepare(admission, state)
        except StateError as error:
            self.keeper.refused(admission, error)
        except NativeAbortError:
            self._lost_memory()
        return 0

    def _propose(self) -> None:
        for sequence, error in self.guesser.propose(self.scheduler.running):
            self.desk.fail(sequence, error)
        for sequence in list(self.scheduler.running):
            if sequence.draft:
                sequence.draft = sequence.draft[: max(self._window - sequence.n_tokens, 0)]
                if sequence.constraint is not None:
                    self._cut(sequence, sequence.constraint)

    def _cut(self, sequence: Sequence, constraint: Constraint) -> None:
        """Leave out guesses that would be refused."""
        try:
            sequence.draft = sequence.draft[: constraint.fitting(sequence.draft)]
        except Exception as error:
            self.desk.fail(sequence, error)

    # -- one sequence ----------------------------------------------------------------------------------------------

    def _run_alone(self) -> bool:
        """Generate for the only running sequence until something else is to be done; False if that cannot be."""
        running = self.scheduler.running
        if len(running) != 1 or not running[0].decoding or running[0].draft or not running[0].shareable:
            return False  # the last: its memory is cleared at its end, which cannot be done between two native steps
        sequence = running[0]
        if sequence.n_forced:
            return False
        stepper = self.runner.alone(sequence)
        spare = self.scheduler.spare_cells
        if stepper is None or spare == 0:
            return False
        until = self._window if spare is None else min(self._window, sequence.n_computed + spare)
        started, before = time.perf_counter(), sequence.n_generated
        with self._computing(StepPlan((Chunk(sequence, sequence.n_computed, 1, "last"),))), stepper as next_token:
            if sequence.constraint is None:
                self._generate(sequence, next_token, until)
            else:
                self._generate_held(sequence, stepper, next_token, until)
        self.scheduler.computed(sequence)
        self._decoded = time.perf_counter()
        self.stats.on_alone(self._decoded - started, sequence.n_generated - before)
        return True

    def _generate(self, sequence: Sequence, next_token: Callable[[int, int], int], until: int) -> None:
        """The way from one token to the next: as little Python as there can be (see core.stepper)."""
        n = sequence.n_tokens
        token = int(sequence.tokens[n - 1])
        nothing_to_do, accept = self._nothing_to_do, self.desk.accept
        wants = self.guesser.wants if self.guesser.guesses(sequence) else None
        while n <= until and nothing_to_do() and sequence.phase is Phase.RUNNING:
            token = next_token(token, n - 1)
            sequence.n_computed = n
            n += 1
            accept(sequence, token)
            if wants is not None and wants(sequence):
                return

    def _generate_held(
        self, sequence: Sequence, stepper: Any, next_token: Callable[[int, int], int], until: int
    ) -> None:
        """The same for a text that is held to something, until tokens follow that need no drawing."""
        wants = self.guesser.wants if self.guesser.guesses(sequence) else None
        while sequence.n_tokens <= until and self._nothing_to_do() and sequence.phase is Phase.RUNNING:
            n = sequence.n_tokens
            token = next_token(int(sequence.tokens[n - 1]), n - 1)
            sequence.n_computed = n
            self._apply_all(self.runner.drawn_alone(sequence, stepper, token))
            if sequence.n_forced or sequence.coming or (wants is not None and wants(sequence)):
                return

    # -- a plan ----------------------------------------------------------------------------------------------------

    def _run(self, plan: StepPlan, n_decoding: int) -> list[Sampled] | None:
        """What the plan gave; None if it was not computed."""
        self.keeper.before_step(plan)
        for held in plan.evicted:
            self.runner.clear(held.slot)
        for slot in plan.preempted:
            self.runner.clear(slot)
        started = time.perf_counter()
        sampled: list[Sampled] | None = None
        with self._computing(plan):
            sampled = self.runner.run(plan)
        seconds = time.perf_counter() - started
        for chunk in plan.chunks:
            self.scheduler.computed(chunk.sequence)
            if chunk.sequence.request.progress and sampled is not None:
                self._report(chunk.sequence)
        if sampled is not None:
            self._count(plan, sampled, n_decoding, seconds)
            self.keeper.after_step(plan)
        return sampled

    def _count(self, plan: StepPlan, sampled: list[Sampled], n_decoding: int, seconds: float) -> None:
        stats, n_prompt, n_texts, to_compute = self.stats, 0, 0, 0
        for chunk in plan.chunks:
            sequence = chunk.sequence
            if chunk.start < sequence.n_prompt:
                n_prompt += chunk.count
            else:
                n_texts += 1
            if chunk.draft:
                held = sum(one.sequence is sequence and not one.forced for one in sampled) - 1
                sequence.n_drafted += len(chunk.draft)
                sequence.n_accepted += held
                stats.on_draft(len(chunk.draft), held)
            elif chunk.count > 1:
                to_compute += chunk.count - bool(sequence.n_forced)
        now = time.perf_counter()
        stats.on_step(
            seconds, plan.n_tokens, n_texts, n_prompt, interval=now - self._decoded if self._decoded else seconds
        )
        stats.evictions += len(plan.evicted)
        if plan.embed:
            self.budget.observe_embed(plan.n_tokens, seconds)
        else:
            self._decoded = now if sampled else 0.0
            self.budget.observe(n_decoding, to_compute, seconds)

    @contextlib.contextmanager
    def _computing(self, plan: StepPlan) -> Iterator[None]:
        """While a plan is computed cancels can stop it, and what goes wrong ends its requests and nothing else."""
        self.flight.begin(plan)
        try:
            yield
        except DecodeAbortedError as error:
            self.runner.give_back(plan)
            if not self.flight.stopping.is_set() and not all(c.sequence.cancelled for c in plan.chunks):
                self.desk.fail_plan(plan, error)  # the user's own abort callback asked for it
        except NoCellsError as error:
            self.runner.give_back(plan)
            self._find_cells(plan, error)
        except NativeAbortError as error:
            self.desk.fail_plan(plan, error)
            self._lost_memory()
        except Exception as error:
            self.runner.give_back(plan)
            self.desk.fail_plan(plan, error)
        finally:
            self.flight.end(self.runner.ready)

    def _find_cells(self, plan: StepPlan, error: NoCellsError) -> None:
        """The memory has less room than was counted (sliding windows): what it remembers goes, then the youngest."""
        held = self.scheduler.evict_one()
        if held is not None:
            self.stats.evictions += 1
            self.runner.clear(held.slot)
        elif len(self.scheduler.running) > 1:
            self.runner.clear(self.scheduler.relieve())
        else:
            self.desk.fail_plan(plan, error)

    def _apply_all(self, sampled: list[Sampled]) -> None:
        for one in sampled:
            if one.sequence.phase is Phase.RUNNING:  # else a token after its end
                self._apply(one)

    def _apply(self, sampled: Sampled) -> None:
        sequence = sampled.sequence
        sequence.n_forced = sequence.n_forced + 1 if sampled.forced else 0
        if sampled.error is not None:
            self.desk.fail(sequence, sampled.error)
        elif sequence.request.kind == "embed" or sampled.token < 0:
            self.desk.finish(sequence, "length" if sequence.request.kind == "generate" else "stop")
        else:
            self.stats.forced_tokens += sampled.forced
            self.desk.accept(sequence, sampled.token, sampled.logprob, last=sampled.stop)

    # -- memory ----------------------------------------------------------------------------------------------------

    def _lost_memory(self) -> None:
        """Native state is in doubt: everything computed is forgotten, running requests start over from their tokens."""
        self.runner.rebuild()
        for held in self.scheduler.slots.free:
            self.scheduler.forget(held.slot)
        for sequence in self.scheduler.running:
            sequence.n_computed = 0
            self.scheduler.computed(sequence)

    def forget_free(self) -> None:
        """Clear the memory of all slots that are not running, and what was saved from them in host memory."""
        if self.keeper.store is not None:
            self.keeper.store.forget_memory()
        for held in self.scheduler.slots.free:
            self.runner.clear(held.slot)
            self.scheduler.forget(held.slot)

    def restore(self, slot: int, tokens: list[int]) -> None:
        """The memory of a free slot was filled with `tokens`."""
        self.scheduler.restore(slot, tokens)
        self.last_slot = slot
