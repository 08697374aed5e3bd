"""What the next step computes. Pure: no clock, no threads, no library.

Rules: every decoding sequence gets its one token in every step; prompts fill what is left of the token budget in
order of priority, then arrival; a sequence is admitted when a slot is free and its cells are sure to suffice, so no
running sequence is ever short of memory. Not for: running the plan (runner), or ending sequences (loop).
"""

from __future__ import annotations

import dataclasses
import heapq

from llama_bind.engine.prefix_cache import PrefixCache
from llama_bind.engine.sequence import Phase, Sequence

__all__ = ["Admission", "Chunk", "Scheduler", "StepPlan"]

PROMPT_LOGPROB_CHUNK = 64
"""Tokens of a prompt computed at once when each needs its logits: n_vocab floats apiece are held meanwhile."""


@dataclasses.dataclass(frozen=True)
class Admission:
    """A sequence gets a slot whose first `keep` cached tokens it shares. `drop`: free slots to clear first."""

    sequence: Sequence
    slot: int
    keep: int
    drop: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Chunk:
    """Compute tokens [start, start + count) of a sequence, of which the last ones may be guesses (`draft`).

    `output`: "none", "last", or "all" tokens need logits; all do where there is a draft.
    """

    sequence: Sequence
    start: int
    count: int
    output: str
    draft: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """One call of llama_decode: at most `budget` tokens over all chunks. `embed`: pooled embeddings, not logits."""

    chunks: tuple[Chunk, ...]
    embed: bool = False

    @property
    def n_tokens(self) -> int:
        return sum(c.count for c in self.chunks)


class Scheduler:
    """Holds waiting and running sequences.

    Args:
        n_slots: Sequences that may run at once.
        budget: Most tokens in one step (n_batch).
        cells: Tokens that all slots together can hold; None when each slot has its own memory.
    """

    def __init__(self, n_slots: int, budget: int, cells: int | None = None) -> None:
        self.budget = budget
        self.cells = cells
        self.slots = PrefixCache(n_slots)
        self.running: list[Sequence] = []
        self._waiting: list[tuple[tuple[int, int], Sequence]] = []

    def add(self, sequence: Sequence) -> None:
        heapq.heappush(self._waiting, (sequence.order, sequence))

    @property
    def waiting(self) -> list[Sequence]:
        return [s for _, s in sorted(self._waiting, key=lambda w: w[0])]

    @property
    def idle(self) -> bool:
        return not self.running and not self._waiting

    def next_admission(self) -> Admission | None:
        """The next waiting sequence that can start now, with its slot taken; None when none can."""
        if not self._waiting or not self.slots.n_free:
            return None
        sequence = self._waiting[0][1]
        if self.running and self.running[0].request.kind != sequence.request.kind:
            return None  # embeddings and text need different outputs: one kind at a time
        if self.cells is not None and self._reserved() + sequence.limit > self.cells:
            return None
        heapq.heappop(self._waiting)
        reuse = sequence.request.kind == "generate" and sequence.request.prompt_logprobs is None
        slot, keep = self.slots.take(sequence.view(), reuse=reuse)
        return Admission(sequence, slot, keep, self._make_room(sequence))

    def start(self, admission: Admission, kept: int) -> None:
        """The slot is ready and holds `kept` tokens of the sequence (never more than the admission's keep)."""
        sequence = admission.sequence
        sequence.slot, sequence.n_computed, sequence.n_cached = admission.slot, kept, kept
        sequence.phase = Phase.RUNNING
        self.running.append(sequence)

    def plan(self) -> StepPlan | None:
        """The next step, or None when nothing runs."""
        if not self.running:
            return None
        if self.running[0].request.kind == "embed":
            return self._plan_embed()
        decoding = [s for s in self.running if s.decoding]
        left = self.budget - len(decoding)
        chunks: list[Chunk] = []
        for sequence in decoding:
            draft = sequence.draft[:left] if sequence.draft else ()
            left -= len(draft)
            chunks.append(Chunk(sequence, sequence.n_computed, 1 + len(draft), "all" if draft else "last", draft))
        if len(decoding) == len(self.running):
            return StepPlan(tuple(chunks))
        for sequence in sorted((s for s in self.running if not s.decoding), key=lambda s: s.order):
            if left <= 0:
                break
            chunk = self._prompt_chunk(sequence, left)
            chunks.append(chunk)
            left -= chunk.count
        return StepPlan(tuple(chunks))

    def finish(self, sequence: Sequence, *, remember: bool) -> None:
        """End a sequence wherever it is; its slot is free again and remembers what was computed, if asked."""
        if sequence.phase is Phase.WAITING:
            self._waiting = [w for w in self._waiting if w[1] is not sequence]
            heapq.heapify(self._waiting)
        else:
            self.running.remove(sequence)
            self.slots.give(sequence.slot, sequence.computed() if remember else ())
        sequence.phase = Phase.FINISHED

    def _prompt_chunk(self, sequence: Sequence, left: int) -> Chunk:
        missing = sequence.n_tokens - sequence.n_computed
        if sequence.request.prompt_logprobs is not None:
            return Chunk(sequence, sequence.n_computed, min(missing, left, PROMPT_LOGPROB_CHUNK), "all")
        count = min(missing, left)
        return Chunk(sequence, sequence.n_computed, count, "last" if count == missing else "none")

    def _plan_embed(self) -> StepPlan:
        """Whole texts only: pooling needs all tokens of a sequence in one step."""
        chunks: list[Chunk] = []
        left = self.budget
        for sequence in self.running:
            if sequence.n_tokens <= left:
                chunks.append(Chunk(sequence, 0, sequence.n_tokens, "all"))
                left -= sequence.n_tokens
        return StepPlan(tuple(chunks), embed=True)

    def _reserved(self) -> int:
        return sum(s.limit for s in self.running)

    def _make_room(self, sequence: Sequence) -> tuple[int, ...]:
        """Free slots to clear, least recently used first, so that the sequence's cells are there."""
        if self.cells is None:
            return ()
        dropped: list[int] = []
        need = self._reserved() + sequence.limit
        while need + sum(self.slots.cached().values()) > self.cells:
            slot = self.slots.oldest()
            if slot is None:
                break
            self.slots.forget(slot)
            dropped.append(slot)
        return tuple(dropped)
