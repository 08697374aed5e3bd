"""Pieces of grammars, as text in llguidance's dialect of Lark. Not for: compiling them (``structured``)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.chat.tools.base import Tool

__all__ = ["alternatives", "call_beginnings", "json_calls", "json_rule", "literal", "parameters_of"]


def literal(text: str) -> str:
    """A terminal that matches `text`; "" matches nothing at all."""
    return json.dumps(text, ensure_ascii=False)


def json_rule(schema: Mapping[str, Any]) -> str:
    """A JSON value that fits `schema`."""
    return f"%json {json.dumps(schema, ensure_ascii=False)}"


def parameters_of(tool: Tool) -> Mapping[str, Any]:
    """The schema of a tool's arguments, always of an object; one that declares none takes none."""
    if not tool.parameters:
        return {"type": "object", "properties": {}, "additionalProperties": False}
    return tool.parameters if "type" in tool.parameters else {"type": "object", **tool.parameters}


def alternatives(rule: str, prefix: str, count: int) -> str:
    """A rule that is one of the rules `prefix`0 .. `prefix`(count - 1)."""
    return f"{rule}: {' | '.join(f'{prefix}{number}' for number in range(count))}"


def call_beginnings(tools: Sequence[Tool], name: str = "name") -> tuple[str, ...]:
    """How the calls of `json_calls` begin, names included, so that other JSON is no trigger."""
    return tuple(f"{{{json.dumps(name)}: {json.dumps(tool.name, ensure_ascii=False)}" for tool in tools)


def json_calls(
    tools: Sequence[Tool], *, rule: str = "call", name: str = "name", arguments: str = "arguments", tail: str = '"}"'
) -> list[str]:
    """Rules for a call as a JSON object, its name first; `rule` is any of them.

    Args:
        tools: What may be called.
        rule: Name of the rule.
        name: Key of the tool's name.
        arguments: Key of the arguments.
        tail: What follows the arguments, in Lark.
    """
    rules = [alternatives(rule, f"{rule}_", len(tools))]
    for number, tool in enumerate(tools):
        # The name is JSON within JSON within Lark: quoted once for each.
        head = f"{{{json.dumps(name)}: {json.dumps(tool.name, ensure_ascii=False)}, {json.dumps(arguments)}: "
        rules.append(f"{rule}_{number}: {literal(head)} {rule}_{number}_args {tail}")
        rules.append(f"{rule}_{number}_args: {json_rule(parameters_of(tool))}")
    return rules
