"""Schemas that cannot be used: what the error names, and that it comes in time."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from llama_bind.errors import InputError, SchemaError
from llama_bind.structured.schema import compile_schema
from tests.schema_walks import accepts, matcher_of

ERRORS: list[tuple[Any, str, str, str]] = [
    (5, "", "", "an object or a boolean"),
    ("{", "", "", "not valid JSON"),
    (False, "", "", "contradict"),
    ({"type": "text"}, "type", "", "'text' is no type"),
    ({"type": []}, "", "", "contradict"),
    ({"properties": {"a": 5}}, "properties", "/properties/a", "an object or a boolean"),
    ({"properties": []}, "properties", "", "an object of schemas"),
    ({"required": "a"}, "required", "", "a list of names"),
    ({"enum": "a"}, "enum", "", "a list of values"),
    ({"anyOf": []}, "anyOf", "", "at least one"),
    ({"minLength": -1}, "minLength", "", "0 or more"),
    ({"minimum": "1"}, "minimum", "", "a number"),
    ({"multipleOf": 0}, "multipleOf", "", "above 0"),
    ({"pattern": 5}, "pattern", "", "a regular expression"),
    ({"type": "string", "pattern": "("}, "pattern", "", "not closed"),
    ({"type": "string", "pattern": r"(a)\1"}, "pattern", "", "back reference"),
    ({"type": "string", "pattern": "((a{1,1000}){1,1000}){1,1000}"}, "pattern", "", "more than"),
    ({"$ref": "#"}, "$ref", "", "back to itself"),
    (
        {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}},
        "$ref",
        "/$defs/a",
        "back to",
    ),
    ({"allOf": [{"$ref": "#"}], "type": "object"}, "$ref", "", "back to itself"),
    ({"not": {"$ref": "#"}}, "$ref", "", "back to itself"),
    ({"$ref": "#/$defs/nothing"}, "$ref", "", "leads nowhere"),
    ({"items": {"$ref": "http://example.com/a.json"}}, "$ref", "/items", "nothing is fetched"),
    ({"type": "integer", "minimum": 5, "maximum": 4}, "", "", "contradict"),
    ({"type": "string", "minLength": 5, "maxLength": 4}, "", "", "contradict"),
    ({"type": "string", "pattern": "^a$", "minLength": 2}, "", "", "contradict"),
    ({"type": "integer", "minimum": 1, "maximum": 2, "multipleOf": 7}, "", "", "contradict"),
    ({"enum": [1, 2], "type": "string"}, "", "", "contradict"),
    ({"type": "object", "properties": {"a": False}, "required": ["a"]}, "", "", "contradict"),
    ({"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]}, "", "", "without end"),
    ({"type": "array", "items": {"type": "string"}, "uniqueItems": True}, "uniqueItems", "", "at most 64"),
    (
        {"type": "object", "properties": {"a": {"allOf": [{"type": "array", "uniqueItems": True}]}}},
        "uniqueItems",
        "/properties/a/allOf/0",
        "strict=False",
    ),
    ({"type": "string", "pattern": r"x(?=y)z"}, "pattern", "", "strict=False"),
    ({"type": "number", "multipleOf": 123456.789}, "multipleOf", "", "strict=False"),
    ({"type": "object", "minProperties": 5}, "minProperties", "", "strict=False"),
    ({"type": "object", "not": {"propertyNames": {"minLength": 2}}}, "propertyNames", "/not", "strict=False"),
]


@pytest.mark.parametrize(("schema", "keyword", "path", "words"), ERRORS, ids=lambda value: json.dumps(value)[:50])
def test_names_keyword_and_path(schema: Any, keyword: str, path: str, words: str) -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema(schema)
    assert (caught.value.keyword, caught.value.path) == (keyword, path), str(caught.value)
    assert words in str(caught.value)
    assert caught.value.param == "response_format"
    with pytest.raises(SchemaError):  # the same from what is kept
        compile_schema(schema)


def test_unknown_formats_where_all_are_required() -> None:
    with pytest.raises(SchemaError) as caught:
        compile_schema({"properties": {"a": {"format": "no-such-format"}}}, formats="required")
    assert (caught.value.keyword, caught.value.path) == ("format", "/properties/a")
    ignoring = matcher_of({"type": "string", "format": "date"}, formats="ignore")
    assert accepts(ignoring, '"yesterday"')


@pytest.mark.parametrize(("name", "value"), [("whitespace", "none"), ("formats", "all")])
def test_unknown_options(name: str, value: str) -> None:
    options: Any = {name: value}
    with pytest.raises(InputError) as caught:
        compile_schema({}, **options)
    assert caught.value.param == name


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), {1: 2}, b"\xff"])
def test_what_has_no_form_in_json(value: Any) -> None:
    with pytest.raises(SchemaError):
        compile_schema({"const": value})


def test_without_strict_the_rest_is_enforced() -> None:
    schema = {
        "type": "object",
        "properties": {
            "tags": {"type": "array", "items": {"type": "string"}, "uniqueItems": True, "maxItems": 2},
            "name": {"type": "string", "pattern": r"x(?=y)z", "minLength": 2},
        },
        "required": ["tags"],
    }
    compiled = compile_schema(schema, strict=False)
    assert {(one.keyword, one.path) for one in compiled.unchecked} == {
        ("uniqueItems", "/properties/tags"),
        ("pattern", "/properties/name"),
    }
    matcher = matcher_of(schema, strict=False)
    assert accepts(matcher, '{"tags": ["a", "a"], "name": "ab"}')
    for text in ("{}", '{"tags": [1]}', '{"tags": ["a", "b", "c"]}', '{"tags": [], "name": "a"}'):
        assert not accepts(matcher, text)
    assert compile_schema({"type": "integer"}, strict=False).unchecked == ()


def _deep(levels: int) -> Any:
    schema: Any = {"type": "integer"}
    for _ in range(levels):
        schema = {"type": "array", "items": schema}
    return schema


def test_too_deep_and_too_large() -> None:
    with pytest.raises(SchemaError, match="nests more than"):
        compile_schema(_deep(500))
    with pytest.raises(SchemaError, match="nests more than"):
        compile_schema("[" * 100_000)
    with pytest.raises(SchemaError, match="bytes"):
        compile_schema({"description": "x" * (5 << 20)})
    chain = {f"d{n}": {"$ref": f"#/$defs/d{n + 1}", "minLength": 1} for n in range(3000)}
    with pytest.raises(SchemaError, match="too deep"):
        compile_schema({"$ref": "#/$defs/d0", "$defs": {**chain, "d3000": {"type": "string"}}})


@pytest.mark.parametrize("needed", [True, False])
def test_thousands_of_properties(needed: bool) -> None:
    count = 5000 if needed else 600
    names = [f"property_{n}" for n in range(count)]
    schema = {
        "type": "object",
        "properties": {name: {"type": "integer"} for name in names},
        "required": names if needed else [],
        "additionalProperties": False,
    }
    started = time.thread_time()
    matcher = matcher_of(schema)
    assert time.thread_time() - started < 20
    if needed:
        assert matcher.compute_ff_bytes() == b'{"property_0": '
    else:
        assert accepts(matcher, '{"property_3": 1, "property_500": 2}')
        assert not accepts(matcher, '{"property_500": 1, "property_3": 2}')


def test_large_enumerations() -> None:
    matcher = matcher_of({"enum": [f"value {n}" for n in range(20_000)]})
    assert accepts(matcher, '"value 19999"')
    assert not accepts(matcher, '"value 20000"')


def test_alternatives_that_multiply() -> None:
    branches = [{"anyOf": [{"required": [f"{at}{n}"]} for n in range(4)]} for at in range(8)]
    with pytest.raises(SchemaError, match="multiply") as caught:
        compile_schema({"type": "object", "allOf": branches})
    assert caught.value.keyword == "allOf"


def test_what_is_kept_of_an_error_is_nobodys_to_change() -> None:
    schema = {"type": "array", "uniqueItems": True, "title": "kept"}
    for param in ("json_schema", "tools"):
        with pytest.raises(SchemaError) as caught:
            compile_schema(schema)
        assert (caught.value.param, caught.value.keyword) == ("response_format", "uniqueItems")
        caught.value.param = param
