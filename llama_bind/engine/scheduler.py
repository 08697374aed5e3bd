"""What the next step computes, and who runs. Pure: no clock, no threads, no library.

Rules: every decoding sequence gets its one token in every step; prompts fill what is left of the token budget in the
order in which they started; waiting ones start in the order of the queue, sharing the longest beginning that anybody
holds, and wait for one that is being computed. When cells run out, remembered prefixes go first, then the youngest
sequence of the lowest priority goes back to the queue with its tokens. Not for: running the plan (runner), or ending
sequences (desk).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from llama_bind.engine.cells import CellLedger
from llama_bind.engine.neighbours import Move, next_move
from llama_bind.engine.prefix_cache import Holding, Match, PrefixCache
from llama_bind.engine.queue import WaitingQueue
from llama_bind.engine.sequence import Phase, Sequence

__all__ = ["Admission", "Chunk", "Scheduler", "StepPlan"]

PROMPT_LOGPROB_CHUNK = 64
"""Tokens of a prompt computed at once when each needs its logits: n_vocab floats apiece are held meanwhile."""
REPRODUCIBLE_CHUNK = 128
"""Prompt tokens of a reproducible request computed at once, whatever else runs."""
FORCED_CHUNK = 32
"""Forced tokens of a text computed in one step beside its own next one."""
REMEMBERED = 32
"""One part in this of a shared cache is for what is remembered, besides the text that ended last."""
LOOK_AHEAD = 32
"""Waiting sequences that are looked at while those before them wait for a beginning that is being computed."""
LONG = 512
"""Tokens beyond which a sequence's future counts for no more when it is asked whether another may start."""


@dataclasses.dataclass(frozen=True)
class Admission:
    """A sequence gets a slot.

    Attributes:
        source: Where its first `keep` tokens are: the slot itself, another one, the key of a saved state, or None.
        lost: What the slot held.
        evicted: What other free slots held that are to be cleared first.
    """

    sequence: Sequence
    slot: int
    source: int | str | None
    keep: int
    lost: Holding
    evicted: tuple[Holding, ...] = ()


@dataclasses.dataclass(slots=True)  # not frozen: one is made for every token
class Chunk:
    """Compute tokens [start, start + count) of a sequence, of which the last ones may be guesses (`draft`).

    `output`: "none", "last", or "all" tokens need logits or embeddings; all do where there is a draft.
    """

    sequence: Sequence
    start: int
    count: int
    output: str
    draft: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class StepPlan:
    """One call of llama_decode.

    Attributes:
        chunks: At most `budget` tokens together.
        embed: Embeddings are wanted, not logits.
        evicted: What free slots held that are to be cleared before.
        preempted: Slots of sequences that went back to the queue, to be cleared before.
    """

    chunks: tuple[Chunk, ...]
    embed: bool = False
    evicted: tuple[Holding, ...] = ()
    preempted: tuple[int, ...] = ()

    @property
    def n_tokens(self) -> int:
        return sum(c.count for c in self.chunks)


