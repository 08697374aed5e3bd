"""The rules of a parsed GBNF grammar as trees: repetitions, which the parser writes out as rules, put together again.

Not for: reading GBNF (``gbnf``), or what becomes of the trees (``gbnf_lark``).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from llama_bind.structured.gbnf import Grammar
from llama_bind.structured.gbnf_rules import Element, Kind

__all__ = ["TOP", "Alt", "Chars", "Many", "Node", "Ref", "Seq", "Token", "Tree", "tree_of"]

TOP = 0x10FFFF
"""The last character."""
_SURROGATES = (0xD800, 0xDFFF)
SHORTEST_RUN = 8
"""Equal parts in a row that become a repetition."""
Ranges = tuple[tuple[int, int], ...]


@dataclasses.dataclass(frozen=True)
class Chars:
    """One character of some ranges, which are in order and apart."""

    ranges: Ranges


@dataclasses.dataclass(frozen=True)
class Token:
    """One token, or any but this one."""

    id: int
    negated: bool


@dataclasses.dataclass(frozen=True)
class Ref:
    """What a rule matches."""

    rule: int


@dataclasses.dataclass(frozen=True)
class Seq:
    """One after the other; of none, nothing."""

    parts: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Alt:
    """One of these."""

    options: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Many:
    """`low` to `high` times; None: without end."""

    node: Node
    low: int
    high: int | None


Node: TypeAlias = "Chars | Token | Ref | Seq | Alt | Many"


@dataclasses.dataclass(frozen=True)
class Tree:
    """Rules by number, those left out that are only repetitions; `root` is where the output starts."""

    rules: dict[int, Node]
    root: int

    def regular(self) -> frozenset[int]:
        """The rules that name no token and do not come back to themselves, nor name rules that do."""
        found: set[int] = set()
        targets = {number: set(refs_of(node)) for number, node in self.rules.items()}
        users: dict[int, list[int]] = {number: [] for number in self.rules}
        for number, refs in targets.items():
            for ref in refs:
                users[ref].append(number)
        ready = [n for n, refs in targets.items() if not refs and not has_token(self.rules[n])]
        while ready:
            number = ready.pop()
            found.add(number)
            for user in users[number]:
                targets[user].discard(number)
                if not targets[user] and not has_token(self.rules[user]):
                    ready.append(user)
        return frozenset(found)


def refs_of(node: Node) -> Iterator[int]:
    """The rules that a tree names."""
    return (leaf.rule for leaf in leaves(node) if isinstance(leaf, Ref))


def has_token(node: Node) -> bool:
    """Whether a tree names a token."""
    return any(isinstance(leaf, Token) for leaf in leaves(node))


def leaves(node: Node) -> Iterator[Node]:
    """The characters, tokens and references of a tree, in order."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, (Seq, Alt)):
            stack += reversed(node.parts if isinstance(node, Seq) else node.options)
        elif isinstance(node, Many):
            stack.append(node.node)
        else:
            yield node


def tree_of(grammar: Grammar) -> Tree:
    """The trees of the rules of a checked grammar whose tokens are all given by their ids."""
    return _Reader(grammar).tree(grammar.symbols[grammar.root])


