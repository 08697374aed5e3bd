"""Arrays as rules. Not for: their keywords (``schema_members.py``)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from llama_bind.structured.schema_document import Beyond
from llama_bind.structured.schema_grammar import EMPTY, NEVER, Expr, alt, literal, many, opt, rule, seq, times
from llama_bind.structured.schema_shapes import Arrays, Demand, both

if TYPE_CHECKING:
    from llama_bind.structured.schema_rules import Rules

__all__ = ["array"]

MAX_COUNTED = 60
"""Items that are counted one by one where some of them must meet another schema."""
MAX_UNIQUE = 64
"""Values that items may have where all must differ: llguidance keeps a bit of each."""


def array(rules: Rules, shape: Arrays) -> Expr:
    """The rule of all arrays of a shape."""
    if shape.unique and (shape.most is None or shape.most > 1):
        try:
            return _unique(rules, shape)
        except Beyond as beyond:
            rules.leave_out(beyond)
    wanted = [part for part in shape.contains if part[1:] != (0, None)]
    if wanted:
        try:
            return seq(rules.open_array, _containing(rules, shape, wanted), rules.close_array)
        except Beyond as beyond:
            rules.leave_out(beyond)
    return seq(rules.open_array, _items(rules, shape), rules.close_array)


def _items(rules: Rules, shape: Arrays) -> Expr:
    if shape.most == 0:
        return EMPTY
    explicit = len(shape.first) if shape.most is None else min(len(shape.first), shape.most)
    # What may follow `at` items, from the last to the first.
    at = max(explicit, 1)
    more = None if shape.most is None else shape.most - at
    tail = times(seq(rules.separator, rules.value(shape.rest)), max(0, shape.least - at), more)
    for at in range(explicit - 1, 0, -1):
        tail = seq(rules.separator, rules.value(shape.first[at]), tail)
        tail = rules.grammar.aside(tail if at < shape.least else opt(tail))
    whole = seq(rules.value(shape.item(0)), tail)
    return whole if shape.least else opt(whole)


def _containing(rules: Rules, shape: Arrays, wanted: list[tuple[Demand, int, int | None]]) -> Expr:
    """Arrays of which `low` to `high` items meet a demand."""
    if len(wanted) > 1 or shape.unique:
        raise Beyond("contains", None, "several conditions on the items of one array cannot be put into a grammar")
    ((inner, low, high),) = wanted
    if not shape.first and (low, high, shape.most) == (1, None, None) and shape.least <= 1:
        item, hit = rules.value(shape.rest), rules.value(both(shape.rest, inner))
        return seq(many(seq(item, rules.separator)), hit, many(seq(rules.separator, item)))
    last = max(len(shape.first), shape.least, shape.most or 0)
    hits = low if high is None else high
    if last > MAX_COUNTED or hits > MAX_COUNTED:
        raise Beyond("contains", None, f"more than {MAX_COUNTED} items cannot be counted by a grammar")
    missed = () if high is None else rules.negation(inner)

    def state(at: int, found: int) -> Expr:
        """What may follow `at` items of which `found` meet the demand; both stop counting where more is the same."""
        key = ("contains", shape, at, found)
        if key not in rules.grammar.rules:
            rules.grammar.rules[key] = NEVER
            options = [EMPTY] if at >= shape.least and found >= low else []
            if shape.most is None or at < shape.most:
                after = min(at + 1, last + 1) if shape.most is None else at + 1
                lead = rules.separator if at else EMPTY
                item = shape.item(at)
                if high is None or found < high:
                    options.append(seq(lead, rules.value(both(item, inner)), state(after, min(found + 1, hits))))
                options.append(seq(lead, rules.value(both(item, missed)), state(after, found)))
            rules.grammar.rules[key] = alt(options)
        return rule(key)

    return state(0, 0)


def _unique(rules: Rules, shape: Arrays) -> Expr:
    """Arrays of values of which there are few, each at most once, in any order."""
    if shape.first or shape.contains:
        raise Beyond("uniqueItems", None, "it cannot be put into a grammar together with prefixItems or contains")
    values = rules.finite(shape.rest)
    if values is None or len(values) > MAX_UNIQUE:
        raise Beyond(
            "uniqueItems", None, f"it can be put into a grammar only for items that have at most {MAX_UNIQUE} values"
        )
    most = len(values) if shape.most is None else min(shape.most, len(values))
    if shape.least > most:
        return NEVER
    key = ("unique", shape)
    name = rules.parametric(key)
    separator = rules.grammar_name(rules.separator)
    lines = [f'"" %if bit_count_ge(_, {shape.least})']
    lines += [
        f"{separator} {literal(value)} {name}::set_bit({bit}) %if and(bit_clear({bit}), bit_count_lt(_, {most}))"
        for bit, value in enumerate(values)
    ]
    rules.raw.append(f"{name}::_: " + "\n  | ".join(lines))
    first = alt(("raw", f"{literal(value)} {name}::{1 << bit}") for bit, value in enumerate(values))
    return seq(rules.open_array, first if shape.least else opt(first), rules.close_array)
