"""Tools and the choice among them as a caller declares them, checked and put into one form.

OpenAI's API reference is the source of the shapes: ``tools``, ``tool_choice``, and the older ``functions`` and
``function_call``. Not for: what a model's template makes of them (``plan.py``), or schemas of arguments (structured).
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from llama_bind.chat.tools.base import Tool
from llama_bind.errors import InputError, TextEncodingError

__all__ = ["MAX_TOOLS", "Declared", "read_tools"]

MAX_TOOLS = 1024
"""Functions of one request."""
MAX_CHARS = 4_000_000
"""Characters of all declarations together, as JSON."""

# OpenAI's letters, digits, "_" and "-", and what names of tool servers have besides. A quote, a blank, a bracket or a
# slash would end the name in one family's format or another.
_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.:-]{0,127}")
_NAME_RULE = "1 to 128 of the characters A-Z a-z 0-9 _ - . : and must not begin with . or :"

Mode = Literal["none", "auto", "required"]


@dataclasses.dataclass(frozen=True)
class Declared:
    """What a request says about tools.

    Attributes:
        definitions: All of them in OpenAI's shape, for the template.
        tools: Those that may be called.
        mode: "none": no call; "auto": the model decides; "required": at least one call.
        parallel: Whether one answer may hold several calls; None: not said.
        named: Name of the one function that must be called, or "".
        legacy: Declared by ``functions``: the answer has ``function_call`` in place of ``tool_calls``.
    """

    definitions: tuple[dict[str, Any], ...] = ()
    tools: tuple[Tool, ...] = ()
    mode: Mode = "none"
    parallel: bool | None = None
    named: str = ""
    legacy: bool = False


def read_tools(
    tools: Sequence[Mapping[str, Any]] | None = None,
    tool_choice: str | Mapping[str, Any] | None = None,
    parallel_tool_calls: bool | None = None,
    functions: Sequence[Mapping[str, Any]] | None = None,
    function_call: str | Mapping[str, Any] | None = None,
) -> Declared:
    """Check what a caller declared. An empty list is no tools.

    Args:
        tools: ``[{"type": "function", "function": {"name", "description", "parameters", "strict"}}]``.
        tool_choice: "none", "auto" (default), "required", ``{"type": "function", "function": {"name": ...}}``, or
            ``{"type": "allowed_tools", "allowed_tools": {"mode": "auto" or "required", "tools": [...]}}``.
        parallel_tool_calls: Whether one answer may hold several calls.
        functions: Functions without the ``tools`` around them (older form).
        function_call: Their choice: "none", "auto" or ``{"name": ...}``.

    Raises:
        InputError: A shape, name, schema or choice that cannot be used; `param` names the argument.
    """
    legacy = functions is not None or function_call is not None
    if legacy and (tools or tool_choice is not None):
        raise InputError("give tools and tool_choice, or functions and function_call, not both", param="functions")
    param = "functions" if legacy else "tools"
    given = _listed(functions if legacy else tools, param)
    shown = [_definition({"function": one} if legacy else one, f"{param}[{n}]", param) for n, one in enumerate(given)]
    if sum(len(json.dumps(one)) for one in shown) > MAX_CHARS:
        raise InputError(f"the {param} have more than {MAX_CHARS} characters as JSON", param=param)
    checked = [_tool(one["function"]) for one in shown]
    _no_twice(checked, param)
    definitions = tuple({**one, "function": _without_strict(one["function"])} for one in shown)
    choice = _legacy_choice(function_call) if legacy else tool_choice
    mode, names, one = _choice(choice, "function_call" if legacy else "tool_choice", bool(checked))
    allowed = _allowed(checked, names, "function_call" if legacy else "tool_choice")
    if not checked:
        return Declared(legacy=legacy)
    parallel = False if legacy or (one and parallel_tool_calls is None) else parallel_tool_calls
    return Declared(definitions, allowed, mode, parallel, allowed[0].name if one else "", legacy)


def _listed(value: Any, param: str) -> Sequence[Any]:
    if value is None:
        return ()
    if isinstance(value, (str, bytes, Mapping)) or not isinstance(value, Sequence):
        raise InputError(f"{param} must be a list of function declarations, not {_kind(value)}", param=param)
    if len(value) > MAX_TOOLS:
        raise InputError(f"{len(value)} {param} are more than {MAX_TOOLS}", param=param)
    return value


def _definition(tool: Any, where: str, param: str) -> dict[str, Any]:
    """One declaration as a copy in plain JSON values, complete: name, description, parameters."""
    if not isinstance(tool, Mapping):
        raise InputError(f"{where} must be a dict with 'type' and 'function', not {_kind(tool)}", param=param)
    kind = tool.get("type", "function")
    if kind != "function":
        raise InputError(f"{where} is of type {kind!r}; only tools of type 'function' can be declared", param=param)
    # The Responses API has the function's fields beside the type.
    function = tool.get("function", {key: value for key, value in tool.items() if key != "type"})
    if not isinstance(function, Mapping):
        raise InputError(f"{where}.function must be a dict with 'name', not {_kind(function)}", param=param)
    _check_name(function.get("name"), where, param)
    description = function.get("description")
    if not isinstance(description, (str, type(None))):
        raise InputError(f"{where}: description must be a str, not {_kind(description)}", param=param)
    if not isinstance(function.get("strict"), (bool, type(None))):
        raise InputError(f"{where}: strict must be True or False", param=param)
    parameters = _parameters(function.get("parameters"), where, param)
    first = {"name": function["name"], "description": description or "", "parameters": parameters}
    return {"type": "function", "function": _plain({**first, **function, **first}, where, param)}


def _check_name(name: Any, where: str, param: str) -> None:
    if not isinstance(name, str) or not name:
        raise InputError(f"{where} has no name; give the function one, such as 'get_weather'", param=param)
    if not _NAME.fullmatch(name):
        raise InputError(f"{where} has the name {name[:80]!r}; a name has {_NAME_RULE}", param=param)


def _parameters(schema: Any, where: str, param: str) -> dict[str, Any]:
    """A copy of the schema, of an object in any case."""
    if schema is None or schema == {}:
        return {"type": "object", "properties": {}}
    if not isinstance(schema, Mapping):
        raise InputError(f"{where}: parameters must be a JSON schema as a dict, not {_kind(schema)}", param=param)
    copy = _plain(schema, where, param)
    if "type" not in copy and not copy.keys() & {"$ref", "anyOf", "oneOf", "allOf"}:
        copy = {"type": "object", **copy}
    if copy.get("type", "object") != "object":
        kind = copy["type"]
        raise InputError(f"{where}: parameters must be the schema of an object, not of {kind!r}", param=param)
    if not isinstance(copy.get("properties", {}), dict):
        raise InputError(f"{where}: properties must be a dict of schemas", param=param)
    return copy


def _plain(value: Mapping[str, Any], where: str, param: str) -> dict[str, Any]:
    """A copy in plain JSON values."""
    try:
        text = json.dumps(value, allow_nan=False, ensure_ascii=False)
        text.encode()
        copy: dict[str, Any] = json.loads(text)
    except UnicodeEncodeError:
        raise TextEncodingError(f"{where} holds a lone surrogate; it is not valid Unicode", param=param) from None
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{where} is not JSON: {error}", param=param) from None
    return copy


def _tool(function: Mapping[str, Any]) -> Tool:
    return Tool(function["name"], function["parameters"], function["description"], strict=bool(function.get("strict")))


def _without_strict(function: Mapping[str, Any]) -> dict[str, Any]:
    """Whether arguments are held to the schema is no news for the model."""
    return {key: value for key, value in function.items() if key != "strict"}


def _no_twice(tools: Sequence[Tool], param: str) -> None:
    seen: set[str] = set()
    for tool in tools:
        if tool.name in seen:
            raise InputError(f"two {param} have the name {tool.name!r}; give each its own", param=param)
        seen.add(tool.name)


def _legacy_choice(choice: Any) -> Any:
    if isinstance(choice, Mapping):
        return {"type": "function", "function": choice}
    return choice


def _choice(choice: Any, param: str, any_tools: bool) -> tuple[Mode, list[str] | None, bool]:
    """The mode, the names that are allowed (None: all), and whether it is one function that must be called."""
    if choice is None:
        return "auto", None, False
    mode: Any = choice
    names: list[str] | None = None
    one = False
    if isinstance(choice, Mapping):
        mode, names, one = _named_choice(choice, param)
    if mode not in ("none", "auto", "required"):
        shape = "{'type': 'function', 'function': {'name': ...}}"
        raise InputError(f"{param} must be 'none', 'auto', 'required' or {shape}, not {choice!r}", param=param)
    if not any_tools and (names or mode == "required"):
        raise InputError(f"{param} asks for a tool, but no tools are given", param=param)
    return mode, names, one


def _named_choice(choice: Mapping[str, Any], param: str) -> tuple[Any, list[str], bool]:
    kind = choice.get("type", "function")
    if kind == "function":
        return "required", [_name_of(choice, param)], True
    if kind == "allowed_tools":
        inner = choice.get("allowed_tools", choice)
        listed = inner.get("tools") if isinstance(inner, Mapping) else None
        if not isinstance(listed, Sequence) or isinstance(listed, (str, bytes)) or not listed:
            raise InputError(f"{param}: allowed_tools needs a list 'tools' of at least one function", param=param)
        if inner.get("mode", "auto") not in ("auto", "required"):
            raise InputError(f"{param}: the mode of allowed_tools is 'auto' or 'required'", param=param)
        return inner.get("mode", "auto"), [_name_of(tool, param) for tool in listed], False
    raise InputError(f"{param} has the type {kind!r}; the types are 'function' and 'allowed_tools'", param=param)


def _name_of(choice: Any, param: str) -> str:
    function = choice.get("function", choice) if isinstance(choice, Mapping) else None
    name = function.get("name") if isinstance(function, Mapping) else None
    if not isinstance(name, str):
        shape = "{'type': 'function', 'function': {'name': ...}}"
        raise InputError(f"{param} must name a function: {shape}", param=param)
    return name


def _allowed(tools: Sequence[Tool], names: Sequence[str] | None, param: str) -> tuple[Tool, ...]:
    if names is None:
        return tuple(tools)
    known = {tool.name for tool in tools}
    for name in names:
        if name not in known:
            raise InputError(f"{param} names {name!r}, which is not among: {', '.join(sorted(known))}", param=param)
    return tuple(tool for tool in tools if tool.name in names)


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__
