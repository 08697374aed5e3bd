"""Objects as rules: named members in their order, then members of other names in any.

Not for: their keywords (``schema_members.py``).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING

from llama_bind.structured import schema_members as members
from llama_bind.structured.schema_document import FALSE, Beyond
from llama_bind.structured.schema_empty import empty_terminals
from llama_bind.structured.schema_grammar import EMPTY, NEVER, Expr, alt, many, opt, rule, seq, text, times
from llama_bind.structured.schema_languages import Language
from llama_bind.structured.schema_leaves import any_of, quoted
from llama_bind.structured.schema_shapes import Demand, Objects, Some, Strings, both

if TYPE_CHECKING:
    from llama_bind.structured.schema_rules import Rules

__all__ = ["obj"]

MAX_PATTERNS = 6
"""Patterns of names in one object, unless no name can match two of them: else there are two to their number kinds."""
MAX_DISJOINT = 40
MAX_COUNTED = 4000
"""Members times the count that they are held to."""

Languages = tuple[Language, ...]


def obj(rules: Rules, shape: Objects) -> Expr:
    """The rule of all objects of a shape."""
    return alt(_one(rules, settled) for settled in rules.expander.settled(shape)) if shape.some else _one(rules, shape)


def _one(rules: Rules, shape: Objects) -> Expr:
    allowed = rules.expander.expand(shape.keys).strings if shape.keys else (Strings(),)
    names, rest = _names(shape, allowed)
    items: list[tuple[Expr, bool]] = []
    for name in names:
        wanted = members.member(shape, name)
        needed = name in shape.required
        if not any(own.has(name) for own in allowed) or wanted == FALSE:
            if needed:
                return NEVER
            continue
        items.append((seq(text(quoted(name)), rules.colon, rules.value(wanted)), needed))
    count = sum(needed for _, needed in items)
    least = max(0, shape.least - count)
    named = rules.members == "named" and _names_all(shape) and least <= len(items) - count
    others = _others(rules, shape, allowed, names, None, by_pattern=named) if rest else NEVER
    most = None if shape.most is None else shape.most - count
    if most is not None and most < 0:
        return NEVER
    try:
        if shape.some:
            special = _special(rules, shape, allowed, names) if rest else NEVER
            inner = _with_special(rules, items, others, special, least, most)
        else:
            inner = _members(rules, items, others, least, most)
    except Beyond as beyond:
        rules.leave_out(beyond)
        inner = _members(rules, items, others, 0, None)
    return seq(rules.open_object, inner, rules.close_object)


def _special(rules: Rules, shape: Objects, allowed: tuple[Strings, ...], names: list[str]) -> Expr:
    """The member without a name of its own that must be there."""
    if len(shape.some) > 1:
        raise Beyond("", None, "that several members break schemas cannot be put into a grammar")
    return _others(rules, shape, allowed, names, shape.some[0])


def _with_special(
    rules: Rules,
    items: list[tuple[Expr, bool]],
    others: Expr,
    special: Expr,
    least: int,
    most: int | None,
) -> Expr:
    if most is not None or least > 1:
        raise Beyond(
            "minProperties" if most is None else "maxProperties", None, "members of two kinds cannot be counted"
        )
    separator = rules.separator
    return _free(rules, items, seq(many(seq(others, separator)), special, many(seq(separator, others))), True)


def _names(shape: Objects, allowed: Sequence[Strings]) -> tuple[list[str], bool]:
    """The names that are spelled out, in order, and whether there may be others."""
    names = dict.fromkeys(name for group in shape.groups for name, _ in group.names)
    names.update(dict.fromkeys(shape.required))
    if all(own.only is not None for own in allowed):
        names.update(dict.fromkeys(text for own in allowed for text in own.only or ()))
        return list(names), False
    return list(names), True


def _names_all(shape: Objects) -> bool:
    """Whether it names members, and says nothing about those that it does not name."""
    silent = all(group.others is None for group in shape.groups) and not shape.keys and not shape.some
    return silent and any(group.listed for group in shape.groups)


def _others(
    rules: Rules,
    shape: Objects,
    allowed: tuple[Strings, ...],
    names: list[str],
    special: Some | None,
    *,
    by_pattern: bool = False,
) -> Expr:
    """A member whose name is none of `names`; where `special` is one, a member that is meant by it.

    `by_pattern`: only one whose name some pattern of the shape matches.
    """
    patterns = list(dict.fromkeys(languages for group in shape.groups for languages, _ in group.patterns))
    options = []
    for has in _kinds(tuple(patterns)):
        if by_pattern and not has:
            continue
        lacks = [pattern for pattern in patterns if pattern not in has]
        wanted: Demand = () if special is None else special.value
        for group in shape.groups:
            found = [value for languages, value in group.patterns if languages in has]
            if not found and group.others is not None:
                found = [group.others]
            for value in found:
                wanted = both(wanted, value)
        if FALSE[0] not in wanted:
            taken = names
            if special is not None:
                has = [*has, *([] if special.within is None else [special.within])]
                lacks += special.patterns
                taken = [*names, *special.names]
            name = rules.leaves.name(allowed, taken, has, lacks)
            options.append(seq(name, rules.colon, rules.value(wanted)))
    return rules.grammar.aside(alt(options))


def _kinds(patterns: tuple[Languages, ...]) -> list[list[Languages]]:
    """The sets of patterns that one name may match together."""
    if len(patterns) > 3 and _disjoint(patterns):
        return [[], *([pattern] for pattern in patterns)]
    if len(patterns) > MAX_PATTERNS:
        raise Beyond("patternProperties", None, f"more than {MAX_PATTERNS} patterns for one object's names")
    return [[pattern for at, pattern in enumerate(patterns) if bits >> at & 1] for bits in range(1 << len(patterns))]


@functools.lru_cache(64)
def _disjoint(patterns: tuple[Languages, ...]) -> bool:
    """Whether no text matches two of them."""
    if len(patterns) > MAX_DISJOINT:
        return False
    pairs = {
        f"P{at}_{other}": f"{any_of(first)} & {any_of(second)}"
        for at, first in enumerate(patterns)
        for other, second in enumerate(patterns[:at])
    }
    return len(empty_terminals(pairs)) == len(pairs)


def _members(rules: Rules, items: list[tuple[Expr, bool]], others: Expr, least: int, most: int | None) -> Expr:
    optional = sum(not needed for _, needed in items)
    if most is not None and others == NEVER and most >= optional:
        most = None
    if least > optional + (others != NEVER):
        if others == NEVER:
            return NEVER
        # A name could be written twice, which counts once.
        raise Beyond("minProperties", None, "so many members without names of their own cannot be counted by a grammar")
    if most is None and least == 0:
        separator = rules.separator
        return _free(rules, items, seq(others, many(seq(separator, others))), False)
    if not optional:
        rest = seq(others, times(seq(rules.separator, others), 0, None if most is None else most - 1))
        after = _after(rules, items)
        if not items:
            return rest if least else (EMPTY if most == 0 else opt(rest))
        if most == 0:
            return after
        tail = seq(rules.separator, rest)
        return seq(after, tail if least else opt(tail))
    return _counted(rules, items, others, least, most)


def _after(rules: Rules, items: list[tuple[Expr, bool]]) -> Expr:
    """All of `items`, which are all required."""
    parts: list[Expr] = []
    for item, _ in items:
        parts += ([rules.separator] if parts else []) + [item]
    return seq(*parts)


def _free(rules: Rules, items: list[tuple[Expr, bool]], rest: Expr, must: bool) -> Expr:
    """Any of the optional members, then `rest`, some members of other names; whether those `must` be there."""
    separator = rules.separator
    first = next((at for at, (_, needed) in enumerate(items) if needed), len(items))
    before = [opt(seq(item, separator)) for item, _ in items[:first]]
    if first == len(items):
        return seq(*before, rest) if must else _fresh(rules, [item for item, _ in items], rest)
    after = [seq(separator, item) if needed else opt(seq(separator, item)) for item, needed in items[first + 1 :]]
    tail = seq(separator, rest)
    return seq(*before, items[first][0], *after, tail if must else opt(tail))


def _fresh(rules: Rules, items: list[Expr], rest: Expr) -> Expr:
    """No, some or all of optional members: by halves, because llguidance's recursion follows chains of rules."""
    separator, aside = rules.separator, rules.grammar.aside
    items = [aside(item) for item in items]
    if rest != NEVER:
        items.append(rest)

    def some_after(low: int, high: int) -> Expr:
        """Any of these, after another one."""
        if high - low <= 8:
            return aside(seq(*(opt(seq(separator, item)) for item in items[low:high])))
        middle = (low + high) // 2
        return aside(seq(some_after(low, middle), some_after(middle, high)))

    def at_least_one(low: int, high: int) -> Expr:
        if high - low == 1:
            return items[low]
        middle = (low + high) // 2
        return aside(alt((seq(at_least_one(low, middle), some_after(middle, high)), at_least_one(middle, high))))

    return opt(at_least_one(0, len(items))) if items else EMPTY


