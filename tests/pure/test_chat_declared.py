from __future__ import annotations

import json
from typing import Any

import pytest

from llama_bind.chat import declared as module
from llama_bind.chat.declared import read_tools
from llama_bind.chat.tools.base import Tool
from llama_bind.errors import InputError, TextEncodingError

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: Any = "weather", **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": SCHEMA, **more}}


TWO = [tool("weather"), tool("time")]
ALLOWED = {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": [tool("time")]}}


def test_what_a_template_is_shown_is_complete_and_a_copy() -> None:
    given = {"type": "function", "function": {"strict": True, "name": "f", "extra": (1,)}}
    read = read_tools([given])
    assert read.definitions == (
        {
            "type": "function",
            "function": {
                "name": "f",
                "description": "",
                "parameters": {"type": "object", "properties": {}},
                "extra": [1],
            },
        },
    )
    assert list(read.definitions[0]["function"]) == ["name", "description", "parameters", "extra"]
    assert read.tools == (Tool("f", {"type": "object", "properties": {}}, "", True),)
    nested = tool()
    read = read_tools([nested])
    assert read.definitions[0]["function"]["parameters"] == SCHEMA
    assert read.definitions[0]["function"]["parameters"] is not SCHEMA
    assert read.mode == "auto"
    assert read.parallel is None


@pytest.mark.parametrize("tools", [None, [], ()])
@pytest.mark.parametrize("choice", [None, "auto", "none"])
def test_no_tools(tools: Any, choice: Any) -> None:
    read = read_tools(tools, choice, True)
    assert (read.definitions, read.tools, read.mode) == ((), (), "none")


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ("x", "must be a list"),
        ({"type": "function"}, "must be a list"),
        (["x"], "tools[0] must be a dict"),
        ([tool(), {"type": "web_search"}], "tools[1] is of type 'web_search'"),
        ([{"type": "function", "function": 5}], "tools[0].function must be a dict"),
        ([{"type": "function", "function": {"description": "x"}}], "tools[0] has no name"),
        ([{"type": "function", "function": {"name": ""}}], "tools[0] has no name"),
        ([tool(5)], "no name"),
        ([tool(), tool("x"), tool()], "two tools have the name 'weather'"),
        ([tool('we"ather')], "1 to 128 of the characters"),
        ([tool("we'ather")], "1 to 128"),
        ([tool("a b")], "1 to 128"),
        ([tool("a/b")], "1 to 128"),
        ([tool("a<b>")], "1 to 128"),
        ([tool("é")], "1 to 128"),
        ([tool("a\n")], "1 to 128"),
        ([tool(".a")], "must not begin"),
        ([tool("x" * 129)], "1 to 128"),
        ([tool(description=5)], "description must be a str, not int"),
        ([tool(strict="yes")], "strict must be True or False"),
        ([tool(parameters=[])], "parameters must be a JSON schema as a dict, not list"),
        ([tool(parameters="x")], "not str"),
        ([tool(parameters={"type": "array"})], "schema of an object, not of 'array'"),
        ([tool(parameters={"type": "object", "properties": []})], "properties must be a dict"),
        ([tool(parameters={"type": "object", "x": {1, 2}})], "tools[0] is not JSON"),
        ([tool(parameters={"type": "object", "x": float("nan")})], "tools[0] is not JSON"),
        ([tool(f"f{i}") for i in range(module.MAX_TOOLS + 1)], "1025 tools are more than 1024"),
    ],
)
def test_bad_tools(tools: Any, words: str) -> None:
    with pytest.raises(InputError) as info:
        read_tools(tools)
    assert words in str(info.value)
    assert info.value.param == "tools"


def test_tools_that_are_no_finite_text(monkeypatch: pytest.MonkeyPatch) -> None:
    cycle: dict[str, Any] = {"type": "object"}
    cycle["properties"] = cycle
    with pytest.raises(InputError, match="is not JSON"):
        read_tools([tool(parameters=cycle)])
    with pytest.raises(TextEncodingError, match="lone surrogate"):
        read_tools([tool(description="\ud800")])
    monkeypatch.setattr(module, "MAX_CHARS", 300)
    with pytest.raises(InputError, match="more than 300 characters"):
        read_tools(TWO)


