"""Check the rules of a parsed grammar for what makes llama.cpp's grammar engine refuse, hang, overflow or abort.

Undefined rules and left recursion are refused as llama.cpp refuses them (``src/llama-grammar.cpp``). Beyond that it
has no guard against: left recursion hidden behind rules that are empty only through other rules (its stacks grow
without end), rules that can never begin to match (an assertion), its own left recursion test (recursive, and
exponential where rules refer twice to each other), and positions that may continue in very many ways. All checks take
time linear in the size of the rules and keep their own stacks.

Not caught: ambiguous grammars such as ``([a-z]+)*``, which run, but where llama.cpp's masking takes time exponential
in the length of a token. Not for: reading grammar text (``gbnf``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

__all__ = ["MAX_LEFT_DEPTH", "MAX_LEFT_STEPS", "MAX_STACKS", "Element", "Fault", "Kind", "find_fault"]

Element = tuple[int, int]
Rule = Sequence[Element]

MAX_LEFT_DEPTH = 4000
"""Most rules that may begin with each other in a chain: llama.cpp recurses on the C stack along it."""
MAX_LEFT_STEPS = 1_000_000
"""Most calls that llama.cpp's left recursion test may make (tens of nanoseconds each)."""
MAX_STACKS = 10_000
"""Most ways in which a grammar may go on at one position: llama.cpp keeps a stack for each, and compares them all."""


class Kind:
    """What an element is (``enum llama_gretype``)."""

    END = 0
    ALT = 1
    RULE_REF = 2
    CHAR = 3
    CHAR_NOT = 4
    CHAR_RNG_UPPER = 5
    CHAR_ALT = 6
    CHAR_ANY = 7
    TOKEN = 8
    TOKEN_NOT = 9


@dataclasses.dataclass(frozen=True)
class Fault:
    """What is wrong with the rules: about which rule, and whether that rule is referred to but not defined."""

    rule: int
    message: str
    undefined: bool = False


def find_fault(rules: Sequence[Rule], names: Mapping[int, str], root: int | None, root_name: str) -> Fault | None:
    """The first fault, or None. `root` is the number of the start rule, None when it never occurs."""
    return (
        _undefined(rules, names)
        or _root_missing(rules, root, root_name)
        or _left_recursion(rules, names)
        or _closures(rules, names)
    )


def _undefined(rules: Sequence[Rule], names: Mapping[int, str]) -> Fault | None:
    for number, rule in enumerate(rules):
        if not rule:
            return _undefined_fault(number, names)
        for kind, value in rule:
            if kind == Kind.RULE_REF and (value >= len(rules) or not rules[value]):
                return _undefined_fault(value, names)
    return None


def _undefined_fault(number: int, names: Mapping[int, str]) -> Fault:
    name = names[number]
    return Fault(number, f"the rule {name!r} is not defined; add a line '{name} ::= ...'", undefined=True)


def _root_missing(rules: Sequence[Rule], root: int | None, name: str) -> Fault | None:
    if root is None:
        return Fault(-1, f"the grammar has no rule {name!r}, where it would start; add a line '{name} ::= ...'")
    if root >= len(rules):  # llama.cpp would read past the end of its rules
        return Fault(root, f"the start rule {name!r} is named but not defined; add a line '{name} ::= ...'", True)
    return None


def _alternates(rule: Rule) -> Iterator[list[Element]]:
    """The alternates of a rule, each element that continues a character class left out."""
    current: list[Element] = []
    for element in rule:
        kind = element[0]
        if kind in (Kind.ALT, Kind.END):
            yield current
            current = []
        elif kind not in (Kind.CHAR_ALT, Kind.CHAR_RNG_UPPER):
            current.append(element)


def _written_name(number: int, names: Mapping[int, str]) -> str:
    """The name of the rule, or of the rule that a group or repetition is part of (only their names hold '_')."""
    return names[number].split("_")[0]


# -- llama.cpp's own test -------------------------------------------------------------------------------------------


def _left_recursion(rules: Sequence[Rule], names: Mapping[int, str]) -> Fault | None:
    """Walk as llama.cpp's test walks, and count its calls and their depth.

    It takes a rule for possibly empty only when one of its alternates is written empty.
    """
    empty = [any(not alternate for alternate in _alternates(rule)) for rule in rules]
    edges = [_left_refs(rule, empty) for rule in rules]
    steps = [0] * len(rules)  # calls below and with this rule, 0: not known yet
    depth = [0] * len(rules)
    total = 0
    for start in range(len(rules)):
        if steps[start]:
            continue
        open_rules = {start}
        path: list[tuple[int, Iterator[int]]] = [(start, iter(edges[start]))]
        while path:
            number, targets = path[-1]
            target = next((t for t in targets if not steps[t]), None)
            if target is None:
                path.pop()
                open_rules.discard(number)
                steps[number] = min(1 + sum(steps[t] for t in edges[number]), MAX_LEFT_STEPS + 1)
                depth[number] = 1 + max((depth[t] for t in edges[number]), default=0)
            elif target in open_rules:
                return _recursion_fault([n for n, _ in path], target, names)
            else:
                open_rules.add(target)
                path.append((target, iter(edges[target])))
        total += steps[start]
        if total > MAX_LEFT_STEPS:
            return Fault(start, "too many ways to begin with one rule through others; begin alternates with characters")
        if depth[start] > MAX_LEFT_DEPTH:
            return Fault(start, f"more than {MAX_LEFT_DEPTH} rules begin with each other in a chain; shorten it")
    return None


