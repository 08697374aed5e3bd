"""Between the slots of a context and a store: what is saved when a slot is lost, and what comes back.

Engine thread only. A text is saved when its memory is about to be cleared, and loaded for a prompt that begins as it
does. Not for: finding the best beginning (prefix_cache), where states lie (store), or copying memory (runner).
"""

from __future__ import annotations

from collections.abc import Callable

from llama_bind.engine.prefix_cache import Holding, PrefixCache
from llama_bind.engine.state_file import Entry
from llama_bind.engine.stats import EngineStats, Tier
from llama_bind.engine.store import StoreStats, TieredStore

__all__ = ["Tiers"]

LEAST = 32
"""Tokens below which computing is as fast as anything else."""


class Tiers:
    """Saves what slots lose.

    Args:
        slots: Learns which saved texts there are.
        save: The state of a slot; None where it cannot be saved now.
    """

    def __init__(self, slots: PrefixCache, save: Callable[[int], bytes | None], stats: EngineStats) -> None:
        self._slots = slots
        self._save = save
        self._stats = stats
        self._store: TieredStore | None = None

    def set(self, store: TieredStore | None) -> None:
        """Use another store from now on, or none. The one before is written to disk and closed."""
        if self._store is not None:
            for entry in self._store.entries():
                self._slots.drop_saved(entry.key)
            self._store.on_gone = None
            self._store.close()
        self._store = store
        if store is not None:
            store.on_gone = self._gone
            for entry in store.entries():
                self._slots.add_saved(entry.key, entry.tokens, entry.salt)

    @property
    def store_stats(self) -> StoreStats:
        """Zeros without a store."""
        return StoreStats() if self._store is None else self._store.stats

    def keep(self, held: Holding) -> None:
        """The memory of a slot is about to be cleared, or cut; save it, unless that brings nothing."""
        if self._store is None or len(held.tokens) < LEAST or self._has_it(held):
            return
        state = self._save(held.slot)
        if state is None:
            return
        entry = self._store.put(held.tokens, held.salt, state)
        if entry is not None:
            self._slots.add_saved(entry.key, entry.tokens, entry.salt)
            self._stats.saved += 1
            self._supersede(entry)

    def find(self, key: str) -> tuple[bytes, Tier] | None:
        """The state under a key and where it was; None when it is gone."""
        if self._store is None:
            return None
        tier = self._store.tier(key)
        state = self._store.get(key)
        if state is None or tier is None:
            self._slots.drop_saved(key)
            return None
        self._stats.restored += 1
        return state, tier

    def refused(self, key: str) -> None:
        """A saved state could not be loaded: it is not offered again."""
        self._slots.drop_saved(key)
        if self._store is not None:
            self._store.remove(key)

    def close(self) -> None:
        """Save what the free slots hold, where that outlives this process, and close the store."""
        if self._store is not None and self._store.lasts:
            for held in self._slots.free:
                self.keep(held)
        self.set(None)

    def _gone(self, entry: Entry) -> None:
        self._slots.drop_saved(entry.key)

    def _has_it(self, held: Holding) -> bool:
        """Whether another free slot or saved text holds all of it."""
        free = {other.slot for other in self._slots.free} - {held.slot}
        for holder, depth, whole in self._slots.tree.matches(held.tokens, held.salt):
            if depth < len(held.tokens):
                break
            if (whole or self._slots.can_cut) and (isinstance(holder, str) or holder in free):
                return True
        return False

    def _supersede(self, entry: Entry) -> None:
        """Remove saved texts that this one contains: the turns of a conversation would each be kept otherwise.

        A short beginning stays: for a prompt that shares no more, loading a long text would cost more than it brings.
        """
        assert self._store is not None
        if not self._slots.can_cut:
            return
        n = len(entry.tokens)
        found = list(self._slots.tree.matches(entry.tokens, entry.salt))
        for holder, depth, whole in found:
            if isinstance(holder, str) and holder != entry.key and whole and depth >= n // 2:
                self._slots.drop_saved(holder)
                self._store.remove(holder)