@pytest.mark.parametrize(
    "name", ["get_weather", "Calendar.create_event", "mcp__srv__get-it", "ns:f", "0", "-", "x" * 128]
)
def test_names(name: str) -> None:
    assert read_tools([tool(name)]).tools[0].name == name


@pytest.mark.parametrize(
    "schema", [None, {}, {"properties": {}}, {"$ref": "#/$defs/a"}, {"anyOf": [{"type": "object"}]}]
)
def test_schemas_that_say_little(schema: Any) -> None:
    shown = read_tools([tool(parameters=schema)]).definitions[0]["function"]["parameters"]
    assert shown.get("type", "object") == "object"
    assert json.dumps(shown)


@pytest.mark.parametrize(
    ("choice", "mode", "names", "named"),
    [
        (None, "auto", ["weather", "time"], ""),
        ("auto", "auto", ["weather", "time"], ""),
        ("none", "none", ["weather", "time"], ""),
        ("required", "required", ["weather", "time"], ""),
        ({"type": "function", "function": {"name": "time"}}, "required", ["time"], "time"),
        ({"type": "function", "name": "time"}, "required", ["time"], "time"),
        (ALLOWED, "required", ["time"], ""),
        ({"type": "allowed_tools", "mode": "auto", "tools": [tool("time")]}, "auto", ["time"], ""),
    ],
)
def test_choices(choice: Any, mode: str, names: list[str], named: str) -> None:
    read = read_tools(TWO, choice)
    assert (read.mode, [one.name for one in read.tools], read.named) == (mode, names, named)
    assert len(read.definitions) == 2


@pytest.mark.parametrize(
    ("tools", "choice", "words"),
    [
        ([], "required", "no tools are given"),
        (None, {"type": "function", "function": {"name": "f"}}, "no tools are given"),
        (TWO, {"type": "function", "function": {"name": "f"}}, "'f', which is not among: time, weather"),
        (TWO, {"type": "allowed_tools", "allowed_tools": {"tools": [tool("f")]}}, "'f', which is not among"),
        (TWO, {"type": "allowed_tools", "allowed_tools": {"tools": []}}, "at least one"),
        (TWO, {"type": "allowed_tools", "allowed_tools": {"mode": "x", "tools": TWO}}, "'auto' or 'required'"),
        (TWO, {"type": "allowed_tools", "allowed_tools": 5}, "at least one"),
        (TWO, {"type": "function"}, "must name a function"),
        (TWO, {"type": "function", "function": {"name": 5}}, "must name a function"),
        (TWO, {"type": "mcp"}, "has the type 'mcp'"),
        (TWO, "always", "must be 'none', 'auto', 'required'"),
        (TWO, 5, "must be 'none', 'auto', 'required'"),
    ],
)
def test_bad_choices(tools: Any, choice: Any, words: str) -> None:
    with pytest.raises(InputError) as info:
        read_tools(tools, choice)
    assert words in str(info.value)
    assert info.value.param == "tool_choice"


def test_parallel_calls() -> None:
    assert read_tools(TWO, None, False).parallel is False
    assert read_tools(TWO, {"type": "function", "function": {"name": "time"}}).parallel is False
    assert read_tools(TWO, {"type": "function", "function": {"name": "time"}}, True).parallel is True


def test_the_older_form() -> None:
    functions: list[dict[str, Any]] = [{"name": "weather", "parameters": SCHEMA}, {"name": "time"}]
    read = read_tools(functions=functions)
    assert (read.mode, read.legacy, read.parallel) == ("auto", True, False)
    assert read.definitions[0]["function"]["parameters"] == SCHEMA
    read = read_tools(functions=functions, function_call={"name": "time"})
    assert (read.mode, read.named) == ("required", "time")
    assert read_tools(functions=functions, function_call="none").mode == "none"
    with pytest.raises(InputError, match="not both") as info:
        read_tools(TWO, functions=functions)
    assert info.value.param == "functions"
    with pytest.raises(InputError, match="not both"):
        read_tools(TWO, function_call="auto")
    with pytest.raises(InputError, match="not among") as info:
        read_tools(functions=functions, function_call={"name": "f"})
    assert info.value.param == "function_call"
    with pytest.raises(InputError, match=r"functions\[0\] has no name"):
        read_tools(functions=[{}])
