"""Tools in plain words, for templates that show none of them, or not the calls and results of before.

Not for: templates that do (most): these get OpenAI's shapes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.chat.abilities import Abilities
from llama_bind.chat.declared import Declared
from llama_bind.chat.tools.base import CallWriter, ToolFormat
from llama_bind.chat.traced import join, trusted

__all__ = ["tell_tools", "with_declarations", "write_out"]

Message = dict[str, Any]


def tell_tools(
    messages: Sequence[Mapping[str, Any]], declared: Declared, abilities: Abilities, how: str
) -> list[Message]:
    """Put a description of the tools behind the system message, which is made where there is none.

    Args:
        messages: From `check_messages`.
        declared: What to describe.
        abilities: Of the template.
        how: How a call is written.
    """
    functions = "\n".join(json.dumps(one["function"], ensure_ascii=False) for one in declared.definitions)
    lines = [f"You can call these functions:\n{functions}", how]
    if declared.named:
        lines.append(f"Answer with a call of {declared.named}.")
    elif declared.mode == "required":
        lines.append("Answer with a call.")
    else:
        lines.append("Call a function only where it helps to answer; otherwise answer in words.")
    text = "\n\n".join(lines)
    example = abilities.example_call
    if example:
        text += "\n\nA call is written like this:\n"
    first = messages[0]
    if first["role"] not in ("system", "developer"):
        return [{"role": "system", "content": _joined("", text, example)}, *map(dict, messages)]
    before = first["content"]
    before = before if isinstance(before, str) else "\n".join(part["text"] for part in before or ())
    return [{**first, "content": _joined(before, text, example)}, *map(dict, messages[1:])]


def with_declarations(messages: Sequence[Mapping[str, Any]], declarations: str) -> list[Message]:
    """Give the system message, which is made where there is none, the declared functions as its ``tools``."""
    if messages[0]["role"] in ("system", "developer"):
        return [{**messages[0], "tools": declarations}, *map(dict, messages[1:])]
    return [{"role": "system", "content": "", "tools": declarations}, *map(dict, messages)]


def _joined(before: str, text: str, example: str) -> str:
    # The example holds the family's own markers: as a part of the template it may become control tokens.
    words = (before + "\n\n" if before else "") + text
    return join([words, trusted(example)]) if example else words


def write_out(messages: Sequence[Mapping[str, Any]], form: ToolFormat, *, calls: bool, results: bool) -> list[Message]:
    """What the template does not show becomes text.

    Args:
        messages: From `check_messages`.
        form: How the model writes calls.
        calls: Calls become text of the assistant.
        results: Results become text of the user, one message with those before and with what the user says then.
    """
    result: list[Message] = []
    names: dict[str, str] = {}
    for message in messages:
        shown = dict(message)
        for call in shown.get("tool_calls", ()):
            names[str(call.get("id"))] = call["function"]["name"]
        text = _text(shown.get("content"))
        if calls and "tool_calls" in shown:
            written = _written([_call(call) for call in shown.pop("tool_calls")], form)
            shown["content"] = join([text, written], "\n") if text else written
        elif results and shown["role"] in ("tool", "function"):
            name = shown.get("name") or names.get(str(shown.get("tool_call_id")), "the function")
            shown = {"role": "user", "content": f"Result of {name}:\n{text}"}
            if result and result[-1].get("results"):
                result[-1]["content"] += "\n\n" + shown["content"]
                continue
            shown["results"] = True
        elif shown["role"] == "user" and result and result[-1].pop("results", False):
            result[-1]["content"] += "\n\n" + text
            continue
        result.append(shown)
    return [{key: value for key, value in message.items() if key != "results"} for message in result]


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "\n".join(part["text"] for part in content or ())


def _call(call: Mapping[str, Any]) -> tuple[str, str]:
    """Name, and arguments as the text of a JSON object."""
    arguments = call["function"].get("arguments") or {}
    if isinstance(arguments, str):
        try:
            arguments = json.loads(arguments)
        except (ValueError, RecursionError):
            arguments = {"arguments": arguments}
    values = arguments if isinstance(arguments, dict) else {"arguments": arguments}
    return call["function"]["name"], json.dumps(values, ensure_ascii=False)


def _written(calls: Sequence[tuple[str, str]], form: ToolFormat) -> str:
    if isinstance(form, CallWriter):
        return form.write_calls(calls)
    return "\n".join(f'{{"name": {json.dumps(name)}, "arguments": {arguments}}}' for name, arguments in calls)
