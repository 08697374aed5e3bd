"""Arguments that come one by one, as text, become the text of a JSON object, by the tool's schema.

Not for: finding them in the output (``tagged.py``), or arguments that are JSON already (``calls.py``).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Mapping
from typing import Any

from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.fits import MAX_DEPTH, resolved
from llama_bind.chat.tools.parser import CallParser, quoted

__all__ = ["ArgumentWriter", "json_types", "property_schema"]

ANY = frozenset(("string", "number", "integer", "boolean", "null", "object", "array"))
STRING = frozenset(("string",))
LONGEST = 100_000
"""Most characters that are read as Python."""


def property_schema(tool: Tool, name: str) -> Any:
    """The schema of an argument; {} for one that is not declared."""
    schema = resolved(tool.parameters, tool.parameters)
    properties = schema.get("properties")
    if isinstance(properties, Mapping) and name in properties:
        return properties[name]
    others = schema.get("additionalProperties", {})
    return others if isinstance(others, Mapping) else {}


def json_types(schema: Any, root: Any, depth: int = 0) -> frozenset[str]:
    """The JSON types that fit `schema`, as far as its types, constants and combinations tell."""
    schema = resolved(schema, root)
    if depth > MAX_DEPTH:
        return ANY
    found = ANY
    types = schema.get("type")
    if isinstance(types, str):
        found &= {types}
    elif isinstance(types, list):
        found &= {name for name in types if isinstance(name, str)}
    if "const" in schema:
        found &= {_type_of(schema["const"])}
    if isinstance(schema.get("enum"), list):
        found &= {_type_of(value) for value in schema["enum"]}
    for word in ("anyOf", "oneOf"):
        options = schema.get(word)
        if isinstance(options, list):
            found &= frozenset().union(*(json_types(option, root, depth + 1) for option in options))
    for option in schema.get("allOf") or ():
        found &= json_types(option, root, depth + 1)
    return found or ANY


def _type_of(value: Any) -> str:
    if isinstance(value, bool):
        return "boolean"
    names = {str: "string", int: "integer", float: "number", dict: "object", list: "array"}
    return names.get(type(value), "null")


class ArgumentWriter:
    """Writes the arguments of the call that `parser` has begun.

    Text for an argument that can only be a string is passed on as it comes; other text when it is complete: as the JSON
    value that it is, or else as a string.
    """

    def __init__(self, parser: CallParser, tool: Tool) -> None:
        self._parser = parser
        self._tool = tool
        self._count = 0
        self._streams = False
        self._types = ANY
        self._held: list[str] = []

    def begin(self, name: str, *, string: bool | None = None) -> None:
        """An argument of this name follows.

        Args:
            name: Its name.
            string: Whether the model says that it is a string; None where it does not. The schema has the last word.
        """
        self._types = json_types(property_schema(self._tool, name), self._tool.parameters)
        if string is not None and "string" in self._types and self._types != STRING:
            self._types = STRING if string else self._types - STRING
        self._streams = self._types == STRING
        self._held = []
        self._parser.arguments(f'{", " if self._count else "{"}"{quoted(name)}": {chr(34) if self._streams else ""}')
        self._count += 1

    def text(self, text: str) -> None:
        """More of its value."""
        if self._streams:
            self._parser.arguments(quoted(text))
        else:
            self._held.append(text)

    def end(self) -> None:
        """Its value is complete."""
        self._parser.arguments('"' if self._streams else as_json("".join(self._held), self._types))

    def cut(self) -> None:
        """The output ended within its value: what there is of it."""
        if not self._streams:
            text = "".join(self._held)
            self._parser.arguments(f'"{quoted(text)}' if "string" in self._types else text)

    def close(self) -> None:
        """There are no more arguments."""
        self._parser.arguments("}" if self._count else "{}")


PYTHON = {"True": "true", "False": "false", "None": "null"}


def as_json(text: str, types: frozenset[str]) -> str:
    """The JSON text of a value that was written as plain text.

    Args:
        text: What was written.
        types: What it may be: a string only where it is nothing else that is allowed.
    """
    stripped = text.strip()
    stripped = PYTHON.get(stripped, stripped)
    try:
        value = json.loads(stripped, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        return f'"{quoted(text)}"' if "string" in types else _from_python(stripped, text)
    kind = _type_of(value)
    if kind == "string" and "string" in types and stripped != stripped.strip('"') and types != ANY:
        # Quotes that were written are part of a string among other types.
        return f'"{quoted(text)}"'
    allowed = kind in types or (kind == "integer" and "number" in types) or (kind == "number" and "integer" in types)
    return stripped if allowed or "string" not in types else f'"{quoted(text)}"'


def _from_python(stripped: str, text: str) -> str:
    """The JSON text of a list, dict or number as Python writes it; a string where it is none."""
    try:
        return json.dumps(ast.literal_eval(stripped[:LONGEST]), ensure_ascii=False, allow_nan=False)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        return f'"{quoted(text)}"'


def _no_constant(name: str) -> Any:
    raise ValueError(name)
