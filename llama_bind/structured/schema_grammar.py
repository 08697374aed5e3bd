"""A grammar while it is built: expressions, rules, terminals; what cannot match anything is taken out; Lark text.

Not for: what the expressions mean (``schema_rules.py`` and its parts).
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable
from typing import Any

__all__ = ["EMPTY", "NEVER", "Expr", "Grammar", "alt", "many", "opt", "rule", "seq", "term", "text", "times"]

Expr = tuple[Any, ...]
"""("text", str), ("term", name), ("rule", key), ("seq", exprs), ("alt", exprs), ("times", expr, low, high | None),
("json", schema text), ("raw", text that is Lark already)."""

EMPTY: Expr = ("seq", ())
NEVER: Expr = ("alt", ())


def text(value: str) -> Expr:
    """Just this text."""
    return ("text", value) if value else EMPTY


def term(name: str) -> Expr:
    """What the terminal of this name matches."""
    return ("term", name)


def rule(key: Hashable) -> Expr:
    """What the rule of this key matches."""
    return ("rule", key)


def seq(*parts: Expr) -> Expr:
    """One after the other."""
    flat: list[Expr] = []
    for part in parts:
        if part == NEVER:
            return NEVER
        flat += part[1] if part[0] == "seq" else (part,)
    return flat[0] if len(flat) == 1 else ("seq", tuple(flat))


def alt(options: Iterable[Expr]) -> Expr:
    """One of these."""
    flat: dict[Expr, None] = {}
    for option in options:
        flat.update(dict.fromkeys(option[1] if option[0] == "alt" else (option,)))
    return next(iter(flat)) if len(flat) == 1 else ("alt", tuple(flat))


def times(expr: Expr, low: int, high: int | None) -> Expr:
    """`low` to `high` times in a row (None: without end)."""
    if high == 0 or expr == EMPTY:
        return EMPTY
    if expr == NEVER:
        return NEVER if low else EMPTY
    return expr if (low, high) == (1, 1) else ("times", expr, low, high)


def opt(expr: Expr) -> Expr:
    """Once or not at all."""
    return times(expr, 0, 1)


def many(expr: Expr) -> Expr:
    """Any number of times."""
    return times(expr, 0, None)


class Grammar:
    """Rules by key and terminals by text.

    Args:
        prefix: Begins the name of every rule and, in capitals, of every terminal.
    """

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.rules: dict[Hashable, Expr] = {}
        self.terminals: dict[str, str] = {}
        self.empty: set[str] = set()

    def terminal(self, definition: str) -> Expr:
        """A terminal with this definition, the same one for the same text."""
        name = self.terminals.get(definition)
        if name is None:
            name = self.terminals[definition] = f"{self.prefix.upper()}T{len(self.terminals)}"
        return term(name)

    def aside(self, expr: Expr) -> Expr:
        """`expr` as a rule of its own, the same one for the same expression; small ones stay as they are."""
        if expr[0] in ("text", "term", "rule") or expr in (EMPTY, NEVER):
            return expr
        key = ("aside", expr)
        self.rules[key] = expr
        return rule(key)

    def prune(self) -> None:
        """Take out what can match no text: rules that need themselves, terminals that are empty."""
        live: set[Hashable] = set()
        waiting = list(self.rules)
        while True:
            found = [key for key in waiting if self._matches(self.rules[key], live)]
            if not found:
                break
            live.update(found)
            waiting = [key for key in waiting if key not in live]
        self.rules = {key: self._pruned(self.rules[key], live) for key in self.rules if key in live}

    def _matches(self, expr: Expr, live: set[Hashable]) -> bool:
        kind = expr[0]
        if kind == "rule":
            return expr[1] in live
        if kind == "term":
            return expr[1] not in self.empty
        if kind == "seq":
            return all(self._matches(part, live) for part in expr[1])
        if kind == "alt":
            return any(self._matches(part, live) for part in expr[1])
        if kind == "times":
            return not expr[2] or self._matches(expr[1], live)
        return True

    def _pruned(self, expr: Expr, live: set[Hashable]) -> Expr:
        kind = expr[0]
        if kind == "seq":
            return seq(*(self._pruned(part, live) for part in expr[1]))
        if kind == "alt":
            return alt(self._pruned(part, live) for part in expr[1] if self._matches(part, live))
        if kind == "times":
            return times(self._pruned(expr[1], live), expr[2], expr[3])
        return expr if self._matches(expr, live) else NEVER

    def write(self, start: Hashable) -> str:
        """The Lark text: a rule named `prefix`, and those that it needs."""
        names: dict[Hashable, str] = {start: self.prefix}
        order: list[Hashable] = [start]
        used: dict[str, None] = {}
        lines: list[str] = []
        for key in order:  # grows on the way
            body = self._written(self.rules[key], names, order, used, top=True)
            lines.append(f"{names[key]}: {body}" if body else f'{names[key]}: ""')
        definitions = {name: definition for definition, name in self.terminals.items()}
        lines += [f"{name}: {definitions[name]}" for name in used]
        return "\n".join(lines) + "\n"

    def _written(
        self, expr: Expr, names: dict[Hashable, str], order: list[Hashable], used: dict[str, None], top: bool = False
    ) -> str:
        kind = expr[0]
        if kind == "text":
            return literal(expr[1])
        if kind == "term":
            used[expr[1]] = None
            return str(expr[1])
        if kind == "rule":
            key = expr[1]
            body = self.rules[key]
            if body[0] in ("text", "term"):
                return self._written(body, names, order, used)
            if key not in names:
                names[key] = f"{self.prefix}_{len(names)}"
                order.append(key)
            return names[key]
        if kind == "json":
            return f"%json {expr[1]}"
        if kind == "raw":
            return str(expr[1])
        if kind == "seq":
            if not expr[1]:
                return '""'
            joined = " ".join(self._written(part, names, order, used) for part in expr[1])
            return joined if top else f"({joined})"
        if kind == "alt":
            joined = " | ".join(self._written(part, names, order, used) for part in expr[1])
            return joined if top else f"({joined})"
        inner = self._written(expr[1], names, order, used)
        low, high = expr[2], expr[3]
        mark = {(0, 1): "?", (0, None): "*", (1, None): "+"}.get((low, high))
        return f"{inner}{mark}" if mark else f"{inner}{{{low},{'' if high is None else high}}}"


def literal(value: str) -> str:
    """A string of Lark that stands for `value`."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
