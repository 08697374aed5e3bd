"""Grammars of Gemma's objects, by the schemas of their values. Not for: reading them (``gemma.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_bind.chat.tools.arguments import json_types
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.fits import resolved
from llama_bind.chat.tools.lark import json_rule, literal
from llama_bind.chat.tools.marked_grammar import string_choices, until_rules

__all__ = ["call_rules"]

MAX_DEPTH = 8
SCALARS = frozenset(("number", "integer", "boolean", "null"))


class _Rules:
    """Collects the rules of one tool."""

    def __init__(self, root: Mapping[str, Any], quote: str) -> None:
        self.root = root
        self.quote = quote
        self.rules: list[str] = []

    def value(self, rule: str, schema: Any, depth: int) -> None:
        """`rule`: a value, as one of the ways in which the schema allows it."""
        schema = resolved(schema, self.root)
        choices = string_choices(schema)
        if choices:
            self.rules.append(f"{rule}: quote ({' | '.join(map(literal, choices))}) quote")
            return
        types = json_types(schema, self.root)
        ways = []
        if "string" in types:
            ways.append(f"quote {rule}_text")
            self.rules += until_rules(f"{rule}_text", "quote", self.quote)
        if types & SCALARS:
            kinds = sorted(types & SCALARS)
            # What else the schema says counts where there is nothing but scalars.
            ways.append(f"{rule}_scalar")
            self.rules.append(f"{rule}_scalar: {json_rule(schema if types <= SCALARS else {'type': kinds})}")
        if "array" in types:
            ways.append(self._array(rule, schema, depth))
        if "object" in types:
            ways.append(self._object(rule, schema, depth))
        self.rules.append(f"{rule}: {' | '.join(ways)}")

    def _array(self, rule: str, schema: Mapping[str, Any], depth: int) -> str:
        items = schema.get("items")
        if depth >= MAX_DEPTH:
            return '"[]"'
        self.value(f"{rule}_item", items if isinstance(items, Mapping) else self._any(depth), depth + 1)
        return f'"[" ({rule}_item ("," {rule}_item)*)? "]"'

    def _object(self, rule: str, schema: Mapping[str, Any], depth: int) -> str:
        if depth >= MAX_DEPTH:
            return '"{}"'
        if isinstance(schema.get("properties"), Mapping) and schema["properties"]:
            return self.members(rule, schema, depth)
        self.value(f"{rule}_any", self._any(depth), depth + 1)
        self.rules.append(f'{rule}_pair: /[A-Za-z_][A-Za-z0-9_]*/ ":" {rule}_any')
        return f'"{{" ({rule}_pair ("," {rule}_pair)*)? "}}"'

    def _any(self, depth: int) -> dict[str, Any]:
        """Something of no declared type: nested only a little, for every level repeats the rules."""
        return {} if depth < 1 else {"type": ["string", "number", "boolean", "null"]}

    def members(self, rule: str, schema: Mapping[str, Any], depth: int) -> str:
        """An object whose members are declared, in that order; the comma stands before all but the first."""
        required = schema.get("required") or ()
        properties = list((schema.get("properties") or {}).items())
        for number, (name, wanted) in enumerate(properties):
            self.value(f"{rule}_m{number}_value", wanted, depth + 1)
            self.rules.append(f"{rule}_m{number}: {literal(name + ':')} {rule}_m{number}_value")
        # `rest_n` is what may follow once a member stands: members from n on, each with its comma.
        size = len(properties)
        self.rules.append(f'{rule}_rest{size}: ""')
        self.rules.append(f'{rule}_first{size}: ""')
        for number in reversed(range(size)):
            member, after = f"{rule}_m{number}", f"{rule}_rest{number + 1}"
            must = properties[number][0] in required
            self.rules.append(f'{rule}_rest{number}: "," {member} {after}' + ("" if must else f" | {after}"))
            self.rules.append(
                f"{rule}_first{number}: {member} {after}" + ("" if must else f" | {rule}_first{number + 1}")
            )
        return f'"{{" {rule}_first0 "}}"'


def call_rules(tool: Tool, rule: str, head: str, quote: str) -> list[str]:
    """Rules for ``head{...}``; the rule `quote` stands for `quote`."""
    schema = resolved(tool.parameters, tool.parameters)
    rules = _Rules(tool.parameters, quote)
    inner = rules.members(f"{rule}_args", schema, 0)
    return [f"{rule}: {literal(head)} {inner}", *rules.rules]
