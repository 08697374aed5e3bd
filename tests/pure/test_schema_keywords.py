"""Each keyword: texts that its grammar takes, and texts that it refuses."""

from __future__ import annotations

import json
import math
import re
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from llama_bind.structured import schema_numbers
from llama_bind.structured.schema import compile_schema
from llama_bind.structured.schema_languages import languages
from llama_bind.structured.schema_patterns import PatternError, parse
from tests.schema_walks import accepts, matcher_of

DRAFT4 = "http://json-schema.org/draft-04/schema#"
DRAFT7 = "http://json-schema.org/draft-07/schema#"
TREE = {"type": "object", "properties": {"next": {"$ref": "#"}}, "additionalProperties": False}

CASES: list[tuple[Any, list[str], list[str]]] = [
    (True, ["1", '"a"', "[]", '{"a": [null, {}]}', "-1.5e-7"], ["", "01", "{'a': 1}", "[1,2]", "nul"]),
    ({"type": ["integer", "null"]}, ["1", "-7", "null"], ["1.5", '"1"', "true"]),
    ({"enum": ["a", 1, None, [1], {"b": 2}]}, ['"a"', "1", "null", "[1]", '{"b": 2}'], ['"b"', "2", "[]", "{}"]),
    ({"const": {"a": [1, "x"]}}, ['{"a": [1, "x"]}'], ['{"a": [1]}', "{}"]),
    ({"type": "integer", "minimum": -3, "exclusiveMaximum": 12}, ["-3", "0", "11"], ["-4", "12", "11.5"]),
    ({"$schema": DRAFT4, "minimum": 1, "exclusiveMinimum": True, "type": "integer"}, ["2"], ["1"]),
    ({"type": "number", "minimum": 0.5, "maximum": 10.25}, ["0.5", "10.25", "3"], ["0.49", "10.26", "1e1"]),
    ({"type": "integer", "multipleOf": 7, "minimum": 5}, ["7", "14"], ["0", "8"]),
    ({"type": "number", "multipleOf": 0.25}, ["0.25", "3.75", "2"], ["0.3"]),
    ({"type": "integer", "maximum": 9007199254740993}, ["9007199254740993"], ["9007199254740994"]),
    ({"type": "string", "minLength": 2, "maxLength": 3}, ['"ab"', '"é\\n"', '"\\u00e9b"'], ['"a"', '"abcd"']),
    ({"type": "string", "pattern": "^[a-c]+$"}, ['"abc"'], ['""', '"abd"', '"\\u0061"']),
    ({"type": "string", "pattern": "b"}, ['"abc"', '"b"'], ['"ac"']),
    ({"type": "string", "pattern": "^(?!foo)[a-z]+$"}, ['"bar"', '"fo"'], ['"food"']),
    ({"type": "string", "pattern": '^["\\\\\\n]$'}, ['"\\""', '"\\\\"', '"\\n"'], ['"n"', '"\\\\n"']),
    ({"type": "string", "format": "date"}, ['"2024-02-29"'], ['"2023-02-29"', '"2024-13-01"']),
    ({"type": "string", "format": "no-such-format"}, ['"x"'], ["1"]),
    ({"type": "string", "not": {"enum": ["a", "b"]}}, ['"c"', '"ab"', '""'], ['"a"', '"b"']),
    ({"not": {"type": ["object", "array", "string"]}}, ["1", "null"], ["{}", '"a"']),
    ({"type": "integer", "not": {"const": 5}}, ["4", "6", "55"], ["5"]),
    ({"not": {"required": ["a"]}, "type": "object"}, ["{}", '{"b": 1}'], ['{"a": 1}']),
    ({"items": {"type": "integer"}, "type": "array", "maxItems": 2}, ["[]", "[1, 2]"], ["[1, 2, 3]", '["a"]']),
    (
        {"prefixItems": [{"type": "integer"}, {"type": "string"}], "items": False, "minItems": 1, "type": "array"},
        ["[1]", '[1, "a"]'],
        ["[]", '[1, "a", 2]', '["a"]'],
    ),
    ({"$schema": DRAFT7, "type": "array", "items": [{"const": 1}], "additionalItems": False}, ["[1]"], ["[1, 2]"]),
    ({"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True}, ["[3, 1]", "[]"], ["[1, 1]"]),
    ({"type": "array", "uniqueItems": True, "maxItems": 1}, ["[]", "[5]"], ["[1, 2]"]),
    ({"type": "array", "contains": {"const": 7}, "items": {"type": "integer"}}, ["[7]", "[1, 7, 2]"], ["[]", "[1]"]),
    (
        {"type": "array", "contains": {"const": 7}, "maxContains": 2, "minContains": 2},
        ["[7, 7]", "[7, 1, 7]"],
        ["[7]", "[7, 7, 7]"],
    ),
    (
        {"type": "object", "properties": {"a": {"type": "integer"}, "b": {}}, "required": ["b"]},
        ['{"a": 1, "b": 2}', '{"b": 2}'],
        ['{"a": 1}', '{"b": 2, "a": 1}', '{"a": "x", "b": 1}', '{"b": 1, "\\u0061": "x"}'],
    ),
    (
        {"type": "object", "patternProperties": {"^x-": {"type": "integer"}}, "additionalProperties": False},
        ["{}", '{"x-a": 1}'],
        ['{"x-a": "b"}', '{"y": 1}'],
    ),
    (
        {"type": "object", "patternProperties": {"a": {"minimum": 3}, "b": {"maximum": 5}}, "required": ["ab"]},
        ['{"ab": 4}', '{"ab": 4, "a": 7}'],
        ['{"ab": 2}', '{"ab": 6}', '{"ab": 4, "b": 6}', "{}"],
    ),
    ({"type": "object", "propertyNames": {"maxLength": 1}}, ['{"a": 1}'], ['{"ab": 1}']),
    (
        {
            "type": "object",
            "properties": {"a": {}, "b": {}, "c": {}},
            "additionalProperties": False,
            "minProperties": 2,
        },
        ['{"a": 1, "c": 2}', '{"b": 1, "c": 2}'],
        ["{}", '{"a": 1}'],
    ),
    (
        {"type": "object", "maxProperties": 1, "additionalProperties": {"type": "integer"}},
        ["{}", '{"x": 1}'],
        ['{"x": 1, "y": 2}'],
    ),
    (
        {"type": "object", "dependentRequired": {"a": ["b"]}, "properties": {"a": {}, "b": {}}},
        ['{"b": 1}', '{"a": 1, "b": 2}', "{}"],
        ['{"a": 1}'],
    ),
    (
        {"$schema": DRAFT7, "type": "object", "dependencies": {"a": {"required": ["c"]}}},
        ["{}", '{"a": 1, "c": 2}'],
        ['{"a": 1}'],
    ),
    (
        {"oneOf": [{"type": "number"}, {"type": "string"}, {"type": "integer"}]},
        ['"a"', "1.5"],
        ["1", "true"],
    ),
    (
        {"type": "object", "oneOf": [{"required": ["a"]}, {"required": ["b"]}]},
        ['{"a": 1}', '{"b": 1}'],
        ["{}", '{"a": 1, "b": 2}'],
    ),
    ({"allOf": [{"minimum": 3}, {"maximum": 5}], "type": "integer"}, ["3", "5"], ["2", "6"]),
    (
        {
            "type": "object",
            "properties": {"kind": {"enum": ["n", "s"]}, "value": {}},
            "required": ["kind", "value"],
            "if": {"properties": {"kind": {"const": "n"}}},
            "then": {"properties": {"value": {"type": "number"}}},
            "else": {"properties": {"value": {"type": "string"}}},
        },
        ['{"kind": "n", "value": 1}', '{"kind": "s", "value": "x"}'],
        ['{"kind": "n", "value": "x"}', '{"kind": "s", "value": 1}'],
    ),
    (
        {
            "type": "object",
            "allOf": [{"properties": {"a": {"type": "integer"}}}, {"$ref": "#/$defs/b"}],
            "$defs": {"b": {"properties": {"b": {"type": "string"}}}},
            "unevaluatedProperties": False,
        },
        ['{"a": 1, "b": "x"}', "{}"],
        ['{"c": 1}', '{"a": "x"}'],
    ),
    (TREE, ["{}", '{"next": {"next": {}}}'], ['{"next": 1}', '{"other": {}}']),
    ({"$ref": "#/definitions/a~1b%25", "definitions": {"a/b%": {"const": 1}}}, ["1"], ["2"]),
    ({"$ref": "#x", "$defs": {"y": {"$anchor": "x", "const": 1}}}, ["1"], ["2"]),
    ({"$id": "http://e.x/r", "$ref": "s", "$defs": {"y": {"$id": "/s", "const": 1}}}, ["1"], ["2"]),
    (
        {"$schema": DRAFT7, "$ref": "#/definitions/a", "minimum": 5, "definitions": {"a": {"type": "integer"}}},
        ["1"],
        [],
    ),
    ({"type": "string", "nullable": True}, ['"a"'], ["null"]),  # OpenAPI's word, only words here
    ({"type": "object", "propertys": {"a": False}}, ['{"a": 1}'], []),  # unknown keywords say nothing
]


@pytest.mark.parametrize(("schema", "taken", "refused"), CASES, ids=lambda value: json.dumps(value)[:60])
def test_texts(schema: Any, taken: list[str], refused: list[str]) -> None:
    matcher = matcher_of(schema)
    assert [text for text in taken if not accepts(matcher, text)] == []
    assert [text for text in refused if accepts(matcher, text)] == []


OBJECT = {"type": "object", "properties": {"a": {"type": "integer"}}}
MORE = '{"a": 1, "x": 2}'


@pytest.mark.parametrize(
    ("schema", "taken", "refused"),
    [
        (OBJECT, ["{}", '{"a": 1}'], [MORE, '{"x": 2}']),
        ({"anyOf": [OBJECT, {"type": "null"}]}, ["null", '{"a": 1}'], [MORE]),
        ({"type": "array", "items": OBJECT}, ['[{"a": 1}, {}]'], [f"[{MORE}]"]),
        ({"allOf": [OBJECT, {"properties": {"b": {}}}], "type": "object"}, ['{"a": 1, "b": 2}'], [MORE]),
        ({**OBJECT, "required": ["x"]}, [MORE], ['{"a": 1, "x": 2, "y": 3}', "{}"]),
        ({**OBJECT, "dependentRequired": {"a": ["x"]}}, ["{}", MORE], ['{"a": 1}', '{"y": 1}']),
        ({**OBJECT, "patternProperties": {"^x": {}}}, [MORE, '{"x": 2}'], ['{"a": 1, "y": 2}']),
        ({**OBJECT, "minProperties": 1}, ['{"a": 1}'], ["{}", MORE]),
        ({"type": "object", "properties": {}}, ["{}"], [MORE]),
        # Silence about others it is not, or others must be there:
        ({**OBJECT, "additionalProperties": True}, [MORE], []),
        ({**OBJECT, "additionalProperties": {"type": "integer"}}, [MORE], ['{"x": "y"}']),
        ({**OBJECT, "unevaluatedProperties": True}, [MORE], []),
        ({**OBJECT, "propertyNames": {"maxLength": 1}}, [MORE], ['{"xy": 1}']),
        ({**OBJECT, "minProperties": 2}, [MORE], ['{"a": 1}']),
        ({"type": "array", "items": {**OBJECT, "minProperties": 2}}, [f"[{MORE}]"], ['[{"a": 1}]']),
        ({"properties": {"a": {"type": "integer", "enum": ["x"]}}, "type": "object", "minProperties": 1},
         ['{"x": 2}'], ["{}", '{"a": "x"}']),
        ({"type": "object"}, [MORE], []),
        ({"type": "object", "required": ["a"]}, [MORE], ['{"x": 2}']),
        ({"type": "object", "not": {"required": ["b"]}}, [MORE], ['{"b": 1}']),
        ({"type": "object", "not": {"properties": {"a": {"type": "integer"}}}}, ['{"a": "y", "x": 1}'], ['{"a": 1}']),
    ],
)  # fmt: skip
def test_members_that_the_schema_does_not_name(schema: Any, taken: list[str], refused: list[str]) -> None:
    matcher = matcher_of(schema)
    assert [text for text in taken if not accepts(matcher, text)] == []
    assert [text for text in refused if accepts(matcher, text)] == []
    matcher, validator = matcher_of(schema, members="any"), Draft202012Validator(schema)
    for text in (*taken, *refused):
        assert accepts(matcher, text) is validator.is_valid(json.loads(text)), text


@pytest.mark.parametrize(
    ("whitespace", "taken", "refused"),
    [
        ("fixed", ['{"a": [1, 2], "b": 1}'], ['{"a":[1,2]}', '{ "a": []}']),
        ("compact", ['{"a":[1,2],"b":1}'], ['{"a": [1, 2]}']),
        (
            "free",
            ['{"a": [1, 2]}', '{"a":[1,2]}', '{\n  "a" : [\n 1 ,2 ]\n}'],
            [' {"a":[]}', '{"a":' + " " * 50 + "[]}"],
        ),
    ],
)
def test_whitespace(whitespace: Any, taken: list[str], refused: list[str]) -> None:
    matcher = matcher_of({"type": "object"}, whitespace=whitespace)
    assert [text for text in taken if not accepts(matcher, text)] == []
    assert [text for text in refused if accepts(matcher, text)] == []


def test_order_of_members() -> None:
    """As the schema names them, allOf in its place, then those that are only required."""
    schema = {
        "type": "object",
        "properties": {"b": {}, "a": {}},
        "allOf": [{"properties": {"c": {}}}],
        "required": ["z", "a"],
        "additionalProperties": True,
    }
    matcher = matcher_of(schema)
    assert accepts(matcher, '{"b": 1, "a": 1, "c": 1, "z": 1, "y": 1}')
    assert not accepts(matcher, '{"a": 1, "b": 1, "z": 1}')


def test_forced_text_of_an_object() -> None:
    """With fixed separators all but the values follows by itself."""
    matcher = matcher_of({"type": "object", "properties": {"name": {"type": "integer"}}, "required": ["name"]})
    assert matcher.compute_ff_bytes() == b'{"name": '


def test_one_text_for_equal_schemas() -> None:
    schema = {"type": "object", "properties": {"a": {"type": "string"}}}
    assert compile_schema(schema) is compile_schema(json.dumps(schema)) is compile_schema(dict(schema))
    assert compile_schema(schema) is not compile_schema(schema, whitespace="compact")


SEARCHES = [
    "a",
    "^a",
    "b$",
    "^a|b$",
    "^(a|b)?$",
    r"^\d+\.\d$",
    "^((?!ab).)*$",
    "^(?=.*a)(?=.*b).{2,}$",
    "^[^a]*(?<!b)$",
]


@pytest.mark.parametrize("pattern", [*SEARCHES, "(^a|b$)c?", "a^", "^(a{2,3}){2}$", r"^[\s\S]$", "x*", r"\\", "[.]"])
@given(st.text(alphabet="ab1.\\ ", max_size=7))
def test_patterns_search_as_in_python(pattern: str, text: str) -> None:
    assert any(language.has(text) for language in languages(pattern)) == (re.search(pattern, text) is not None)


@pytest.mark.parametrize(
    "pattern", ["(", ")", "[a", "a{3,1}", "*", "a**", "\\", "(?P<a", r"\1", r"\bx", "x(?=y)z", r"\p{Greek}", "(" * 99]
)
def test_patterns_that_are_refused(pattern: str) -> None:
    with pytest.raises(PatternError):
        languages(pattern)


def test_braces_that_are_no_repetition() -> None:
    assert parse("a{x}") == parse(r"a\{x\}")


@given(
    st.decimals(-(10**6), 10**6, places=3) | st.integers(-(10**9), 10**9).map(Decimal),
    st.decimals(-(10**6), 10**6, places=4) | st.integers(-20, 20).map(Decimal),
    st.booleans(),
)
def test_bounds_of_numbers(bound: Decimal, number: Decimal, strict: bool) -> None:
    text = schema_numbers.plain(number)
    assert re.fullmatch(schema_numbers.DECIMAL, text)
    above, below = schema_numbers.above(bound, strict), schema_numbers.below(bound, strict)
    assert bool(re.fullmatch(above, text)) == (number > bound if strict else number >= bound)
    assert bool(re.fullmatch(below, text)) == (number < bound if strict else number <= bound)


@given(st.lists(st.sampled_from(["0.25", "2", "3", "0.1", "10", "7.5"]).map(Decimal), min_size=1, max_size=3))
def test_common_multiples(steps: list[Decimal]) -> None:
    common = schema_numbers.common_step(tuple(steps))
    assert all(common % step == 0 for step in steps)
    scaled = [int(step * 100) for step in steps]
    assert int(common * 100) == math.lcm(*scaled)
