"""Rules for arguments that come one by one, each between texts of which some may be control tokens.

Not for: tags that are plain text in every vocabulary (``tagged_grammar.py``).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from llama_bind.chat.tools.arguments import STRING, json_types
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.fits import resolved
from llama_bind.chat.tools.lark import json_rule, literal

__all__ = ["argument_rules", "string_choices", "takes_string", "until_rules", "value_rules"]


def argument_rules(
    tool: Tool, rule: str, head: str, pair: Callable[[str, str, Any], list[str]], tail: str = ""
) -> list[str]:
    """Rules for a call: `head`, the arguments in the order in which they are declared, `tail`.

    Args:
        tool: What is called.
        rule: Name of the rule of the call.
        head: What stands before the arguments.
        pair: Makes the rules of one argument, of its name, the name of its rule, and its schema.
        tail: What stands behind them.
    """
    schema = resolved(tool.parameters, tool.parameters)
    properties = schema.get("properties")
    required = schema.get("required") or ()
    parts, rules = [head], []
    for number, (name, wanted) in enumerate((properties or {}).items() if isinstance(properties, Mapping) else ()):
        part = f"{rule}_{number}"
        parts.append(part if name in required else f"{part}?")
        rules += pair(name, part, _with_definitions(wanted, schema))
    return [f"{rule}: {' '.join((*parts, tail))}".rstrip(), *rules]


def takes_string(schema: Any) -> bool:
    """Whether a value may be a string, which is written without quotes."""
    return "string" in json_types(schema, schema)


def string_choices(schema: Any) -> list[str]:
    """The strings that a schema lists, where it allows nothing else; none where it does not."""
    listed = resolved(schema, schema)
    choices = [listed["const"]] if "const" in listed else listed.get("enum")
    only = isinstance(choices, list) and json_types(schema, schema) == STRING
    return [choice for choice in choices or () if isinstance(choice, str)] if only else []


def value_rules(rule: str, head: str, schema: Any, end: str, end_text: str, line: str = "") -> list[str]:
    """Rules for an argument: `head`, its value, `end`.

    Args:
        rule: Name of the rule.
        head: What stands before the value.
        schema: What the value must fit.
        end: Rule or terminal of what ends it.
        end_text: The text of that.
        line: What follows.
    """
    choices = string_choices(schema)
    if choices:
        return [f"{rule}: {head} ({' | '.join(map(literal, choices))}) {end} {line}".rstrip()]
    if takes_string(schema):
        return [f"{rule}: {head} {rule}_value {line}".rstrip(), *until_rules(f"{rule}_value", end, end_text)]
    return [f"{rule}: {head} {rule}_value {end} {line}".rstrip(), f"{rule}_value: {json_rule(schema)}"]


def until_rules(rule: str, end: str, end_text: str) -> list[str]:
    """Rules for any text and what ends it: a control token, or plain text at its first appearance.

    Args:
        rule: Name of the rule.
        end: Rule or terminal of what ends the text.
        end_text: The text of that.
    """
    return [
        f"{rule}: {rule}_free {end} | {rule}_text",
        f"{rule}_free: /(?s:.*)/",
        f"{rule}_text[suffix={literal(end_text)}]: /(?s:.*)/",
    ]


def _with_definitions(schema: Any, root: Mapping[str, Any]) -> Any:
    """`schema` with the definitions that it may refer to."""
    if not isinstance(schema, Mapping) or "#/" not in json.dumps(schema):
        return schema
    return {**{word: root[word] for word in ("$defs", "definitions") if word in root}, **schema}
