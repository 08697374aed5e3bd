"""Calls written as bare JSON although the template asks for tags; whether arguments fit a schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llama_bind.chat.tools.arguments import as_json, json_types
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.fits import fits, fits_tool
from llama_bind.chat.tools.registry import get_format, names
from tests.routing import tool, whole

WEATHER = tool("get_weather", ["city"], city="string", unit={"enum": ["C", "F"]})
NOW = Tool("now", {})
PARIS = '{"city": "Paris"}'
NAMED = '{"name": "get_weather", "arguments": {"city": "Paris"}}'
TAGGED = tuple(name for name in names() if name not in ("generic", "llama3") and not get_format(name).reads_reasoning)
"""Formats that ask for tags; those with channels have no stretch of text that a call could be taken out of."""

CALLS = [
    NAMED,
    '{"name": "get_weather", "parameters": {"city": "Paris"}}',
    '{"type": "function", "name": "get_weather", "parameters": {"city": "Paris"}}',
    '{"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Paris"}}}',
    '{"function": "get_weather", "arguments": {"city": "Paris"}}',
    '{"function": {"name": "get_weather", "parameters": {"city": "Paris"}}}',
    '{"tool": "get_weather", "args": {"city": "Paris"}}',
    '{"tool_call": {"name": "get_weather", "arguments": {"city": "Paris"}}}',
    '{"arguments": {"city": "Paris"}, "name": "get_weather"}',
    '{"get_weather": {"city": "Paris"}}',
    '{"id": "x1", "name": "get_weather", "arguments": "{\\"city\\": \\"Paris\\"}"}',
    f"[{NAMED}]",
    f"\n  {NAMED}\n",
    f"```json\n{NAMED}\n```",
    f"```\n{NAMED}```",
    f"```tool_call\n[{NAMED}]\n```\n",
]

TEXTS = [
    '{"name": "nobody", "arguments": {"city": "Paris"}}',
    '{"name": "get_weather", "arguments": {"city": 1}}',
    '{"name": "get_weather", "arguments": {"town": "Paris"}}',
    '{"name": "get_weather", "arguments": {"city": "Paris", "unit": "K"}}',
    '{"name": "get_weather", "arguments": {}}',
    '{"name": "get_weather", "description": "Tells the weather", "parameters": {"type": "object"}}',
    '{"name": "get_weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}}',
    '{"name": "get_weather", "arguments": {"city": "Paris"}',
    '{"city": "Paris"}',
    '{"amount": 12, "lines": [1, 2, 3]}',
    "{}",
    "[]",
    "[1, 2, 3]",
    "[link](http://example.org)",
    "```python\nprint(1)\n```\n",
    "```json\n{}\n```",
    "``` is a fence",
    f"```a very long name of no language\n{NAMED}\n```",
    "{{ mustache }}",
    f"{{{NAMED}: 1}}",
    f"Like this: {NAMED}",
]


@pytest.mark.parametrize("form", TAGGED)
@pytest.mark.parametrize("output", CALLS)
def test_a_bare_call_is_a_call(form: str, output: str) -> None:
    read = whole(lambda: get_format(form).parser((WEATHER, NOW)), output)
    assert read.short() == ("", "", [("get_weather", PARIS)])
    assert read.calls[0].ended


@pytest.mark.parametrize("form", ["hermes", "mistral_nemo", "qwen3_coder"])
@pytest.mark.parametrize("output", TEXTS)
def test_all_else_is_text(form: str, output: str) -> None:
    assert whole(lambda: get_format(form).parser((WEATHER, NOW)), output).short() == (output, "", [])


@pytest.mark.parametrize("between", ["\n", "", "; ", ", ", " ;\n"])
def test_several_bare_calls(between: str) -> None:
    read = whole(lambda: get_format("hermes").parser((WEATHER, NOW)), NAMED + between + NAMED + "\nDone; yes.")
    assert read.short() == ("\nDone; yes.", "", [("get_weather", PARIS)] * 2)


@pytest.mark.parametrize("rest", ["; but", ", but", ";", "\n\nThat was it.", " {x}", "\n```json\n{}\n```"])
def test_text_behind_a_bare_call_is_kept(rest: str) -> None:
    read = whole(lambda: get_format("hermes").parser((WEATHER,)), NAMED + rest)
    assert read.short() == (rest, "", [("get_weather", PARIS)])


def test_a_call_in_text_that_began_like_bare_json() -> None:
    output = f'{{"a": 1}} <tool_call>{NAMED}</tool_call>'
    assert whole(lambda: get_format("hermes").parser((WEATHER,)), output).short() == (
        '{"a": 1} ', "", [("get_weather", PARIS)])  # fmt: skip


BITS = st.sampled_from(
    [NAMED, "<tool_call>", "</tool_call>", "\n", " ", "{", "}", "[", "]", "```", "json", '"name"', ":", '"now"', ",",
     '"arguments"', "text", "<", "[TOOL_CALLS]", "[ARGS]", "get_weather", "<function=get_weather>", "<parameter=city>",
     "</parameter>", "</function>", "\\", '"', "<|python_tag|>", "1", "<seed:tool_call>", "é😀"]
)  # fmt: skip


@pytest.mark.parametrize("form", names())
@settings(max_examples=150, deadline=None)
@given(bits=st.lists(BITS, max_size=25), cuts=st.sets(st.integers(1, 400)))
def test_any_output_reads_the_same_in_any_pieces(form: str, bits: list[str], cuts: set[int]) -> None:
    output = "".join(bits)
    read = whole(lambda: get_format(form).parser((WEATHER, NOW)), output, cuts)
    if not read.calls and not get_format(form).reads_reasoning:
        assert read.text == output


FITS: list[tuple[Any, Any, bool]] = [
    (1, {"type": "integer"}, True),
    (1.0, {"type": "integer"}, True),
    (1.5, {"type": "integer"}, False),
    (True, {"type": "integer"}, False),
    (True, {"enum": [1]}, False),
    (1, {"const": 1}, True),
    (None, {"type": ["string", "null"]}, True),
    ("x", {"anyOf": [{"type": "integer"}, {"const": "x"}]}, True),
    ("y", {"oneOf": [{"type": "integer"}, {"const": "x"}]}, False),
    ("y", {"allOf": [{"type": "string"}, {"enum": ["x"]}]}, False),
    ([1, "x"], {"type": "array", "items": {"type": "integer"}}, False),
    ({"a": {"b": 1}}, {"properties": {"a": {"required": ["c"]}}}, False),
    ({"a": 1}, {"properties": {}, "additionalProperties": False}, False),
    ({"a": 1}, {"additionalProperties": {"type": "string"}}, False),
    ({"a": 1}, {"$ref": "#/$defs/x", "$defs": {"x": {"required": ["b"]}}}, False),
    ({"a": {}}, {"$ref": "#"}, True),
    ("x", True, True),
    ("x", False, False),
    ("x", {"type": "unheard-of"}, True),
    ("x", {"type": 3, "required": 1, "properties": [], "enum": "x", "anyOf": 1}, True),
]


@pytest.mark.parametrize(("value", "schema", "expected"), FITS)
def test_fits(value: Any, schema: Any, expected: bool) -> None:
    assert fits(value, schema) is expected


def test_a_schema_that_refers_to_itself_comes_to_an_end() -> None:
    loop = {"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/a"}}}
    assert fits({}, loop)
    assert not fits_tool([], Tool("t", loop))
    deep: Any = 1
    for _ in range(100):
        deep = [deep]
    assert fits(deep, {"items": {"$ref": "#"}})
    assert json_types({"anyOf": [{"$ref": "#"}]}, {"anyOf": [{"$ref": "#"}]})


@pytest.mark.parametrize(
    ("text", "types", "expected"),
    [
        ("1", {"integer"}, "1"),
        (" 1 ", {"number"}, "1"),
        ("1", {"string"}, '"1"'),
        ("1", {"string", "integer"}, "1"),
        ("null", {"string", "null"}, "null"),
        ('"x"', {"string", "null"}, '"\\"x\\""'),
        ("True", {"boolean"}, "true"),
        ("{'a': None}", {"object"}, '{"a": null}'),
        ("{not", {"object"}, '"{not"'),
        ("NaN", {"number"}, '"NaN"'),
        ("2 dollars", {"number"}, '"2 dollars"'),
    ],
)
def test_plain_values_become_json(text: str, types: set[str], expected: str) -> None:
    assert as_json(text, frozenset(types)) == expected
