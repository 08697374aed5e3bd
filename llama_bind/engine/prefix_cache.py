"""Which slot remembers which tokens, and which slot serves a new prompt best. Pure.

A slot is a sequence id of the context. A finished sequence leaves its tokens in the memory; a new prompt that begins
with the same tokens takes that slot and computes only the rest. Not for: touching the memory (the runner does).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

__all__ = ["PrefixCache", "common_prefix"]

Tokens = npt.NDArray[np.int32]


def common_prefix(a: Tokens, b: Tokens) -> int:
    """How many tokens `a` and `b` share from the start."""
    n = min(len(a), len(b))
    if n == 0:
        return 0
    different = np.flatnonzero(a[:n] != b[:n])
    return int(different[0]) if len(different) else n


class PrefixCache:
    """Tokens of the free slots, and the order in which they were last used."""

    def __init__(self, n_slots: int) -> None:
        self._free: dict[int, Tokens] = {slot: np.empty(0, np.int32) for slot in range(n_slots)}

    @property
    def n_free(self) -> int:
        return len(self._free)

    def cached(self) -> dict[int, int]:
        """Tokens remembered by each free slot, least recently used first."""
        return {slot: len(tokens) for slot, tokens in self._free.items()}

    def take(self, prompt: Tokens, *, reuse: bool = True) -> tuple[int, int]:
        """Take the free slot that shares the longest prefix with `prompt`; without any, the emptiest, then the least
        recently used. Gives (slot, shared tokens); the last prompt token is never shared, as its logits are needed.

        Raises:
            LookupError: no slot is free.
        """
        if not self._free:
            raise LookupError("no free slot")
        shared = {slot: common_prefix(tokens, prompt[:-1]) if reuse else 0 for slot, tokens in self._free.items()}
        best = max(shared.values())
        if best > 0:
            slot = next(s for s, n in shared.items() if n == best)
        else:
            slot = min(self._free, key=lambda s: len(self._free[s]) > 0)
        del self._free[slot]
        return slot, best

    def give(self, slot: int, tokens: Sequence[int] | Tokens) -> None:
        """Return a slot whose memory holds exactly `tokens`."""
        if slot in self._free:
            raise ValueError(f"slot {slot} is free already")
        self._free[slot] = np.asarray(tokens, np.int32)

    def tokens(self, slot: int) -> list[int]:
        """What a free slot remembers; empty for one that runs."""
        held: list[int] = self._free.get(slot, np.empty(0, np.int32)).tolist()
        return held

    def replace(self, slot: int, tokens: Sequence[int]) -> None:
        """The memory of a free slot was filled with `tokens`.

        Raises:
            LookupError: the slot runs.
        """
        if slot not in self._free:
            raise LookupError(f"slot {slot} runs")
        self._free[slot] = np.asarray(tokens, np.int32)

    def forget(self, slot: int) -> None:
        """The memory of a free slot was cleared."""
        self._free[slot] = np.empty(0, np.int32)

    def oldest(self) -> int | None:
        """The least recently used free slot that remembers anything."""
        return next((slot for slot, tokens in self._free.items() if len(tokens)), None)