def _counted(rules: Rules, items: list[tuple[Expr, bool]], others: Expr, least: int, most: int | None) -> Expr:
    """`least` to `most` of the optional and other members."""
    cap = least if most is None else most
    if len(items) * (cap + 1) > MAX_COUNTED or len(items) > 120:
        raise Beyond("maxProperties" if most is not None else "minProperties", None, "too many members to count")
    known = [rules.grammar.aside(item) for item, _ in items]
    separator = rules.separator
    name = ("members", tuple(items), others, least, most)

    def state(at: int, found: int, begun: bool) -> Expr:
        """What may follow when `found` of the members before `at` that need not be there are there."""
        key = (name, at, found, begun)
        if key in rules.grammar.rules:
            return rule(key)
        lead = separator if begun else EMPTY
        counted = min(found + 1, cap) if most is None else found + 1
        options: list[Expr] = []
        if at < len(items):
            needed = items[at][1]
            if needed or most is None or found < most:
                options.append(seq(lead, known[at], state(at + 1, found if needed else counted, True)))
            if not needed:
                options.append(state(at + 1, found, begun))
        else:
            room = None if most is None else most - found
            if found >= least:
                options.append(EMPTY)
            if others != NEVER and found + 1 >= least and (room is None or room > 0):
                more = times(seq(separator, others), 0, None if room is None else room - 1)
                options.append(seq(lead, others, more))
        rules.grammar.rules[key] = alt(options)
        return rule(key)

    return state(0, 0, False)
