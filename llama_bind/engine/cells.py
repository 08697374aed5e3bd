"""Which cells of one cache that all sequences share are in use, counted as llama.cpp holds them. Pure.

Sequences that share a beginning by ``llama_memory_seq_cp`` hold its cells together; those that computed the same tokens
each for themselves do not. Not for: a cache that is divided among the sequences, where nobody takes another's cells.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["CellLedger"]


class _Run:
    """Consecutive cells that the same sequences hold: positions start to start + length. `refs`: runs and slots that
    stand on it.
    """

    __slots__ = ("above", "length", "refs", "start")

    def __init__(self, start: int, length: int, above: _Run | None, refs: int) -> None:
        self.start = start
        self.length = length
        self.above = above
        self.refs = refs


class CellLedger:
    """Counts the cells of `n_slots` sequences.

    Attributes:
        total: Cells there are.
        used: Cells held by any sequence.
    """

    def __init__(self, total: int) -> None:
        self.total = total
        self.used = 0
        self._tails: dict[int, _Run | None] = {}

    @property
    def free(self) -> int:
        """Cells held by none."""
        return self.total - self.used

    def length(self, slot: int) -> int:
        """Tokens that a slot holds."""
        tail = self._tails.get(slot)
        return 0 if tail is None else tail.start + tail.length

    def set(self, slot: int, n_tokens: int) -> None:
        """A slot now holds `n_tokens`: its last ones were removed, or more were computed."""
        held = self.length(slot)
        if n_tokens < held:
            self._cut(slot, n_tokens)
        elif n_tokens > held:
            self._grow(slot, n_tokens - held)

    def share(self, source: int, slot: int, n_tokens: int) -> None:
        """`slot`, which is empty, holds the first `n_tokens` of `source` from now on."""
        if self.length(slot):
            raise ValueError(f"slot {slot} is not empty")
        if not 0 <= n_tokens <= self.length(source):
            raise ValueError(f"slot {source} does not hold {n_tokens} tokens")
        run = self._tails.get(source)
        while run is not None and run.start >= n_tokens:
            run = run.above
        if run is not None:
            if run.start + run.length > n_tokens:
                run = self._split(run, n_tokens - run.start)
            run.refs += 1
        self._tails[slot] = run

    def used_by(self, slots: Iterable[int]) -> int:
        """Cells that these slots hold, each counted once."""
        seen: set[_Run] = set()
        for slot in slots:
            run = self._tails.get(slot)
            while run is not None and run not in seen:
                seen.add(run)
                run = run.above
        return sum(run.length for run in seen)

    def _grow(self, slot: int, count: int) -> None:
        tail = self._tails.get(slot)
        self.used += count
        if tail is not None and tail.refs == 1:
            tail.length += count
        else:
            # The new run stands on the old tail in the slot's place, so the tail's count stays.
            start = 0 if tail is None else tail.start + tail.length
            self._tails[slot] = _Run(start, count, tail, 1)

    def _cut(self, slot: int, n_tokens: int) -> None:
        run = self._tails.get(slot)
        while run is not None and run.start >= n_tokens:
            run = self._release(run)
        if run is not None and run.start + run.length > n_tokens:
            if run.refs == 1:
                self.used -= run.start + run.length - n_tokens
                run.length = n_tokens - run.start
            else:
                upper = self._split(run, n_tokens - run.start)
                run.refs -= 1
                upper.refs += 1
                run = upper
        self._tails[slot] = run

    def _release(self, run: _Run) -> _Run | None:
        """A slot leaves a run for the one above; a run that nobody stands on is given back with its place on that."""
        above = run.above
        run.refs -= 1
        if run.refs == 0:
            self.used -= run.length
        elif above is not None:
            above.refs += 1
        return above

    def _split(self, run: _Run, at: int) -> _Run:
        """Cut a run in two; gives the upper one, on which the lower stands."""
        upper = _Run(run.start, at, run.above, 1)
        run.above = upper
        run.start += at
        run.length -= at
        return upper
