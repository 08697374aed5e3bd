"""`response_format` and `json_schema`: shapes, types, and what becomes of a text."""

from __future__ import annotations

import builtins
import dataclasses
import pickle
from typing import Any, List, Literal, TypedDict  # noqa: UP035 - as a caller on Python 3.10 writes it

import pydantic
import pytest

from llama_bind import LlamaGrammar
from llama_bind.errors import GrammarError, InputError, SchemaError, UnsupportedError
from llama_bind.structured.grammar import checked
from llama_bind.structured.response_format import ParsedResult, parse_result, read_form
from llama_bind.structured.schema_check import checker
from llama_bind.structured.schema_inline import inline_schemas

SCHEMA = {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}
UNIQUE = {"type": "array", "items": {"type": "string"}, "uniqueItems": True}


class Place(pydantic.BaseModel):
    name: str
    size: Literal["small", "large"]


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Address(TypedDict):
    street: str


def test_any_text() -> None:
    assert read_form() is None
    assert read_form({"type": "text"}) is None


@pytest.mark.parametrize(
    "given",
    [
        {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA, "strict": True}},
        {"type": "json_schema", "schema": SCHEMA},
        {"type": "json_object", "schema": SCHEMA},
    ],
)
def test_schemas_in_all_shapes(given: Any) -> None:
    form, short = read_form(given), read_form(json_schema=SCHEMA)
    assert form is not None
    assert short is not None
    assert form.spec.lark == short.spec.lark
    assert form.parse is None
    assert form.spec.kind == given["type"]


def test_any_object() -> None:
    form = read_form({"type": "json_object"})
    assert form is not None
    assert form.spec.kind == "json_object"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"type": "xml"}, "there are text, json_object, json_schema"),
        ({"type": "object", "properties": {}}, "goes into json_schema="),
        ({}, "None"),
        ({"type": "json_schema"}, "needs"),
        ({"type": "json_schema", "json_schema": {"name": "x"}}, "needs"),
        ({"type": "json_schema", "json_schema": {"schema": {}, "strict": 1}}, "strict is true or false"),
        (object(), "response_format"),
    ],
)
def test_what_is_no_form(given: Any, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        read_form(given)
    assert caught.value.param == "response_format"


def test_two_forms() -> None:
    with pytest.raises(InputError) as caught:
        read_form({"type": "json_object"}, SCHEMA)
    assert caught.value.param == "json_schema"


def test_a_schema_that_cannot_be_enforced() -> None:
    with pytest.raises(SchemaError) as caught:
        read_form(json_schema=UNIQUE)
    assert (caught.value.keyword, caught.value.param) == ("uniqueItems", "json_schema")
    shaped = {"type": "json_schema", "json_schema": {"schema": UNIQUE, "strict": False}}
    for form in (read_form(json_schema=UNIQUE, strict=False), read_form(shaped)):
        assert form is not None
        assert form.parse is not None
        assert form.parse('["a", "b"]', "stop") == {}
        (problem,) = form.parse('["a", "a"]', "stop")["parse_errors"]
        assert "non-unique" in problem
        (problem,) = form.parse('["a", "a', "length")["parse_errors"]
        assert "cut off" in problem


def test_a_check_needs_jsonschema(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any) -> Any:
        if name.startswith("jsonschema"):
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(UnsupportedError, match=r"llama-bind\[schema\]"):
        read_form(json_schema=UNIQUE, strict=False)
    assert read_form(json_schema=SCHEMA, strict=False) is not None


def test_checks_say_where() -> None:
    check = checker({"properties": {"a": {"items": {"type": "integer"}}}, "multipleOf": 0.5})
    assert check('{"a": [1, "x"]}') == ["$.a[1]: 'x' is not of type 'integer'"]
    assert check("2.5") == []
    assert "not valid JSON" in check("{")[0]


@pytest.mark.parametrize(
    ("target", "text", "value"),
    [
        (Place, '{"name": "a", "size": "large"}', Place(name="a", size="large")),
        (Point, '{"x": 3}', Point(3)),
        (Address, '{"street": "s"}', {"street": "s"}),
        (List[int], "[1, 2]", [1, 2]),  # noqa: UP006
        (pydantic.TypeAdapter(List[Place]), '[{"name": "a", "size": "small"}]', [Place(name="a", size="small")]),  # noqa: UP006
    ],
    ids=["model", "dataclass", "TypedDict", "list", "TypeAdapter"],
)
@pytest.mark.parametrize("name", ["response_format", "json_schema"])
def test_types(target: Any, text: str, value: Any, name: str) -> None:
    form = read_form(**{name: target})
    assert form is not None
    assert form.parse is not None
    assert form.parse(text, "stop") == {"parsed": value}
    cut = form.parse(text[:-2], "length")
    assert cut["parsed"] is None
    assert cut["parse_errors"]
    wrong = form.parse("7.5", "stop")
    assert wrong["parsed"] is None
    assert wrong["parse_errors"]


def test_parse_result() -> None:
    assert parse_result('{"x": 1, "y": 2}', Point) == ParsedResult(Point(1, 2))
    assert parse_result('{"y": 2}', Point).errors
    assert parse_result("{", Point).errors


def test_a_grammar_of_a_schema() -> None:
    grammar = LlamaGrammar.from_json_schema(SCHEMA)
    assert grammar.spec is not None
    assert pickle.loads(pickle.dumps(grammar)) == grammar
    assert (
        grammar.spec
        == LlamaGrammar.from_json_schema(
            '{"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}'
        ).spec
    )
    with pytest.raises(GrammarError, match="llguidance"):
        checked(grammar)
    with pytest.raises(SchemaError):
        LlamaGrammar.from_json_schema(UNIQUE)


def test_schemas_in_a_grammar() -> None:
    text = 'start: "%json {}" a b\na: %json {"const": 1}\nb: /%json/ %json\n {"type": "array", "uniqueItems": true}'
    written = inline_schemas(text)
    assert written.startswith('start: "%json {}" a b\na: schema0\nb: /%json/ schema1')
    assert written.count("%json") == 2
    assert inline_schemas("start: /a/") == "start: /a/"
    with pytest.raises(SchemaError) as caught:
        inline_schemas("start: %json false")
    assert caught.value.param == "tools"