def _left_refs(rule: Rule, empty: Sequence[bool]) -> list[int]:
    """Rules that `rule` may begin with, as often as llama.cpp would look at them."""
    refs: list[int] = []
    for alternate in _alternates(rule):
        for kind, value in alternate:
            if kind != Kind.RULE_REF:
                break
            refs.append(value)
            if not empty[value]:
                break
    return refs


def _recursion_fault(path: list[int], target: int, names: Mapping[int, str], kind: str = "left recursion") -> Fault:
    cycle = [*path[path.index(target) :], target]
    shown = " -> ".join(dict.fromkeys(_written_name(n, names) for n in cycle))
    return Fault(
        target,
        f"{kind}: {shown} can begin with itself; put something before the recursive part, or write it as a repetition",
    )


# -- what it does not test ------------------------------------------------------------------------------------------


@dataclasses.dataclass
class _Left:
    """How a rule may begin: `own` terminals, rules that something follows, rules that nothing follows."""

    own: int = 0
    followed: list[int] = dataclasses.field(default_factory=list)
    last: list[int] = dataclasses.field(default_factory=list)


def _closures(rules: Sequence[Rule], names: Mapping[int, str]) -> Fault | None:
    nullable = _nullable(rules)
    lefts = [_left(rule, nullable) for rule in rules]
    counts = [0] * len(rules)
    for group in _components([[*left.followed, *left.last] for left in lefts]):
        members = set(group)
        for number in group:
            if members.intersection(lefts[number].followed):
                return _recursion_fault(group, group[0], names, "left recursion hidden behind empty rules")
        total = sum(lefts[n].own + sum(counts[t] for t in lefts[n].followed) for n in group)
        total += sum(counts[t] for t in {t for n in group for t in lefts[n].last} - members)
        if total == 0 and not any(nullable[n] for n in group):
            name = _written_name(group[0], names)
            return Fault(group[0], f"the rule {name!r} can never match anything; give it an alternate that ends")
        for number in group:
            counts[number] = min(total, MAX_STACKS + 1)
    return _too_many_stacks(rules, names, nullable, counts)


def _nullable(rules: Sequence[Rule]) -> list[bool]:
    """Whether a rule can match the empty text, through other rules too."""
    nullable = [False] * len(rules)
    waiting: list[int] = []  # references still not known to be nullable, for each alternate made of references
    owners: list[int] = []
    uses: list[list[int]] = [[] for _ in rules]
    found: list[int] = []
    for number, rule in enumerate(rules):
        for alternate in _alternates(rule):
            if any(kind != Kind.RULE_REF for kind, _ in alternate):
                continue
            for _, value in alternate:
                uses[value].append(len(waiting))
            waiting.append(len(alternate))
            owners.append(number)
            if not alternate:
                found.append(number)
    while found:
        number = found.pop()
        if nullable[number]:
            continue
        nullable[number] = True
        for index in uses[number]:
            waiting[index] -= 1
            if waiting[index] == 0:
                found.append(owners[index])
    return nullable


def _left(rule: Rule, nullable: Sequence[bool]) -> _Left:
    left = _Left()
    for alternate in _alternates(rule):
        for index, (kind, value) in enumerate(alternate):
            if kind != Kind.RULE_REF:
                left.own += 1
                break
            (left.last if index == len(alternate) - 1 else left.followed).append(value)
            if not nullable[value]:
                break
    return left


def _components(edges: Sequence[Sequence[int]]) -> Iterator[list[int]]:
    """Strongly connected components, each after those it leads to (Tarjan's algorithm, without recursion)."""
    order = [0] * len(edges)
    low = [0] * len(edges)
    done = [False] * len(edges)
    stack: list[int] = []
    clock = 0
    for start in range(len(edges)):
        if order[start]:
            continue
        clock += 1
        order[start] = low[start] = clock
        stack.append(start)
        path = [(start, iter(edges[start]))]
        while path:
            number, targets = path[-1]
            for target in targets:
                if not order[target]:
                    clock += 1
                    order[target] = low[target] = clock
                    stack.append(target)
                    path.append((target, iter(edges[target])))
                    break
                if not done[target]:
                    low[number] = min(low[number], order[target])
            else:
                path.pop()
                if path:
                    low[path[-1][0]] = min(low[path[-1][0]], low[number])
                if low[number] == order[number]:
                    group: list[int] = []
                    while not group or group[-1] != number:
                        group.append(stack.pop())
                        done[group[-1]] = True
                    yield group


def _too_many_stacks(
    rules: Sequence[Rule], names: Mapping[int, str], nullable: Sequence[bool], counts: Sequence[int]
) -> Fault | None:
    """Whether some position may go on in more than MAX_STACKS ways."""
    for number, rule in enumerate(rules):
        most = counts[number]
        for alternate in _alternates(rule):
            ways = 1
            for kind, value in reversed(alternate):
                ways = 1 if kind != Kind.RULE_REF else counts[value] + (ways if nullable[value] else 0)
                most = max(most, ways)
        if most > MAX_STACKS:
            name = _written_name(number, names)
            return Fault(number, f"the rule {name!r} can go on in more than {MAX_STACKS} ways; use fewer alternates")
    return None
