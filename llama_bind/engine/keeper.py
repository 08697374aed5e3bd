"""Saves what the context is about to forget, and gives it back when a prompt begins with it. Engine thread only.

Two kinds of states go to the store: what a slot loses to another text, and, for a memory that cannot be cut (recurrent,
hybrid, sliding windows), checkpoints: the state at a place where another prompt may part from this one. Not for: where
states lie (store), or which one serves a prompt (prefix_cache).
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from llama_bind.engine.prefix_cache import Holding
from llama_bind.engine.radix import Tokens
from llama_bind.engine.scheduler import Admission, Scheduler, StepPlan
from llama_bind.engine.sequence import Sequence
from llama_bind.engine.state_file import Entry
from llama_bind.engine.stats import EngineStats, Tier
from llama_bind.engine.store import HostStore, TieredStore

if TYPE_CHECKING:
    from llama_bind.engine.runner import Runner

__all__ = ["CHECKPOINT_BYTES", "Keeper"]

logger = logging.getLogger("llama_bind")

LEAST_TOKENS = 64
"""Fewer are computed sooner than they are saved and loaded."""
CHECKPOINT_BYTES = 256 << 20
"""Host memory for checkpoints where no store is asked for."""


class Keeper:
    """Between the slots of `scheduler` and a store of states. Without a store only checkpoints are kept, in host
    memory, where the memory cannot be cut.
    """

    def __init__(self, runner: Runner, scheduler: Scheduler, stats: EngineStats) -> None:
        self._runner = runner
        self._slots = scheduler.slots
        self._stats = stats
        self._known: set[str] = set()
        self.store: TieredStore | None = None
        self._given = False

    def use(self, store: TieredStore | None) -> None:
        """Take another store from now on. The one before stays as it is, and is the caller's to close.

        What a store holds already, such as files of an earlier process, can be shared at once.
        """
        for key in self._known:
            self._slots.drop_saved(key)
        self._known.clear()
        if self.store is not None:
            self.store.on_gone = None
        self._given = store is not None
        if store is None and not self._runner.can_cut:
            store = TieredStore(self._runner.fingerprint, HostStore(CHECKPOINT_BYTES))
        self.store = store
        if store is not None:
            store.on_gone = self._gone
            for entry in store.entries():
                self._add(entry)

    def state(self, admission: Admission) -> tuple[bytes | None, Tier]:
        """What was saved under an admission's source, where that is no slot, and where it lay."""
        if self.store is None or not isinstance(admission.source, str):
            return None, "device"
        tier: Tier = "disk" if self.store.tier(admission.source) == "disk" else "host"
        return self.store.get(admission.source), tier

    def refused(self, admission: Admission, error: Exception) -> None:
        """What was saved under an admission's source could not be loaded: it is of no use."""
        logger.warning("a saved prefix could not be loaded, and is dropped: %s", error)
        key = admission.source
        if self.store is not None and isinstance(key, str):
            self._known.discard(key)
            self._slots.drop_saved(key)
            self.store.remove(key)

    def before_admission(self, admission: Admission) -> None:
        """The admission's slot, and those that make room for it, lose what they held."""
        kept = admission.keep if admission.source == admission.slot else 0
        if len(admission.lost.tokens) - kept >= LEAST_TOKENS:
            self._save(admission.lost)
        for held in admission.evicted:
            self._save(held)

    def before_step(self, plan: StepPlan) -> None:
        """The slots that make room for a step lose what they held."""
        for held in plan.evicted:
            self._save(held)

    def after_step(self, plan: StepPlan) -> None:
        """Save the states that were asked for where the step ended."""
        for chunk in plan.chunks:
            sequence = chunk.sequence
            if sequence.n_computed in sequence.checkpoints:
                sequence.checkpoints.remove(sequence.n_computed)
                self._checkpoint(sequence)

    def close(self) -> None:
        """Bring what the slots remember to the files, where there are any."""
        if self.store is not None and self._given and self.store.has_disk:
            for held in self._slots.free:
                self._save(held)
            self.store.flush()

    def _checkpoint(self, sequence: Sequence) -> None:
        tokens = sequence.view()[: sequence.n_computed]
        if self.store is not None and not self._held(tokens, sequence.request.salt):
            self._put(sequence.slot, tokens, sequence.request.salt)

    def _save(self, held: Holding) -> None:
        if self.store is None or not (self._given or not self._runner.can_cut) or len(held.tokens) < LEAST_TOKENS:
            return
        if not self._held(held.tokens, held.salt, but=held.slot):
            self._put(held.slot, held.tokens, held.salt)

    def _put(self, slot: int, tokens: Tokens, salt: bytes) -> None:
        assert self.store is not None
        if not self.store.takes(len(tokens), self._runner.state_size(slot)):
            return
        state = self._runner.save(slot)
        entry = None if state is None else self.store.put(tokens, salt, state)
        if entry is not None:
            self._supersede(entry)
            self._add(entry)
            self._stats.saved += 1

    def _supersede(self, entry: Entry) -> None:
        """Remove saved texts that this one contains: each turn of a conversation would be kept otherwise.

        A short beginning stays: for a prompt that shares no more, loading a long text would cost more than it brings.
        """
        if self.store is None or not self._runner.can_cut:
            return
        contained = [
            holder
            for holder, depth, whole in self._slots.tree.matches(entry.tokens, entry.salt)
            if isinstance(holder, str) and whole and 2 * depth >= len(entry.tokens)
        ]
        for key in contained:
            self.store.remove(key)
            self._known.discard(key)
            self._slots.drop_saved(key)

    def _held(self, tokens: Tokens, salt: bytes, *, but: int | None = None) -> bool:
        """Whether a free slot or a saved state holds all of these tokens."""
        for holder, depth, whole in self._slots.tree.matches(tokens, salt):
            if depth < len(tokens):
                return False
            if holder != but and (whole or self._runner.can_cut) and self._slots.rests(holder):
                return True
        return False

    def _add(self, entry: Entry) -> None:
        self._known.add(entry.key)
        self._slots.add_saved(entry.key, entry.tokens, entry.salt)

    def _gone(self, entry: Entry) -> None:
        self._known.discard(entry.key)
        self._slots.drop_saved(entry.key)