class Scheduler:
    """Holds waiting and running sequences.

    Args:
        n_slots: Sequences that may run at once.
        budget: Most tokens in one step (n_batch).
        cells: Tokens that all slots together can hold; None when each slot has its own memory.
        whole_texts: Texts to embed are computed whole, in one step.
        embed_budget: Most tokens in one step of embeddings (n_ubatch): each gives logits too, n_vocab floats.
        can_cut, copy_worth: See `PrefixCache`.
    """

    def __init__(
        self,
        n_slots: int,
        budget: int,
        cells: int | None = None,
        *,
        whole_texts: bool = False,
        embed_budget: int | None = None,
        can_cut: bool = True,
        copy_worth: int = 1,
    ) -> None:
        self.budget = budget
        self.cells = None if cells is None else CellLedger(cells)
        self.whole_texts = whole_texts
        self.embed_budget = min(budget, embed_budget or budget)
        self.slots = PrefixCache(n_slots, copy_worth=copy_worth, can_cut=can_cut, apart=cells is None)
        self.queue = WaitingQueue()
        self.running: list[Sequence] = []
        self.preemptions = self.moves = 0
        self._fair = False
        self._ended = False  # since the last plan
        self._full = False  # the memory had less room than was counted: nobody starts until somebody ends
        self._scattered = False  # streams may run that are no neighbours
        self._caution = 0.5  # share of the running sequences' future that must fit for another to start

    def add(self, sequence: Sequence) -> None:
        self._fair = self._fair or sequence.request.key is not None
        self.queue.add(sequence)

    @property
    def waiting(self) -> list[Sequence]:
        return list(self.queue)

    @property
    def idle(self) -> bool:
        return not self.running and not len(self.queue)

    # -- starting --------------------------------------------------------------------------------------------------

    def next_admission(self) -> Admission | None:
        """The next waiting sequence that can start now, with its slot taken; None when none can."""
        if not len(self.queue) or not self.slots.n_free or (self._full and self.running):
            return None
        for sequence in self.queue.candidates(LOOK_AHEAD):
            match = self.slots.match(sequence) if sequence.reuses else Match()
            if match.coming:
                continue  # someone computes these very tokens right now
            if not self._fits(sequence, match):
                return None  # and none behind it, or a large one would wait for ever
            return self._admit(sequence, match)
        return None

    def _admit(self, sequence: Sequence, match: Match) -> Admission:
        self.queue.chosen(sequence)
        slot, lost = self.slots.take(match)
        evicted: tuple[Holding, ...] = ()
        if self.cells is not None:
            if match.source == slot:
                self.cells.set(slot, match.keep)
            else:
                self.cells.set(slot, 0)
                if isinstance(match.source, int):
                    self.cells.share(match.source, slot, match.keep)
            whole = self.slots.tree.length(match.source) if isinstance(match.source, str) else 0  # loaded, then cut
            evicted = self._evict(max(sequence.n_tokens, whole) - self.cells.length(slot), but=match.source)
        if not self.slots.can_cut and sequence.reuses:
            places = {match.seen, sequence.n_tokens - 1}
            sequence.checkpoints = sorted(n for n in places if n > max(match.keep, self.slots.copy_worth))
        return Admission(sequence, slot, match.source, match.keep, lost, evicted)

    def start(self, admission: Admission, kept: int) -> None:
        """The slot is ready and holds `kept` tokens of the sequence (never more than the admission's keep)."""
        sequence = admission.sequence
        sequence.slot, sequence.n_computed = admission.slot, kept
        sequence.phase = Phase.RUNNING
        self.running.append(sequence)
        self._scattered = True
        self.slots.run(sequence.slot, sequence)
        if self.cells is not None:
            self.cells.set(sequence.slot, kept)

    def _fits(self, sequence: Sequence, match: Match) -> bool:
        """Whether the cells suffice for a while if it starts, with every remembered prefix but its own given up."""
        if self.cells is None or not self.running:
            return True
        slots = [s.slot for s in self.running]
        if isinstance(match.source, int):
            slots.append(match.source)
        futures = sum(min(s.limit - s.n_tokens, LONG) for s in [*self.running, sequence])
        to_compute = sum(s.n_tokens - s.n_computed for s in self.running) + sequence.n_tokens - match.keep
        return self.cells.used_by(slots) + to_compute + int(self._caution * futures) <= self.cells.total

    # -- side by side ----------------------------------------------------------------------------------------------

    def next_move(self) -> Move | None:
        """Which stream should change its place now, None where all is well or who waits will fill the gaps."""
        if not self._scattered or self.cells is not None or len(self.running) < 2 or len(self.queue):
            return None
        text = [s for s in self.running if s.request.kind == "generate" and not s.request.reproducible]
        movable = [s.slot for s in text if s.decoding]
        move = next_move([s.slot for s in text], movable, {held.slot: len(held.tokens) for held in self.slots.free})
        self._scattered = move is not None or len(movable) < len(text)
        return move

    def settle(self) -> None:
        """Let the streams lie as they do until another one starts or ends."""
        self._scattered = False

    def moved(self, move: Move) -> None:
        """Two slots have changed places."""
        self.at(move.source).slot = move.target
        self.slots.exchange(move.source, move.target)
        self.moves += 1

    def at(self, slot: int) -> Sequence:
        """What runs in a slot."""
        return next(s for s in self.running if s.slot == slot)

    def lost(self, slot: int) -> None:
        """The memory of a running slot is empty: all is computed again."""
        self.at(slot).n_computed = 0

    # -- the step --------------------------------------------------------------------------------------------------

    def plans(self, prompt_tokens: int | None = None, embed_tokens: int | None = None) -> list[StepPlan]:
        """What to compute now, in order; empty when nothing runs.

        Args:
            prompt_tokens: Most prompt tokens beside those of decoding sequences.
            embed_tokens: Most tokens of texts to embed.
        """
        preempted: list[int] = []
        evicted = [*self._surplus(), *self._secure(preempted)]
        left = self.budget if prompt_tokens is None else min(self.budget, prompt_tokens)
        spare = self.spare_cells
        text = [s for s in self.running if s.request.kind == "generate"]
        plans = [StepPlan((self._alone(s),)) for s in text if s.request.reproducible]
        plans += self._plan_text([s for s in text if not s.request.reproducible], left, spare, evicted)
        if len(text) < len(self.running):
            taken = sum(plan.n_tokens for plan in plans)
            left = self.embed_budget if embed_tokens is None else min(self.embed_budget, embed_tokens)
            plans += self._plan_embed(left, None if spare is None else spare - taken)
        if plans and (evicted or preempted):
            plans[0] = dataclasses.replace(plans[0], evicted=tuple(evicted), preempted=tuple(preempted))
        if self._fair:
            for chunk in (c for plan in plans for c in plan.chunks):
                self.queue.charge(chunk.sequence.request.key, chunk.count)
        return plans

    def _plan_text(
        self, text: list[Sequence], prompt_tokens: int, spare: int | None, evicted: list[Holding]
    ) -> list[StepPlan]:
        decoding = [s for s in text if s.decoding]
        groups = [decoding[i : i + self.budget] for i in range(0, len(decoding), self.budget)] or [[]]
        left = self.budget - len(groups[-1])
        room = left if spare is None else min(left, spare - len(decoding))
        plans = [StepPlan(self._ordered([self._decoding_chunk(s, 0) for s in group])) for group in groups[:-1]]
        chunks: list[Chunk] = []
        for s in groups[-1]:
            chunks.append(self._decoding_chunk(s, max(room, 0)))
            room -= chunks[-1].count - 1
        if len(decoding) < len(text):
            more = sum(c.count - 1 for c in chunks)
            taken = len(decoding) + more
            chunks += self._prompts(self._turns(text), min(left - more, prompt_tokens), taken, evicted)
        return [*plans, StepPlan(self._ordered(chunks))] if chunks else plans

    def _ordered(self, chunks: list[Chunk]) -> tuple[Chunk, ...]:
        """Streams of their own are computed together only where they lie side by side and come in the order of their
        numbers (``llama_batch_allocr::split_equal``): each that does not costs a pass over the weights.
        """
        return tuple(chunks if self.cells is not None else sorted(chunks, key=lambda c: c.sequence.slot))

    @staticmethod
    def _decoding_chunk(sequence: Sequence, room: int) -> Chunk:
        """The last token of a sequence, and up to `room` more: those forced after it, or guesses."""
        if sequence.n_forced:
            missing = sequence.n_tokens - sequence.n_computed
            count = min(missing, 1 + min(room, FORCED_CHUNK))
            return Chunk(sequence, sequence.n_computed, count, "last" if count == missing else "none")
        if sequence.draft and room:
            draft = sequence.draft[:room]
            return Chunk(sequence, sequence.n_computed, 1 + len(draft), "all", draft)
        return Chunk(sequence, sequence.n_computed, 1, "last")

    def _prompts(self, prompts: list[Sequence], left: int, taken: int, evicted: list[Holding]) -> list[Chunk]:
        """Give prompts `left` tokens of the step, and the cells that are free beside `taken` ones."""
        chunks: list[Chunk] = []
        for sequence in prompts:
            chunk = self._prompt_chunk(sequence, left)
            if self.cells is not None:
                evicted += self._evict(taken + chunk.count)
                chunk = self._prompt_chunk(sequence, min(left, self.cells.free - taken))
            if chunk.count <= 0:
                break
            chunks.append(chunk)
            left -= chunk.count
            taken += chunk.count
        return chunks

    def _prompt_chunk(self, sequence: Sequence, left: int) -> Chunk:
        start = sequence.n_computed
        missing = sequence.n_tokens - start
        if sequence.request.prompt_logprobs is not None and start < sequence.n_prompt:
            return Chunk(sequence, start, min(missing, left, PROMPT_LOGPROB_CHUNK), "all")
        count = min([missing, left, *(n - start for n in sequence.checkpoints if n > start)])
        return Chunk(sequence, start, count, "last" if count == missing else "none")

    def _alone(self, sequence: Sequence) -> Chunk:
        if sequence.decoding:
            return Chunk(sequence, sequence.n_computed, 1, "last")
        return self._prompt_chunk(sequence, min(self.budget, REPRODUCIBLE_CHUNK))

    def _plan_embed(self, left: int, spare: int | None) -> list[StepPlan]:
        """Whole texts where pooling needs all tokens of a sequence in one step; else as prompts are computed."""
        texts = [s for s in self.running if s.request.kind == "embed"]
        chunks: list[Chunk] = []
        if self.whole_texts:
            left = self.embed_budget
            for sequence in texts:
                if sequence.n_tokens <= left:
                    chunks.append(Chunk(sequence, 0, sequence.n_tokens, "all"))
                    left -= sequence.n_tokens
        else:
            left = left if spare is None else min(left, spare)
            for sequence in texts:
                if left <= 0:
                    break
                chunks.append(dataclasses.replace(self._prompt_chunk(sequence, left), output="all"))
                left -= chunks[-1].count
        return [StepPlan(self._ordered(chunks), embed=True)] if chunks else []

    def computed(self, sequence: Sequence) -> None:
        """`n_computed` of a sequence has changed."""
        if self.cells is not None and sequence.phase is Phase.RUNNING:
            self.cells.set(sequence.slot, sequence.n_computed)

    @property
    def spare_cells(self) -> int | None:
        """Cells that nobody holds; None when each slot has its own."""
        return None if self.cells is None else self.cells.free

    @property
    def cells_used(self) -> int:
        """Tokens that the memory holds; may be asked for by any thread."""
        if self.cells is not None:
            return self.cells.used
        return sum(len(h.tokens) for h in self.slots.free) + sum(s.n_computed for s in list(self.running))

    @property
    def wanted(self) -> list[int]:
        """Prompt tokens (and lost ones) that running texts still need computed, in the order of their turns."""
        return [s.n_tokens - s.n_computed for s in self._turns(s for s in self.running if s.request.kind == "generate")]

    @staticmethod
    def _turns(text: Iterable[Sequence]) -> list[Sequence]:
        return sorted((s for s in text if not s.decoding), key=lambda s: -s.request.priority)

    # -- making room -----------------------------------------------------------------------------------------------

    def _secure(self, preempted: list[int]) -> list[Holding]:
        """Make sure that every decoding sequence has a cell, or some prompt where none decodes."""
        evicted: list[Holding] = []
        while self.cells is not None and self.running:
            need = max(1, sum(s.decoding for s in self.running))
            evicted += self._evict(need)
            if self.cells.free >= need or len(self.running) < 2:
                self._caution = max(0.1, self._caution - 0.002)
                break
            preempted.append(self.preempt())
        return evicted

    def _surplus(self) -> list[Holding]:
        """Forget what is remembered beside the text that ended last, where it fills more than a part of the cells.

        In one cache attention passes over the cells of all, so what is remembered makes every step slower.
        """
        evicted: list[Holding] = []
        while self.cells is not None and self._ended and self.running:
            held = [h for h in self.slots.free if len(h.tokens)]
            if len(held) < 2 or self.cells.used_by(h.slot for h in held[:-1]) <= self.cells.total // REMEMBERED:
                break
            self.forget(held[0].slot)
            evicted.append(held[0])
        self._ended = self._ended and not self.running
        return evicted

    def _evict(self, need: int, *, but: int | str | None = None) -> tuple[Holding, ...]:
        """Forget remembered prefixes, least recently used first, until `need` cells are free or none are left."""
        assert self.cells is not None
        evicted: list[Holding] = []
        while self.cells.free < need:
            oldest = self.slots.oldest(but=but)
            if oldest is None:
                break
            self.forget(oldest.slot)
            evicted.append(oldest)
        return tuple(evicted)

    def relieve(self) -> int:
        """As `preempt`, where the memory has less room than was counted."""
        self._full = True
        return self.preempt()

    def preempt(self) -> int:
        """Send the youngest sequence of the lowest priority back to the queue; gives its slot, which is to be cleared.

        It keeps its tokens and is computed again later. The first in order is never sent back while another runs, so
        whatever fits the context alone comes to its end.
        """
        victim = max(self.running, key=lambda s: s.order)
        self.running.remove(victim)
        slot = victim.slot
        victim.phase, victim.slot, victim.n_computed, victim.draft = Phase.WAITING, -1, 0, ()
        victim.preempted += 1
        self.slots.unshare(slot)
        self.slots.give(slot, ())
        if self.cells is not None:
            self.cells.set(slot, 0)
        self.preemptions += 1
        self._scattered = True
        self._caution = min(1.0, self._caution + 0.2)
        self.queue.add(victim)
        return slot

    def evict_one(self) -> Holding | None:
        """Forget the least recently used prefix, when the memory had less room than was counted."""
        oldest = self.slots.oldest()
        if oldest is not None:
            self.forget(oldest.slot)
        return oldest

    def forget(self, slot: int) -> None:
        """The memory of a free slot is cleared."""
        self.slots.forget(slot)
        if self.cells is not None:
            self.cells.set(slot, 0)

    def restore(self, slot: int, tokens: list[int]) -> None:
        """The memory of a free slot was filled with `tokens`."""
        self.slots.replace(slot, tokens)
        if self.cells is not None:
            self.cells.set(slot, 0)
            self.cells.set(slot, len(tokens))

    # -- ending ----------------------------------------------------------------------------------------------------

    def finish(self, sequence: Sequence, *, remember: bool) -> None:
        """End a sequence wherever it is; its slot is free again and remembers what was computed, if asked."""
        if sequence.phase is Phase.WAITING:
            self.queue.remove(sequence)
        else:
            self.running.remove(sequence)
            kept = sequence.computed() if remember and sequence.shareable else ()
            self.slots.unshare(sequence.slot)
            self.slots.give(sequence.slot, kept, sequence.request.salt)
            if self.cells is not None:
                self.cells.set(sequence.slot, len(kept))
        self._ended, self._full, self._scattered = True, False, True
        sequence.phase = Phase.FINISHED
