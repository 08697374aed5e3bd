"""Who is next: priority, then fairness between keys, then arrival. Pure.

Fairness is counted in tokens (the virtual token counter of Sheng et al., "Fairness in Serving Large Language Models",
2024): of two keys that wait, the one that was served fewer tokens is next, and a key that comes back from a pause does
not bring a credit with it. Not for: whether there is room (scheduler).
"""

from __future__ import annotations

import bisect
import heapq
from collections.abc import Iterator

from llama_bind.engine.sequence import Sequence

__all__ = ["WaitingQueue"]

MAX_IDLE_KEYS = 4096
"""Keys without anything waiting whose counters are kept."""


class WaitingQueue:
    """Waiting sequences in lines, one for each priority and key; a line is in order of arrival."""

    def __init__(self) -> None:
        self._lines: dict[tuple[int, str | None], list[tuple[int, Sequence]]] = {}
        self._served: dict[str | None, float] = {}
        self._waiting: dict[str | None, int] = {}  # sequences by key
        self._floor = 0.0  # what the key that was chosen last had been served: where others may come in
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Sequence]:
        """All, in order of priority and arrival."""
        everyone = [(s.order, s) for line in self._lines.values() for _, s in line]
        return iter(s for _, s in sorted(everyone, key=lambda e: e[0]))

    def add(self, sequence: Sequence) -> None:
        """Put a sequence into its line; one that was sent back takes its old place."""
        request = sequence.request
        if request.key not in self._waiting:
            self._lift(request.key)
        self._waiting[request.key] = self._waiting.get(request.key, 0) + 1
        line = self._lines.setdefault((-request.priority, request.key), [])
        bisect.insort(line, (sequence.arrival, sequence), key=lambda entry: entry[0])
        self._count += 1

    def remove(self, sequence: Sequence) -> None:
        """Take a sequence out.

        Raises:
            LookupError: it does not wait.
        """
        name = (-sequence.request.priority, sequence.request.key)
        line = self._lines.get(name, [])
        place = bisect.bisect_left(line, sequence.arrival, key=lambda entry: entry[0])
        if place == len(line) or line[place][1] is not sequence:
            raise LookupError("the sequence does not wait")
        del line[place]
        self._count -= 1
        self._waiting[sequence.request.key] -= 1
        if not self._waiting[sequence.request.key]:
            del self._waiting[sequence.request.key]
        if not line:
            del self._lines[name]

    def candidates(self, most: int) -> Iterator[Sequence]:
        """The next ones, best first, at most `most`: the heads of the lines, then those behind them."""
        depth, left = 0, most
        lines = list(self._lines.items())
        while left > 0 and lines:
            lines = [entry for entry in lines if len(entry[1]) > depth]
            heads = [(priority, self._served[key], *line[depth]) for (priority, key), line in lines]
            heapq.heapify(heads)  # mostly only the first is looked at
            while heads and left > 0:
                yield heapq.heappop(heads)[3]
                left -= 1
            depth += 1

    def chosen(self, sequence: Sequence) -> None:
        """A waiting sequence starts."""
        self._floor = max(self._floor, self._served[sequence.request.key])
        self.remove(sequence)

    def charge(self, key: str | None, tokens: int) -> None:
        """`tokens` were computed for a key."""
        self._served[key] = self._served.get(key, 0.0) + tokens

    def _lift(self, key: str | None) -> None:
        """A key that did not wait comes in where the one that was chosen last stood."""
        if len(self._served) > MAX_IDLE_KEYS + len(self._waiting):
            self._served = {k: v for k, v in self._served.items() if k in self._waiting}
        self._served[key] = max(self._served.get(key, 0.0), self._floor)
