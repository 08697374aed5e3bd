"""Tools of Anthropic's API and the choice among them, in OpenAI's shape.

Tools that Anthropic defines (web search, bash, computer use and their kin) are refused: their servers run some of them,
and their models are trained for the others. Not for: schemas of inputs (the library checks those).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.server.anthropic.checks import as_object, as_text, refused, unsupported

__all__ = ["read_choice", "read_tools"]

_CHOICES: Mapping[str, str] = {"auto": "auto", "any": "required", "none": "none"}


def read_tools(tools: Sequence[Any]) -> list[dict[str, Any]]:
    """Declarations of functions.

    Raises:
        ApiError: a tool that the client does not define itself; one without a name or an input_schema.
    """
    return [_tool(as_object(tool, f"tools.{index}"), f"tools.{index}") for index, tool in enumerate(tools)]


def _tool(tool: Mapping[str, Any], where: str) -> dict[str, Any]:
    kind = tool.get("type")
    if kind not in (None, "custom"):
        raise unsupported(
            where,
            f"tools of type {str(kind)[:80]!r} are Anthropic's own and not to be had here; declare a function of "
            "your own, with name and input_schema",
        )
    if tool.get("input_schema") is None:
        raise refused(f"{where}.input_schema", "is missing", "missing_required_parameter")
    function: dict[str, Any] = {
        "name": as_text(tool, "name", where),
        "parameters": dict(as_object(tool["input_schema"], f"{where}.input_schema")),
    }
    for key in ("description", "strict"):
        if tool.get(key) is not None:
            function[key] = tool[key]
    return {"type": "function", "function": function}


def read_choice(choice: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a chat for a tool_choice.

    Raises:
        ApiError: a choice that is none.
    """
    kind = as_text(choice, "type", "tool_choice")
    options: dict[str, Any] = {}
    if kind == "tool":
        options["tool_choice"] = {"type": "function", "function": {"name": as_text(choice, "name", "tool_choice")}}
    elif kind in _CHOICES:
        options["tool_choice"] = _CHOICES[kind]
    else:
        raise refused("tool_choice.type", f"must be one of {', '.join((*_CHOICES, 'tool'))}, not {kind[:80]!r}")
    one = choice.get("disable_parallel_tool_use")
    if not isinstance(one, bool | None):
        raise refused("tool_choice.disable_parallel_tool_use", "must be true or false", "invalid_type")
    if one:
        options["parallel_tool_calls"] = False
    return options
