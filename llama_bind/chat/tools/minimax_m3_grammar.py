"""Grammars of arguments in nested tags, by their schemas. Not for: reading them (``minimax_m3.py``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_bind.chat.tools.arguments import json_types
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.fits import resolved
from llama_bind.chat.tools.lark import json_rule, literal
from llama_bind.chat.tools.marked_grammar import string_choices, until_rules

__all__ = ["tool_rules"]

MAX_DEPTH = 8
"""Deeper values are JSON, which is read as well."""


class _Rules:
    """Collects the rules of one tool."""

    def __init__(self, root: Mapping[str, Any], mark: str) -> None:
        self.root = root
        self.mark = mark
        self.rules: list[str] = []

    def element(self, name: str, rule: str, schema: Any, depth: int) -> None:
        """`rule`: the tag `name`, a value, and its end."""
        start, end = literal(f"<{name}>"), literal(f"</{name}>")
        choices = string_choices(schema)
        if choices:
            self.rules.append(f"{rule}: mark {start} ({' | '.join(map(literal, choices))}) mark {end}")
        elif "string" in json_types(schema, self.root):
            self.rules.append(f"{rule}: mark {start} {rule}_value")
            self.rules += until_rules(f"{rule}_value", f"mark {end}", f"{self.mark}</{name}>")
        else:
            self.rules.append(f"{rule}: mark {start} {rule}_value mark {end}")
            self.value(f"{rule}_value", schema, depth)

    def value(self, rule: str, schema: Any, depth: int) -> None:
        """`rule`: a value that is no string, as one of the ways in which the schema allows it."""
        schema = resolved(schema, self.root)
        for word in ("anyOf", "oneOf"):
            options = schema.get(word)
            if isinstance(options, list) and options and depth < MAX_DEPTH:
                self.rules.append(f"{rule}: {' | '.join(f'{rule}_{number}' for number in range(len(options)))}")
                for number, option in enumerate(options):
                    self.value(f"{rule}_{number}", option, depth + 1)
                return
        if depth < MAX_DEPTH and schema.get("type") == "object" and isinstance(schema.get("properties"), Mapping):
            self.rules.append(f"{rule}: {self.members(rule, schema, depth)}")
        elif depth < MAX_DEPTH and schema.get("type") == "array" and isinstance(schema.get("items"), Mapping):
            least, most = schema.get("minItems", 0), schema.get("maxItems")
            count = f"{{{least},{'' if most is None else most}}}" if least or most is not None else "*"
            self.rules.append(f"{rule}: {rule}_item{count}")
            self.element("item", f"{rule}_item", schema["items"], depth + 1)
        else:
            definitions = {word: self.root[word] for word in ("$defs", "definitions") if word in self.root}
            self.rules.append(f"{rule}: {json_rule({**definitions, **schema})}")

    def members(self, rule: str, schema: Mapping[str, Any], depth: int) -> str:
        """The tags of an object's members, in the order in which they are declared."""
        required = schema.get("required") or ()
        parts = []
        for number, (name, wanted) in enumerate((schema.get("properties") or {}).items()):
            part = f"{rule}_m{number}"
            parts.append(part if name in required else f"{part}?")
            self.element(name, part, wanted, depth + 1)
        return " ".join(parts) or '""'


def tool_rules(tool: Tool, rule: str, head: str, tail: str, mark: str) -> list[str]:
    """Rules for a call: `head`, the arguments, `tail`; `mark` is the text of the rule of that name."""
    schema = resolved(tool.parameters, tool.parameters)
    rules = _Rules(tool.parameters, mark)
    inner = rules.members(rule, schema, 0)
    return [f"{rule}: {head} {inner} {tail}", *rules.rules]
