"""Grammars of calls whose arguments are tagged one by one. Not for: reading them (``tagged.py``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.chat.tools.arguments import STRING, json_types
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.fits import resolved
from llama_bind.chat.tools.lark import alternatives, json_rule, literal

if TYPE_CHECKING:
    from llama_bind.chat.tools.tagged import TagSyntax

__all__ = ["tagged_rules"]


def tagged_rules(syntax: TagSyntax, tools: Sequence[Tool], *, several: bool) -> str:
    """Rules for a call, or for `several`; arguments come in the order in which they are declared."""
    line = literal(syntax.line) if syntax.line else ""
    opening, closing = ("opening " + line, "closing") if syntax.opening else ("", "")
    start = f"start: tagged{f' ({line} tagged)*' if several else ''}"
    rules = [start, f"tagged: {opening} call {closing}", alternatives("call", "call_", len(tools))]
    for number, tool in enumerate(tools):
        rules += _tool_rules(syntax, tool, f"call_{number}")
    return "\n".join(rules) + "\n"


def _tool_rules(syntax: TagSyntax, tool: Tool, rule: str) -> list[str]:
    schema = resolved(tool.parameters, tool.parameters)
    properties = schema.get("properties")
    required = schema.get("required") or ()
    parts = [literal(syntax.function + tool.name + syntax.function_name_end + syntax.line)]
    rules = []
    for number, (name, wanted) in enumerate((properties or {}).items() if isinstance(properties, Mapping) else ()):
        part = f"{rule}_{number}"
        parts.append(part if name in required else f"{part}?")
        rules += _argument_rules(syntax, name, _with_definitions(wanted, schema), part)
    parts.append(literal(syntax.function_end + syntax.line))
    return [f"{rule}: {' '.join(parts)}", *rules]


def _argument_rules(syntax: TagSyntax, name: str, schema: Any, rule: str) -> list[str]:
    around = syntax.line if syntax.block else ""
    head = literal(syntax.argument + name + syntax.argument_name_end + around)
    tail = literal(around + syntax.argument_end + syntax.line)
    types = json_types(schema, schema)
    choices = resolved(schema, schema).get("enum")
    if isinstance(choices, list) and types == STRING:
        values = " | ".join(literal(str(choice)) for choice in choices)
        return [f"{rule}: {head} ({values}) {tail}"]
    if "string" in types:
        return [f"{rule}: {head} {rule}_value", f"{rule}_value[suffix={tail}]: /(?s:.*)/"]
    return [f"{rule}: {head} {rule}_value {tail}", f"{rule}_value: {json_rule(schema)}"]


def _with_definitions(schema: Any, root: Mapping[str, Any]) -> Any:
    """`schema` with the definitions that it may refer to."""
    if not isinstance(schema, Mapping) or "#/" not in json.dumps(schema):
        return schema
    return {**{word: root[word] for word in ("$defs", "definitions") if word in root}, **schema}
