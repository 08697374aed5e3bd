"""Which tokens are where: in the slots of the context, running or free, and in saved states. Pure.

A slot is a sequence id of the context. A finished sequence leaves its tokens in the memory; a new prompt that begins
with the same tokens takes the slot over, or copies the beginning out of it, also from a slot that is running or still
computing its prompt. Not for: touching the memory (the runner does), or the bytes of saved states (store).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Many

import numpy as np

from llama_bind.engine.radix import RadixTree, Tokens
from llama_bind.engine.sequence import Sequence

__all__ = ["Holding", "Match", "PrefixCache"]

HOLD_WORTH = 32
"""Tokens that another sequence must be about to compute for a prompt to wait for them."""
SAVED_SHARE = 8
"""One part in this of a saved state must be of use for it to be loaded: it is loaded whole."""
EMPTY = np.empty(0, np.int32)


@dataclasses.dataclass(frozen=True)
class Holding:
    """Tokens that the memory of a slot holds, and the salt under which they may be shared."""

    slot: int
    tokens: Tokens
    salt: bytes = b""


@dataclasses.dataclass(frozen=True)
class Match:
    """The best beginning for a prompt.

    Attributes:
        source: A slot, or the key of a saved state; None: nothing worth sharing.
        keep: Tokens shared.
        coming: Tokens that a sequence which computes its prompt right now will share; more than `keep`, or 0.
        seen: The longest beginning that anybody shares, even if it cannot be taken from there.
    """

    source: int | str | None = None
    keep: int = 0
    coming: int = 0
    seen: int = 0


class PrefixCache:
    """Slots and what they hold.

    Args:
        n_slots: Sequence ids of the context.
        copy_worth: Shared tokens below which copying costs more than computing.
        can_cut: Whether the memory can be cut at any token; else only whole paths can be shared.
        apart: Whether each slot is a stream of its own: those that run side by side are computed together.
    """

    def __init__(self, n_slots: int, *, copy_worth: int = 1, can_cut: bool = True, apart: bool = False) -> None:
        self.copy_worth = copy_worth
        self.can_cut = can_cut
        self.apart = apart
        self.tree: RadixTree[int | str] = RadixTree()
        self._free: dict[int, Holding] = {slot: Holding(slot, EMPTY) for slot in range(n_slots)}
        self._running: dict[int, Sequence] = {}

    @property
    def n_free(self) -> int:
        return len(self._free)

    @property
    def free(self) -> Many[Holding]:
        """What the free slots hold, the least recently used first."""
        return list(self._free.values())

    def match(self, sequence: Sequence) -> Match:
        """The best beginning for a sequence; its last token is never shared, as its logits are needed."""
        best, rank, coming, seen = Match(), 3, 0, 0
        for holder, depth, whole in self.tree.matches(sequence.view()[:-1], sequence.request.salt):
            seen = max(seen, depth)
            if depth < best.keep:
                break
            running = self._running.get(holder) if isinstance(holder, int) else None
            if running is not None:
                have = min(depth, running.n_computed) if self.can_cut else 0
                if self.can_cut and depth > have:
                    coming = max(coming, depth)
            else:
                have = depth if self.can_cut or whole else 0
                if isinstance(holder, str) and SAVED_SHARE * depth < self.tree.length(holder):
                    have = 0  # loading all of it would take longer than computing the part
            order = 2 if isinstance(holder, str) else int(running is not None)
            if have > best.keep or (have == best.keep > 0 and order < rank):
                best, rank = Match(holder, have), order
        if best.keep and not self._worth(best):
            best = Match()
        worth_waiting = coming - best.keep >= max(HOLD_WORTH, self.copy_worth)
        return dataclasses.replace(best, coming=coming if worth_waiting else 0, seen=seen)

    def take(self, match: Match) -> tuple[int, Holding]:
        """Take a free slot for a match: the slot that holds it already where little else is lost, the emptiest or
        least recently used otherwise. Gives the slot and what it held.

        Raises:
            LookupError: no slot is free.
        """
        if not self._free:
            raise LookupError("no free slot")
        own = self._free.get(match.source) if isinstance(match.source, int) else None
        others = [h for h in self._free.values() if h is not own]
        if own is not None and (not others or len(own.tokens) - match.keep <= self.copy_worth):
            held = own
        else:
            held = self._least_missed(others)
            if own is not None:  # it was of use: the last to go
                self._free[own.slot] = self._free.pop(own.slot)
        del self._free[held.slot]
        self.tree.remove(held.slot)
        return held.slot, held

    def _least_missed(self, others: list[Holding]) -> Holding:
        """An empty slot, else the least recently used; of streams one of the older half, beside others that run."""
        if not self.apart:
            return min(others, key=lambda h: len(h.tokens) > 0)
        older = [h for i, h in enumerate(others) if not len(h.tokens) or 2 * i <= len(others)]
        running = self._running.keys()
        return min(older, key=lambda h: (len(h.tokens) > 0, -(h.slot - 1 in running) - (h.slot + 1 in running)))

    def run(self, slot: int, sequence: Sequence) -> None:
        """A taken slot runs `sequence`; what it computes can be shared as it comes."""
        self._running[slot] = sequence
        if sequence.shareable:
            self.tree.insert(slot, sequence.view(), sequence.request.salt)

    def give(self, slot: int, tokens: Many[int] | Tokens, salt: bytes = b"") -> None:
        """Return a slot whose memory holds exactly `tokens`."""
        if slot in self._free:
            raise ValueError(f"slot {slot} is free already")
        self._running.pop(slot, None)
        self._hold(Holding(slot, np.asarray(tokens, np.int32), salt))

    def exchange(self, running: int, free: int) -> None:
        """What runs in one slot goes on in another, whose memory is now that of the first."""
        sequence, shared = self._running.pop(running), running in self.tree
        for slot in (running, free):
            self.tree.remove(slot)
        self._free = {
            slot if slot != free else running: held if slot != free else dataclasses.replace(held, slot=running)
            for slot, held in self._free.items()
        }
        self.tree.insert(running, self._free[running].tokens, self._free[running].salt)
        self._running[free] = sequence
        if shared:
            self.tree.insert(free, sequence.view(), sequence.request.salt)

    def unshare(self, slot: int) -> None:
        """The memory of a running slot does not hold the beginning of its tokens any more."""
        self.tree.remove(slot)

    def tokens(self, slot: int) -> list[int]:
        """What a free slot remembers; empty for one that runs."""
        held = self._free.get(slot)
        found: list[int] = [] if held is None else held.tokens.tolist()
        return found

    def count(self, slot: int) -> int:
        """How many tokens a free slot remembers; 0 for one that runs."""
        held = self._free.get(slot)
        return 0 if held is None else len(held.tokens)

    def replace(self, slot: int, tokens: Many[int]) -> None:
        """The memory of a free slot was filled with `tokens`.

        Raises:
            LookupError: the slot runs.
        """
        if slot not in self._free:
            raise LookupError(f"slot {slot} runs")
        del self._free[slot]
        self._hold(Holding(slot, np.asarray(tokens, np.int32)))

    def forget(self, slot: int) -> None:
        """The memory of a free slot was cleared."""
        if slot in self._free:
            self._free[slot] = Holding(slot, EMPTY)
            self.tree.remove(slot)

    def oldest(self, *, but: int | str | None = None) -> Holding | None:
        """The least recently used free slot that remembers anything, and is not `but`."""
        return next((h for h in self._free.values() if len(h.tokens) and h.slot != but), None)

    def rests(self, holder: int | str) -> bool:
        """Whether a holder is no running slot, which may go on to something else."""
        return isinstance(holder, str) or holder in self._free

    def add_saved(self, key: str, tokens: Tokens, salt: bytes) -> None:
        """A saved state can give a beginning."""
        self.tree.insert(key, tokens, salt)

    def drop_saved(self, key: str) -> None:
        """A saved state is gone."""
        self.tree.remove(key)

    def _hold(self, holding: Holding) -> None:
        self._free[holding.slot] = holding
        self.tree.insert(holding.slot, holding.tokens, holding.salt)

    def _worth(self, match: Match) -> bool:
        """Whether sharing is worth more than computing: taking over a slot always is, copying from a few tokens on."""
        return match.source in self._free or match.keep >= self.copy_worth
