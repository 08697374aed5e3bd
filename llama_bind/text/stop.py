"""Stop strings in a stream of text.

The match whose last character comes first wins; of those that end at the same character, the longest. So a stream stops
as early as it can, and the result does not depend on how the text was cut into pieces. (llama-server looks once per
token and then takes the earliest start: the same result whenever a token completes no more than one stop string.)

Not for: end-of-generation tokens (the engine sees those as ids) or text to tokens (``assembler.py``).
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from functools import lru_cache

from llama_bind.errors import InputError, TextEncodingError

__all__ = ["MAX_STOP_CHARS", "StopMatcher", "check_stops"]

MAX_STOP_CHARS = 65_536
"""Characters in all stop strings of one request together."""


def check_stops(stops: str | Sequence[str] | None, param: str = "stop") -> tuple[str, ...]:
    """The stop strings as a tuple without repetitions, in their order; one string alone and None are taken too.

    Raises:
        InputError: Something that is not a string, an empty string, or over `MAX_STOP_CHARS` characters in all.
        TextEncodingError: A lone surrogate, which no model can write.
    """
    if stops is None:
        return ()
    strings = (stops,) if isinstance(stops, str) else tuple(stops)
    for stop in strings:
        if not isinstance(stop, str):
            raise InputError(f"stop strings are str, not {type(stop).__name__}", param=param)
        if not stop:
            raise InputError("an empty stop string would stop before the first token; leave it out", param=param)
        try:
            stop.encode()
        except UnicodeEncodeError as error:
            raise TextEncodingError(f"stop string {stop!r} is not valid Unicode: {error.reason}", param=param) from None
    if sum(map(len, strings)) > MAX_STOP_CHARS:
        raise InputError(f"stop strings hold more than {MAX_STOP_CHARS} characters in all", param=param)
    return tuple(dict.fromkeys(strings))


class _Automaton:
    """Aho and Corasick, "Efficient string matching" (1975). Node 0 is the root; a node stands for a stop's prefix.

    `source[node]` is a stop that begins with the node's string and `depth[node]` that string's length, so the text
    held back never needs storing. `found[node]` is the longest stop that the node's string ends with.
    """

    __slots__ = ("depth", "fail", "first", "found", "next", "source")

    def __init__(self, stops: tuple[str, ...]) -> None:
        self.next: list[dict[str, int]] = [{}]
        self.fail = [0]
        self.depth = [0]
        self.source = [""]
        self.found: list[str | None] = [None]
        for stop in stops:
            self._insert(stop)
        self._link()
        self.first = re.compile("[" + "".join(map(re.escape, self.next[0])) + "]")

    def _insert(self, stop: str) -> None:
        node = 0
        for depth, char in enumerate(stop, 1):
            child = self.next[node].get(char)
            if child is None:
                child = self.next[node][char] = len(self.next)
                self.next.append({})
                self.fail.append(0)
                self.depth.append(depth)
                self.source.append(stop)
                self.found.append(None)
            node = child
        self.found[node] = stop

    def _link(self) -> None:
        queue = deque(self.next[0].values())
        while queue:
            node = queue.popleft()
            for char, child in self.next[node].items():
                self.fail[child] = self.step(self.fail[node], char)
                queue.append(child)
            if self.found[node] is None:
                self.found[node] = self.found[self.fail[node]]

    def step(self, node: int, char: str) -> int:
        """The node after one more character. Amortized O(1) over a text."""
        edges = self.next
        while True:
            child = edges[node].get(char)
            if child is not None:
                return child
            if not node:
                return 0
            node = self.fail[node]


_compile = lru_cache(maxsize=32)(_Automaton)


class StopMatcher:
    """Finds stop strings in a text that arrives in pieces, holding back only what may be the beginning of one.

    Args:
        stops: Stop strings; none at all costs nothing.

    Raises:
        InputError: See `check_stops`.
    """

    __slots__ = ("_automaton", "_node", "matched")

    def __init__(self, stops: str | Sequence[str] = ()) -> None:
        strings = check_stops(stops)
        self._automaton = _compile(strings) if strings else None
        self._node = 0
        self.matched: str | None = None
        """The stop string that was found."""

    @property
    def held(self) -> int:
        """Characters held back now."""
        return 0 if self._automaton is None else self._automaton.depth[self._node]

    def push(self, text: str) -> tuple[str, str | None]:
        """Take the next text; return what is safe to show now, and the stop string if it is complete.

        Nothing of the stop string nor of what follows it is ever returned; after a match every push returns
        ``("", stop)``. Linear in the characters taken.
        """
        automaton = self._automaton
        if automaton is None:
            return text, None
        if self.matched is not None:
            return "", self.matched
        before = node = self._node
        position = 0
        if not node:
            hit = automaton.first.search(text)
            if hit is None:
                return text, None
            position = hit.start()
        step, found = automaton.step, automaton.found
        for index in range(position, len(text)):
            node = step(node, text[index])
            stop = found[node]
            if stop is not None:
                self.matched, self._node = stop, 0
                return self._release(before, text, automaton.depth[before] + index + 1 - len(stop)), stop
        self._node = node
        return self._release(before, text, automaton.depth[before] + len(text) - automaton.depth[node]), None

    def _release(self, before: int, text: str, count: int) -> str:
        """The first `count` characters of the text held at node `before` and then `text`."""
        assert self._automaton is not None
        held = self._automaton.depth[before]
        start = self._automaton.source[before][: min(held, count)]
        return start + text[: count - held] if count > held else start

    def flush(self) -> str:
        """No more text comes: return what was held back (nothing after a match), and hold nothing."""
        if self._automaton is None:
            return ""
        node, self._node = self._node, 0
        return self._automaton.source[node][: self._automaton.depth[node]]
