"""Whether arguments fit the schema of a tool. Small and lenient: what it does not know it takes as fitting.

Not for: validating results (``structured``), which knows all of JSON Schema.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from llama_bind.chat.tools.base import Tool

__all__ = ["fits", "fits_tool", "resolved"]

MAX_DEPTH = 64


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


TYPES: dict[str, Callable[[Any], bool]] = {
    "object": lambda value: isinstance(value, dict),
    "array": lambda value: isinstance(value, list),
    "string": lambda value: isinstance(value, str),
    "number": _number,
    "integer": lambda value: _number(value) and value == value // 1,
    "boolean": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
}


def fits_tool(arguments: Any, tool: Tool) -> bool:
    """Whether `arguments` are an object that `tool` takes: as `fits`, and without names that it does not declare
    (unless its schema says ``additionalProperties``).
    """
    if not isinstance(arguments, dict):
        return False
    schema = resolved(tool.parameters, tool.parameters)
    properties = schema.get("properties") or {}
    closed = "additionalProperties" not in schema and "patternProperties" not in schema and not _combined(schema)
    if closed and not arguments.keys() <= properties.keys():
        return False
    return fits(arguments, tool.parameters)


def fits(value: Any, schema: Any, root: Any = None, depth: int = 0) -> bool:
    """Whether `value` fits `schema`: types, const, enum, properties, required, additionalProperties, items, anyOf,
    oneOf (as anyOf), allOf, and ``$ref`` within `root`. Other keywords are not looked at.

    Args:
        value: As ``json.loads`` gives it.
        schema: JSON Schema; True and {} allow anything.
        root: The schema that ``$ref`` refers to; None for `schema` itself.
        depth: How deep within it is; past 64 anything fits.
    """
    root = schema if root is None else root
    if isinstance(schema, bool):
        return schema
    if not isinstance(schema, Mapping) or depth > MAX_DEPTH:
        return True
    schema = resolved(schema, root)
    types = schema.get("type")
    types = [types] if isinstance(types, str) else types if isinstance(types, list) else []
    if types and not any(name not in TYPES or TYPES[name](value) for name in types if isinstance(name, str)):
        return False
    if "const" in schema and not _same(value, schema["const"]):
        return False
    if isinstance(schema.get("enum"), list) and not any(_same(value, allowed) for allowed in schema["enum"]):
        return False
    for word, combine in (("anyOf", any), ("oneOf", any), ("allOf", all)):
        options = schema.get(word)
        if isinstance(options, list) and not combine(fits(value, option, root, depth + 1) for option in options):
            return False
    if isinstance(value, dict):
        return _object_fits(value, schema, root, depth + 1)
    if isinstance(value, list) and "items" in schema:
        return all(fits(item, schema["items"], root, depth + 1) for item in value)
    return True


def _object_fits(value: dict[str, Any], schema: Mapping[str, Any], root: Any, depth: int) -> bool:
    required = schema.get("required")
    if isinstance(required, list) and not all(name in value for name in required):
        return False
    properties = schema.get("properties")
    properties = properties if isinstance(properties, Mapping) else {}
    others = schema.get("additionalProperties", True)
    for name, item in value.items():
        if name in properties:
            if not fits(item, properties[name], root, depth):
                return False
        elif "patternProperties" not in schema and not fits(item, others, root, depth):
            return False
    return True


def resolved(schema: Any, root: Any) -> Mapping[str, Any]:
    """`schema`, or what its ``$ref`` within `root` refers to; {} where there is no such thing."""
    for _ in range(MAX_DEPTH):
        if not isinstance(schema, Mapping):
            return {}
        reference = schema.get("$ref")
        if not isinstance(reference, str):
            return schema
        schema = root
        for part in reference.removeprefix("#").split("/"):
            name = part.replace("~1", "/").replace("~0", "~")
            if name:
                schema = schema.get(name) if isinstance(schema, Mapping) else None
    return {}


def _same(value: Any, other: Any) -> bool:
    return bool(value == other) and isinstance(value, bool) == isinstance(other, bool)


def _combined(schema: Mapping[str, Any]) -> bool:
    return any(word in schema for word in ("anyOf", "oneOf", "allOf"))
