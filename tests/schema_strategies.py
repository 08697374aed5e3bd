"""Random JSON Schemas and values, small enough that they often have to do with each other."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

NAMES = ("a", "b", "ab", "x-1", "")
PATTERNS = ("^a", "b$", "^x-", "^[ab]{1,2}$", "[0-9]", "^(?!a)", "^a?b*$", ".")
IN_PYTHON = {"b$": r"b\Z", "^[ab]{1,2}$": r"^[ab]{1,2}\Z", "^a?b*$": r"^a?b*\Z", ".": r"[^\n\r\u2028\u2029]"}
"""The patterns that Python reads otherwise than ECMA 262."""
TYPES = ("null", "boolean", "integer", "number", "string", "array", "object")

numbers = st.one_of(
    st.integers(-12, 12), st.sampled_from([0.5, -2.5, 1.25, 10.0, 99.75]), st.integers(10**12, 10**12 + 3)
)
scalars = st.one_of(st.none(), st.booleans(), numbers, st.sampled_from([*NAMES, "abb", "é", '"', "\\", "a\nb"]))
values: st.SearchStrategy[Any] = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)),
    max_leaves=6,
)

_counts = st.integers(0, 3)
_simple: dict[str, st.SearchStrategy[Any]] = {
    "type": st.one_of(st.sampled_from(TYPES), st.lists(st.sampled_from(TYPES), min_size=1, max_size=3, unique=True)),
    "const": values,
    "enum": st.lists(values, min_size=1, max_size=4),
    "minimum": numbers,
    "maximum": numbers,
    "exclusiveMinimum": numbers,
    "exclusiveMaximum": numbers,
    "multipleOf": st.sampled_from([1, 2, 3, 0.5, 0.25]),
    "minLength": _counts,
    "maxLength": _counts,
    "pattern": st.sampled_from(PATTERNS),
    "minItems": _counts,
    "maxItems": _counts,
    "minProperties": _counts,
    "maxProperties": _counts,
    "required": st.lists(st.sampled_from(NAMES), max_size=2, unique=True),
    "uniqueItems": st.booleans(),
    "dependentRequired": st.dictionaries(
        st.sampled_from(NAMES), st.lists(st.sampled_from(NAMES), max_size=2, unique=True), min_size=1, max_size=2
    ),
}


def _with_parts(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    lists = st.lists(inner, min_size=1, max_size=3)
    named = st.dictionaries(st.sampled_from(NAMES), inner, min_size=1, max_size=3)
    parts: dict[str, st.SearchStrategy[Any]] = {
        "properties": named,
        "patternProperties": st.dictionaries(st.sampled_from(PATTERNS), inner, min_size=1, max_size=2),
        "additionalProperties": inner,
        "propertyNames": inner,
        "items": inner,
        "prefixItems": lists,
        "contains": inner,
        "minContains": st.integers(0, 2),
        "maxContains": st.integers(1, 3),
        "allOf": lists,
        "anyOf": lists,
        "oneOf": lists,
        "not": inner,
        "if": inner,
        "then": inner,
        "else": inner,
        "dependentSchemas": named,
        "unevaluatedProperties": inner,
        "unevaluatedItems": inner,
    }
    return _some_of({**_simple, **parts})


@st.composite
def _some_of(draw: st.DrawFn, keywords: dict[str, st.SearchStrategy[Any]]) -> dict[str, Any]:
    chosen = draw(st.lists(st.sampled_from(sorted(keywords)), min_size=1, max_size=4, unique=True))
    return {keyword: draw(keywords[keyword]) for keyword in chosen}


schemas: st.SearchStrategy[Any] = st.recursive(st.one_of(st.booleans(), _some_of(_simple)), _with_parts, max_leaves=5)


def in_python(schema: Any) -> Any:
    """A schema for a judge that takes its patterns for Python's."""
    if isinstance(schema, list):
        return [in_python(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    result = {}
    for keyword, value in schema.items():
        if keyword in ("const", "enum", "required", "dependentRequired"):
            result[keyword] = value
        elif keyword == "pattern":
            result[keyword] = IN_PYTHON.get(value, value)
        elif keyword == "patternProperties":
            result[keyword] = {IN_PYTHON.get(name, name): in_python(part) for name, part in value.items()}
        elif keyword in ("properties", "dependentSchemas"):
            result[keyword] = {name: in_python(part) for name, part in value.items()}
        else:
            result[keyword] = in_python(value)
    return result
