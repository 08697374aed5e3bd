"""JSON Schema of Python types: what a model must write so that the values can be made of it.

One implementation for ``response_format=SomeType`` and for the parameters of functions. Objects get
``additionalProperties: false``, what has a default is not required, and a definition that is used once stands where it
is used. Not for: looking at annotations (``annotations.py``), or reading values (``typed_values.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from llama_bind.structured import shapes
from llama_bind.structured.annotations import Annotations

__all__ = ["schema_of", "schema_of_shape", "shape_of"]

_PREFIX = "#/$defs/"
_MAPS = ("properties", "patternProperties", "dependentSchemas", "$defs", "definitions")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLE = (
    *("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames"),
    *("unevaluatedItems", "unevaluatedProperties"),
)


def shape_of(hint: Any, where: str = "the type") -> shapes.Shape:
    """The shape of a type: make it once where schema and values are both needed. Raises as `schema_of`."""
    return Annotations().shape(hint, where)


def schema_of(hint: Any, where: str = "the type") -> dict[str, Any]:
    """JSON Schema (2020-12) of a Python type: see ``annotations.py`` for those that are known.

    Args:
        hint: A type as in an annotation; a class or an expression such as ``list[int] | None``.
        where: Words with which an error begins.

    Raises:
        InputError: the type has no form in JSON.
    """
    return schema_of_shape(shape_of(hint, where))


def schema_of_shape(shape: shapes.Shape) -> dict[str, Any]:
    """JSON Schema of a shape, with its definitions in ``$defs``."""
    writer = _Writer()
    schema = writer.write(shape)
    return _inlined(schema, writer.definitions)


class _Writer:
    def __init__(self) -> None:
        self.definitions: dict[str, dict[str, Any]] = {}
        self._own: dict[shapes.Named, str] = {}

    def write(self, shape: shapes.Shape) -> dict[str, Any]:
        return self._WRITERS[type(shape)](self, shape)

    def _scalar(self, shape: shapes.Scalar) -> dict[str, Any]:
        return {"type": shape.name}

    def _text(self, shape: shapes.Text) -> dict[str, Any]:
        return {"type": "string", "format": shape.format}

    def _choices(self, shape: shapes.Choices) -> dict[str, Any]:
        values = [value for value, _, _ in shape.options]
        kinds = {_TYPES[type(value)] for value in values}
        return {"type": kinds.pop(), "enum": values} if len(kinds) == 1 else {"enum": values}

    def _items(self, shape: shapes.Items) -> dict[str, Any]:
        items = self.write(shape.item)
        return {"type": "array", "items": items} if items else {"type": "array"}

    def _fixed(self, shape: shapes.Fixed) -> dict[str, Any]:
        count = len(shape.items)
        if not count:
            return {"type": "array", "maxItems": 0}
        items = [self.write(item) for item in shape.items]
        return {"type": "array", "prefixItems": items, "items": False, "minItems": count, "maxItems": count}

    def _keyed(self, shape: shapes.Keyed) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object", "additionalProperties": self.write(shape.value)}
        if isinstance(shape.key, shapes.Choices):  # all keys are known
            value = schema["additionalProperties"]
            names = [str(key) for key, _, _ in shape.key.options]
            schema |= {"properties": dict.fromkeys(names, value), "additionalProperties": False}
        return schema

    def _one_of(self, shape: shapes.OneOf) -> dict[str, Any]:
        parts: list[dict[str, Any]] = []
        for part in map(self.write, shape.shapes):
            if part not in parts:
                parts.append(part)
        return parts[0] if len(parts) == 1 else {"anyOf": parts}

    def _record(self, shape: shapes.Record) -> dict[str, Any]:
        schema: dict[str, Any] = {"type": "object"}
        if shape.description:
            schema["description"] = shape.description
        schema["properties"] = {field.name: self._field(field) for field in shape.fields}
        required = [field.name for field in shape.fields if field.required]
        if required:
            schema["required"] = required
        schema["additionalProperties"] = False if shape.others is None else self.write(shape.others) or True
        return schema

    def _field(self, field: shapes.Field) -> dict[str, Any]:
        schema = self.write(field.shape)
        if field.description:
            schema = {**schema, "description": field.description}
        return schema if field.default is shapes.MISSING else {**schema, "default": field.default}

    def _named(self, shape: shapes.Named) -> dict[str, Any]:
        name = self._own.get(shape)
        if name is None:
            name = self._own[shape] = self._free(shape.name, {})
            self.definitions[name] = {}  # it is taken, also while the shape is written, which may contain itself
            self.definitions[name] = self.write(shape.target)
        return {"$ref": _PREFIX + name}

    def _free(self, name: str, definition: Mapping[str, Any]) -> str:
        """The name, or with a number where it means something else here."""
        count, unique = 1, name
        while self.definitions.get(unique, definition) != definition or (not definition and unique in self.definitions):
            count, unique = count + 1, f"{name}_{count + 1}"
        return unique

    def _described(self, shape: shapes.Described) -> dict[str, Any]:
        return {**self.write(shape.target), "description": shape.description}

    def _foreign(self, shape: shapes.Foreign) -> dict[str, Any]:
        """Its definitions come among ours."""
        schema = dict(shape.schema())
        definitions: Mapping[str, Any] = schema.pop("$defs", {})
        names = {name: self._free(name, definition) for name, definition in definitions.items()}
        renamed = _renamer(names)
        self.definitions |= {names[name]: _mapped(definition, renamed) for name, definition in definitions.items()}
        result: dict[str, Any] = _mapped(schema, renamed)
        return result

    _WRITERS: Mapping[type[shapes.Shape], Callable[[Any, Any], dict[str, Any]]] = {
        shapes.Anything: lambda *_: {},
        shapes.Scalar: _scalar,
        shapes.Text: _text,
        shapes.Number: lambda *_: {"type": "number"},
        shapes.Choices: _choices,
        shapes.Items: _items,
        shapes.Fixed: _fixed,
        shapes.Keyed: _keyed,
        shapes.OneOf: _one_of,
        shapes.Record: _record,
        shapes.Named: _named,
        shapes.Described: _described,
        shapes.Foreign: _foreign,
    }


_TYPES = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def _renamer(names: Mapping[str, str]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    def renamed(schema: dict[str, Any]) -> dict[str, Any]:
        name = _target(schema)
        return {**schema, "$ref": _PREFIX + names[name]} if name in names else schema

    return renamed


def _target(schema: Any) -> str:
    """The definition that a schema refers to, "" for none."""
    reference = schema.get("$ref") if isinstance(schema, Mapping) else None
    return reference.removeprefix(_PREFIX) if isinstance(reference, str) and reference.startswith(_PREFIX) else ""


def _inlined(schema: dict[str, Any], definitions: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Definitions that are used once go where they are used: readers of a prompt, models too, need not look them up."""
    uses: dict[str, int] = {}
    for part in (schema, *definitions.values()):
        for inner in _parts(part):
            if name := _target(inner):
                uses[name] = uses.get(name, 0) + 1
    once = {name for name, count in uses.items() if count == 1}  # what contains itself is used there and elsewhere

    def put(part: dict[str, Any]) -> dict[str, Any]:
        name = _target(part)
        if name not in once:
            return part
        rest = {key: value for key, value in part.items() if key != "$ref"}
        return {**_mapped(definitions[name], put), **rest}

    left = {name: _mapped(definition, put) for name, definition in definitions.items() if name not in once}
    schema = _mapped(schema, put)
    return {**schema, "$defs": left} if left else schema


def _mapped(schema: Any, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Any:
    """A copy in which `change` was applied to every schema, outer ones first."""
    if not isinstance(schema, Mapping):
        return schema
    changed = change(dict(schema))
    if _target(schema) and not _target(changed):
        return changed  # what took the place of a reference is done already
    for key, value in changed.items():
        if key in _MAPS and isinstance(value, Mapping):
            changed[key] = {name: _mapped(part, change) for name, part in value.items()}
        elif key in _LISTS and isinstance(value, list):
            changed[key] = [_mapped(part, change) for part in value]
        elif key in _SINGLE:
            changed[key] = _mapped(value, change)
    return changed


def _parts(schema: Any) -> Iterator[Mapping[str, Any]]:
    """A schema and every schema in it."""
    if isinstance(schema, Mapping):
        yield schema
        for key, value in schema.items():
            inner: Iterable[Any] = (value,) if key in _SINGLE else ()
            if key in _MAPS and isinstance(value, Mapping):
                inner = value.values()
            elif key in _LISTS and isinstance(value, list):
                inner = value
            for part in inner:
                yield from _parts(part)