class _Reader:
    def __init__(self, grammar: Grammar) -> None:
        self._rules = [_alternates(rule) for rule in grammar.rules]
        self._repeated: dict[int, tuple[list[Node], int | None]] = {}  # rule -> what it repeats, and how often at most
        for number in range(len(self._rules)):
            self._find_repetition(number)

    def tree(self, root: int) -> Tree:
        """The rules that the root needs."""
        rules: dict[int, Node] = {}
        waiting = [root]
        while waiting:
            number = waiting.pop()
            if number not in rules:
                rules[number] = self._node(number)
                waiting += refs_of(rules[number])
        return Tree(rules, root)

    def _find_repetition(self, number: int) -> None:
        """A rule ``S ::= X S |`` is any number of X; ``S1 ::= X |`` one at most, ``S2 ::= X S1 |`` two, and so on."""
        alternates = self._rules[number]
        if len(alternates) != 2 or alternates[1] or not alternates[0]:
            return
        item, last = alternates[0][:-1], alternates[0][-1]
        if last == Ref(number):
            if item and Ref(number) not in item:
                self._repeated[number] = (item, None)
            return
        if isinstance(last, Ref) and last.rule in self._repeated:
            inner, count = self._repeated[last.rule]
            if inner == item and count is not None:
                self._repeated[number] = (item, count + 1)
                return
        if Ref(number) not in alternates[0]:
            self._repeated[number] = (alternates[0], 1)

    def _node(self, number: int) -> Node:
        repeated = self._repeated.get(number)
        if repeated is not None:
            return self._many(*repeated)
        return _alt([self._seq(alternate) for alternate in self._rules[number]])

    def _many(self, item: list[Node], high: int | None) -> Node:
        return Many(self._seq(item), 0, high)

    def _seq(self, items: Sequence[Node]) -> Node:
        parts: list[Node] = []
        for item in items:
            if isinstance(item, Ref) and item.rule in self._repeated:
                inner, high = self._repeated[item.rule]
                node = self._many(inner, high)
                assert isinstance(node, Many)
                low = 0
                while parts[len(parts) - len(inner) :] == [self._one(i) for i in inner] and len(parts) >= len(inner):
                    del parts[len(parts) - len(inner) :]  # what must be there at least stands before it
                    low += 1
                parts.append(Many(node.node, low, None if high is None else low + high))
            else:
                parts.append(self._one(item))
        short: list[Node] = []
        for node, run in itertools.groupby(parts):
            count = len(list(run))
            short += [Many(node, count, count)] if count >= SHORTEST_RUN else [node] * count
        return short[0] if len(short) == 1 else Seq(tuple(short))

    def _one(self, item: Node) -> Node:
        if isinstance(item, Ref) and item.rule in self._repeated:
            return self._many(*self._repeated[item.rule])
        return item


def _alt(options: list[Node]) -> Node:
    unique = tuple(dict.fromkeys(options))
    return unique[0] if len(unique) == 1 else Alt(unique)


def _alternates(rule: Sequence[Element]) -> list[list[Node]]:
    found: list[list[Node]] = []
    current: list[Node] = []
    ranges: list[tuple[int, int]] | None = None
    negated = False

    def close() -> None:
        nonlocal ranges
        if ranges is not None:
            current.append(Chars(_normal(ranges, negated)))
            ranges = None

    for kind, value in rule:
        if kind in (Kind.CHAR_ALT, Kind.CHAR_RNG_UPPER):
            assert ranges is not None
            if kind == Kind.CHAR_ALT:
                ranges.append((value, value))
            else:
                ranges[-1] = (ranges[-1][0], value)
            continue
        close()
        if kind in (Kind.ALT, Kind.END):
            found.append(current)
            current = []
        elif kind in (Kind.CHAR, Kind.CHAR_NOT):
            ranges, negated = [(value, value)], kind == Kind.CHAR_NOT
        elif kind == Kind.CHAR_ANY:
            ranges, negated = [(0, TOP)], False
        elif kind == Kind.RULE_REF:
            current.append(Ref(value))
        else:
            current.append(Token(value, kind == Kind.TOKEN_NOT))
    return found


def _normal(ranges: Sequence[tuple[int, int]], negated: bool) -> Ranges:
    """In order, apart, without what is no character."""
    merged: list[tuple[int, int]] = []
    for low, high in sorted((a, min(b, TOP)) for a, b in ranges if a <= min(b, TOP)):
        if merged and low <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(high, merged[-1][1]))
        else:
            merged.append((low, high))
    if negated:
        edges = [-1, *(edge for pair in merged for edge in pair), TOP + 1]
        merged = [(a + 1, b - 1) for a, b in zip(edges[::2], edges[1::2], strict=True) if a + 1 <= b - 1]
    return tuple(part for low, high in merged for part in _possible(low, high))


def _possible(low: int, high: int) -> list[tuple[int, int]]:
    """What of a range can stand in a text: no surrogates, and no NUL, which llama.cpp never lets through."""
    first, last = _SURROGATES
    low = max(low, 1)
    parts = [(low, min(high, first - 1)), (max(low, last + 1), high)]
    return [part for part in parts if part[0] <= part[1]]
