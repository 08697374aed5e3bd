"""Grammars of calls written in Python's way. Not for: reading them (``pythonic.py``)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.fits import resolved
from llama_bind.chat.tools.lark import json_rule, literal

__all__ = ["call_rules"]


def call_rules(tool: Tool, rule: str) -> list[str]:
    """Rules for a call ``name(a=1, b="x")``: the required arguments first, then any of the others, in their order.

    Values are JSON, which is read where Python is: its strings, numbers and lists are Python's too.
    """
    schema = resolved(tool.parameters, tool.parameters)
    properties = schema.get("properties")
    declared: dict[str, Any] = dict(properties) if isinstance(properties, Mapping) else {}
    required = [name for name in declared if name in (schema.get("required") or ())]
    others = [name for name in declared if name not in required]
    names = {name: f"{rule}_{number}" for number, name in enumerate(declared)}
    parts = f" {literal(', ')} ".join(names[name] for name in required)
    rules = []
    for name, wanted in declared.items():
        rules.append(f"{names[name]}: {literal(f'{name}=')} {names[name]}_value")
        rules.append(f"{names[name]}_value: {json_rule(_with(wanted, schema))}")
    if not others:
        inner = parts
    elif required:
        inner = " ".join([parts, *(f"({literal(', ')} {names[name]})?" for name in others)])
    else:
        inner = f"{rule}_from_0?"
        rules += [_from(rule, others, names, place) for place in range(len(others))]
    return [f"{rule}: {literal(f'{tool.name}(')} {inner} {literal(')')}", *rules]


def _from(rule: str, others: list[str], names: Mapping[str, str], place: int) -> str:
    """Any of the optional arguments from one on, at least one of them."""
    here = names[others[place]]
    if place + 1 == len(others):
        return f"{rule}_from_{place}: {here}"
    following = f"{rule}_from_{place + 1}"
    return f"{rule}_from_{place}: {here} ({literal(', ')} {following})? | {following}"


def _with(schema: Any, root: Mapping[str, Any]) -> Any:
    """`schema` with the definitions that it may refer to."""
    if not isinstance(schema, Mapping) or "#/" not in json.dumps(schema):
        return schema
    return {**{word: root[word] for word in ("$defs", "definitions") if word in root}, **schema}
