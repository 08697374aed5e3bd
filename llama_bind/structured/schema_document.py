"""A JSON Schema as a document: read and bounded, its places, and where each of its references leads.

A *place* is a schema within the document, with its JSON pointer for error messages. References leave the document
nowhere: nothing is fetched. Not for: what keywords mean (``schema_keywords.py``).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from llama_bind.errors import SchemaError
from llama_bind.structured.schema_shapes import Demand

__all__ = ["FALSE", "Beyond", "Document", "Place", "demand", "read"]

MAX_BYTES = 4 << 20
"""Of a schema as compact JSON."""
MAX_DEPTH = 128
"""Objects and arrays in each other, in the document itself."""

_DRAFTS = {
    "draft-03": 3,
    "draft-04": 4,
    "draft-06": 6,
    "draft-07": 7,
    "2019-09": 2019,
    "2020-12": 2020,
}
_ONE = (
    *("additionalItems", "additionalProperties", "contains", "else", "if", "items", "not", "propertyNames", "then"),
    *("unevaluatedItems", "unevaluatedProperties"),
)
_LIST = ("allOf", "anyOf", "oneOf", "items", "prefixItems")
_MAP = ("$defs", "definitions", "dependencies", "dependentSchemas", "patternProperties", "properties")


class Beyond(Exception):  # noqa: N818 - no error: the way to say that a keyword cannot be put into a grammar here
    """What `keyword` asks for at `place` cannot be expressed as a grammar; `why`."""

    def __init__(self, keyword: str, place: Place | None, why: str) -> None:
        super().__init__(keyword, place, why)
        self.keyword, self.place, self.why = keyword, place, why

    def error(self) -> SchemaError:
        path = "" if self.place is None else self.place.path
        return SchemaError(
            f"{self.why}; use strict=False to have the result checked against it instead",
            keyword=self.keyword,
            path=path,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Place:
    """A schema in its document: `path` is its JSON pointer, `base` the URI of its resource, `draft` its dialect."""

    schema: Any
    path: str
    base: str = ""
    draft: int = 2020

    def __repr__(self) -> str:
        return f"<{self.path or '#'}>"


_NEVER = Place(False, "")
FALSE: Demand = ((_NEVER, True),)
"""The demand that nothing meets."""


def demand(place: Place, holds: bool = True) -> Demand:
    """The demand that the schema at `place` holds (or not)."""
    schema = place.schema
    if schema is True or schema == {} or schema is False:
        return () if (schema is not False) == holds else FALSE
    return ((place, holds),)


def read(schema: Any) -> Any:
    """A schema as JSON values of its own: decimals exact, sequences as lists.

    Args:
        schema: A mapping, True, False, or JSON text of one of these.

    Raises:
        SchemaError: no JSON, no schema, or too large.
    """
    if isinstance(schema, str | bytes | bytearray):
        if len(schema) > MAX_BYTES:
            raise SchemaError(f"the schema has {len(schema)} bytes; the most is {MAX_BYTES}")
        try:
            schema = json.loads(schema, parse_float=Decimal)
        except RecursionError:
            raise SchemaError(f"the schema nests more than {MAX_DEPTH} levels") from None
        except ValueError as error:
            raise SchemaError(f"the schema is not valid JSON: {error}") from None
    if not isinstance(schema, bool | Mapping):
        raise SchemaError(f"a schema is an object or a boolean, not {type(schema).__name__}")
    return _copied(schema, "", 0, [0])


def _copied(value: Any, path: str, depth: int, size: list[int]) -> Any:
    size[0] += len(value) + 2 if isinstance(value, str) else 6
    if depth > MAX_DEPTH:
        raise SchemaError(f"the schema nests more than {MAX_DEPTH} levels", path=path)
    if size[0] > MAX_BYTES:
        raise SchemaError(f"the schema has more than {MAX_BYTES} bytes")
    if isinstance(value, Mapping):
        result = {}
        for key, inner in value.items():
            if not isinstance(key, str):
                raise SchemaError(f"the key {key!r} is not text", path=path)
            size[0] += len(key)
            result[key] = _copied(inner, f"{path}/{_escaped(key)}", depth + 1, size)
        return result
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return [_copied(inner, f"{path}/{at}", depth + 1, size) for at, inner in enumerate(value)]
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float | Decimal):
        if not math.isfinite(value):
            raise SchemaError(f"{value} is no number in JSON", path=path)
        return value if isinstance(value, Decimal) else Decimal(repr(value))
    raise SchemaError(f"{type(value).__name__} has no form in JSON", path=path)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


class Document:
    """All places of one schema. Not for use by several threads."""

    def __init__(self, root: Any) -> None:
        self._places: dict[int, Place] = {}
        self._kept: list[Any] = []  # values whose id() is a key must not go away
        self._resources: dict[str, Place] = {}
        self._anchors: dict[tuple[str, str], Place] = {}
        self._constants: dict[str, Place] = {}
        self.root = self._place(root, "", "", _draft(root, 2020))
        self._resources[""] = self.root
        self._resources.setdefault(self.root.base, self.root)
        self._indexed = False

    def _place(self, schema: Any, path: str, base: str, draft: int) -> Place:
        if isinstance(schema, dict):
            if found := self._places.get(id(schema)):
                return found
            draft = _draft(schema, draft)
            if identity := _identity(schema, draft):
                base = urldefrag(urljoin(base, identity)).url
            place = self._places[id(schema)] = Place(schema, path, base, draft)
            return place
        return Place(schema, path, base, draft)

    def child(self, place: Place, *keys: str | int) -> Place:
        """The schema at `keys` below a place."""
        value = place.schema
        path = place.path
        for key in keys:
            value = value[key]
            path += f"/{_escaped(str(key))}"
        if not isinstance(value, dict | bool):
            raise SchemaError("a schema is an object or a boolean", keyword=str(keys[0]), path=path)
        return self._place(value, path, place.base, place.draft)

    def constant(self, value: Any, place: Place) -> Place:
        """A schema that allows just `value`, an array or object."""
        key = json.dumps(value, default=str)
        found = self._constants.get(key)
        if found is None:
            schema: dict[str, Any]
            if isinstance(value, list):
                count = len(value)
                items = [{"const": item} for item in value]
                schema = {"type": "array", "prefixItems": items, "minItems": count, "maxItems": count}
            else:
                members = {name: {"const": item} for name, item in value.items()}
                schema = {"type": "object", "properties": members, "required": [*value], "additionalProperties": False}
            found = self._constants[key] = self.synthetic(schema, place)
        return found

    def synthetic(self, schema: Any, place: Place) -> Place:
        """A schema that is not in the document, standing for one at `place`."""
        self._kept.append(schema)
        return self._place(schema, place.path, place.base, 2020)

    def follow(self, place: Place, keyword: str) -> Place:
        """Where the reference at `place` leads.

        Raises:
            SchemaError: nowhere, or out of the document.
        """
        reference = place.schema[keyword]
        if not isinstance(reference, str):
            raise SchemaError("a reference is text", keyword=keyword, path=place.path)
        uri, fragment = urldefrag(
            place.base + reference if reference.startswith("#") else urljoin(place.base, reference)
        )
        fragment = unquote(fragment)
        resource = self._resources.get(uri)
        if resource is None or (fragment and not fragment.startswith("/")):
            self._index()
            resource = self._resources.get(uri)
        if resource is None:
            raise SchemaError(
                f"{reference!r} leads out of the schema, and nothing is fetched: put what it refers to into $defs",
                keyword=keyword,
                path=place.path,
            )
        found = self._pointed(resource, fragment) if fragment.startswith("/") else self._anchored(resource, fragment)
        if found is None:
            raise SchemaError(f"{reference!r} leads nowhere in the schema", keyword=keyword, path=place.path)
        return found

    def dynamic(self, place: Place, keyword: str) -> Place:
        """Where a $dynamicRef or $recursiveRef leads, when that does not depend on the way there."""
        self._index()
        target = self.follow(place, keyword)
        name = urldefrag(place.schema[keyword]).fragment
        mark = "$recursiveAnchor" if keyword == "$recursiveRef" else "$dynamicAnchor"
        marked = [
            other for other in self._places.values() if mark in other.schema and other.schema[mark] in (name, True)
        ]
        if len(marked) > 1 and any(other is target for other in marked):
            raise Beyond(keyword, place, "where the reference leads depends on the way there")
        return target

    def _anchored(self, resource: Place, name: str) -> Place | None:
        return self._anchors.get((resource.base, name)) if name else resource

    def _pointed(self, resource: Place, pointer: str) -> Place | None:
        value, path = resource.schema, resource.path
        base, draft = resource.base, resource.draft
        for part in pointer[1:].split("/"):
            key = part.replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isascii() and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            else:
                return None
            path += f"/{_escaped(key)}"
            if isinstance(value, dict) and id(value) in self._places:
                base, draft = self._places[id(value)].base, self._places[id(value)].draft
        return self._place(value, path, base, draft) if isinstance(value, dict | bool) else None

    def _index(self) -> None:
        """Find all identifiers and anchors."""
        if self._indexed:
            return
        self._indexed = True
        stack = [self.root]
        while stack:
            place = stack.pop()
            if not isinstance(place.schema, dict):
                continue
            if _identity(place.schema, place.draft):
                self._resources.setdefault(place.base, place)
            elif isinstance(own := place.schema.get("$id" if place.draft > 4 else "id"), str) and own.startswith("#"):
                self._anchors.setdefault((place.base, own[1:]), place)
            for keyword in ("$anchor", "$dynamicAnchor"):
                if isinstance(name := place.schema.get(keyword), str):
                    self._anchors.setdefault((place.base, name), place)
            stack += [self.child(place, *keys) for keys in subschemas(place.schema)]


def subschemas(schema: Mapping[str, Any]) -> Iterator[tuple[str | int, ...]]:
    """The ways to all schemas directly in one."""
    for keyword, value in schema.items():
        if keyword in _ONE and isinstance(value, dict | bool):
            yield (keyword,)
        elif keyword in _LIST and isinstance(value, list):
            yield from ((keyword, at) for at, inner in enumerate(value) if isinstance(inner, dict | bool))
        elif keyword in _MAP and isinstance(value, dict):
            yield from ((keyword, name) for name, inner in value.items() if isinstance(inner, dict | bool))


def _identity(schema: Mapping[str, Any], draft: int) -> str:
    """The URI that a schema gives itself; "" for none."""
    if draft <= 7 and "$ref" in schema:
        return ""
    identity = schema.get("$id" if draft > 4 else "id")
    return identity if isinstance(identity, str) and not identity.startswith("#") else ""


def _draft(schema: Any, otherwise: int) -> int:
    name = schema.get("$schema") if isinstance(schema, dict) else None
    if isinstance(name, str):
        for part, draft in _DRAFTS.items():
            if part in name:
                return draft
    return otherwise
