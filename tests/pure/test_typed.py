"""Types to schemas and back; modules like this one, with annotations that are text, are the hard case."""
# ruff: noqa: UP007, UP045  # old spellings are tested too

from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import json
import os
import pathlib
import sys
import time
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Generic, Literal, NamedTuple, NewType, Optional, TypeVar, Union

import jsonschema
import pydantic
import pytest
import typing_extensions
from llguidance import LLMatcher
from typing_extensions import NotRequired, Required, TypeAliasType, TypedDict

from llama_bind.errors import InputError
from llama_bind.structured.typed import schema_of, shape_of
from llama_bind.structured.typed_values import MAX_DEPTH, parse_json, read_value

T = TypeVar("T")
UserId = NewType("UserId", int)
Json = TypeAliasType("Json", "dict[str, Json] | list[Json] | str | int | None")


class Color(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Thing(enum.Enum):
    A = (1, 2)
    B = object()


@dataclasses.dataclass
class Node:
    """A node of a tree.

    Args:
        name: Its name.
    """

    name: str
    kids: list[Node] = dataclasses.field(default_factory=list)
    color: Color = Color.RED


@dataclasses.dataclass
class Checked:
    low: int
    high: int = dataclasses.field(default=10, metadata={"description": "Not below low."})
    sum: int = dataclasses.field(init=False)
    scale: int = 1

    def __post_init__(self) -> None:
        if self.low > self.high:
            raise ValueError("low is above high")
        self.sum = (self.low + self.high) * self.scale


@dataclasses.dataclass
class OnlyForInit:
    low: int = dataclasses.field(init=False)
    start: dataclasses.InitVar[int] = 1

    def __post_init__(self, start: int) -> None:
        self.low = start


class Point(NamedTuple):
    x: float
    y: float = 0.5


class Movie(TypedDict):
    """A film."""

    title: Required[str]
    year: NotRequired[Annotated[int, "Of the release."]]


class Loose(TypedDict, total=False):
    a: int
    b: Required[int]


@dataclasses.dataclass
class Box(Generic[T]):
    item: T
    more: dict[str, list[T]]


class Model(pydantic.BaseModel):
    count: int = pydantic.Field(ge=0, description="How many.")
    when: datetime.datetime
    inner: Model | None = None


class Item(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    title: str = "x"


class Holder(pydantic.BaseModel):
    item: Item
    items: list[Item] = []


def schema(kind: Any) -> dict[str, Any]:
    made = schema_of(kind)
    jsonschema.Draft202012Validator.check_schema(made)
    return made


def read(value: Any, kind: Any) -> Any:
    """The value, which must have no problems."""
    found, problems = read_value(value, shape_of(kind))
    assert problems == []
    return found


def problems(value: Any, kind: Any) -> list[str]:
    found, wrong = read_value(value, shape_of(kind))
    assert found is None
    assert wrong
    return wrong


STR, INT, NULL = {"type": "string"}, {"type": "integer"}, {"type": "null"}
POINT = {
    "type": "object",
    "properties": {"x": {"type": "number"}, "y": {"type": "number", "default": 0.5}},
    "required": ["x"],
    "additionalProperties": False,
}
SCHEMAS: list[tuple[Any, Any]] = [
    (str, STR),
    (int, INT),
    (float, {"type": "number"}),
    (bool, {"type": "boolean"}),
    (None, NULL),
    (Any, {}),
    (object, {}),
    (Optional[int], {"anyOf": [INT, NULL]}),
    (Union[int, str], {"anyOf": [INT, STR]}),
    (int | None, {"anyOf": [INT, NULL]}),
    (Union[UserId, int], INT),
    (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}),
    (Literal["a", 1, None], {"enum": ["a", 1, None]}),
    (Literal[Color.RED], {"type": "string", "enum": ["red"]}),
    (Color, {"type": "string", "enum": ["red", "blue"]}),
    (Level, {"type": "integer", "enum": [1, 2]}),
    (Thing, {"type": "string", "enum": ["A", "B"]}),
    (list, {"type": "array"}),
    (list[int], {"type": "array", "items": INT}),
    (Sequence[int], {"type": "array", "items": INT}),
    (typing.List[int], {"type": "array", "items": INT}),  # noqa: UP006
    (set[str], {"type": "array", "items": STR}),
    (frozenset[str], {"type": "array", "items": STR}),
    (tuple, {"type": "array"}),
    (tuple[int, ...], {"type": "array", "items": INT}),
    (tuple[()], {"type": "array", "maxItems": 0}),
    (
        tuple[int, str],
        {"type": "array", "prefixItems": [INT, STR], "items": False, "minItems": 2, "maxItems": 2},
    ),
    (dict, {"type": "object", "additionalProperties": {}}),
    (dict[str, int], {"type": "object", "additionalProperties": INT}),
    (Mapping[int, str], {"type": "object", "additionalProperties": STR}),
    (
        dict[Color, int],
        {"type": "object", "properties": {"red": INT, "blue": INT}, "additionalProperties": False},
    ),
    (datetime.datetime, {"type": "string", "format": "date-time"}),
    (datetime.date, {"type": "string", "format": "date"}),
    (datetime.time, {"type": "string", "format": "time"}),
    (uuid.UUID, {"type": "string", "format": "uuid"}),
    (pathlib.Path, {"type": "string", "format": "path"}),
    (os.PathLike[str], {"type": "string", "format": "path"}),
    (decimal.Decimal, {"type": "number"}),
    (Annotated[int, "Words."], {"type": "integer", "description": "Words."}),
    (Annotated[int, typing_extensions.Doc("Words.")], {"type": "integer", "description": "Words."}),
    (Annotated[int, pydantic.Field(ge=3, description="Words.")], {**INT, "minimum": 3, "description": "Words."}),
    (UserId, INT),
    (T, {}),
    (Point, POINT),
    (
        Movie,
        {
            "type": "object",
            "description": "A film.",
            "properties": {"title": STR, "year": {"type": "integer", "description": "Of the release."}},
            "required": ["title"],
            "additionalProperties": False,
        },
    ),
    (Loose, {"type": "object", "properties": {"a": INT, "b": INT}, "required": ["b"], "additionalProperties": False}),
    (
        Checked,
        {
            "type": "object",
            "properties": {
                "low": INT,
                "high": {"type": "integer", "description": "Not below low.", "default": 10},
                "scale": {"type": "integer", "default": 1},
            },
            "required": ["low"],
            "additionalProperties": False,
        },
    ),
    (
        Box[int],
        {
            "type": "object",
            "properties": {
                "item": INT,
                "more": {"type": "object", "additionalProperties": {"type": "array", "items": INT}},
            },
            "required": ["item", "more"],
            "additionalProperties": False,
        },
    ),
]


@pytest.mark.parametrize(("kind", "wanted"), SCHEMAS, ids=[str(kind) for kind, _ in SCHEMAS])
def test_schema_of_a_type(kind: Any, wanted: dict[str, Any]) -> None:
    assert schema(kind) == wanted


@pytest.mark.parametrize(
    "kind",
    [*(kind for kind, made in SCHEMAS if made.get("format") != "path"), Node, Model, Json, Box[Node], list[Model]],
    ids=str,
)
def test_llguidance_takes_the_schemas(kind: Any) -> None:
    """What cannot be enforced in a tool's arguments would be no use."""
    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema(kind)))
    assert LLMatcher.validate_grammar(grammar) == ""


def test_recursive_types_refer_to_themselves() -> None:
    made = schema(Node)
    assert made["$ref"] == "#/$defs/Node"
    assert made["$defs"]["Node"]["properties"]["kids"] == {"type": "array", "items": {"$ref": "#/$defs/Node"}}
    assert made["$defs"]["Node"]["properties"]["name"] == {"type": "string", "description": "Its name."}
    assert made["$defs"]["Node"]["properties"]["color"]["default"] == "red"
    assert made["$defs"]["Node"]["description"] == "A node of a tree."
    tree = read({"name": "a", "kids": [{"name": "b", "color": "blue"}]}, Node)
    assert tree == Node("a", [Node("b", color=Color.BLUE)])
    assert schema(Json)["$ref"] == "#/$defs/Json"
    assert read({"a": [1, {"b": None}]}, Json) == {"a": [1, {"b": None}]}


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 cannot evaluate InitVar in a text")
def test_what_only_the_constructor_takes() -> None:
    assert schema(OnlyForInit)["properties"] == {"start": {"type": "integer", "default": 1}}
    assert read({"start": 5}, OnlyForInit).low == 5


def test_a_definition_used_once_stands_where_it_is_used() -> None:
    assert "$defs" not in schema(list[Point])
    twice = schema(tuple[Point, Point])
    assert twice["prefixItems"] == [{"$ref": "#/$defs/Point"}] * 2
    assert twice["$defs"] == {"Point": POINT}


def test_types_of_the_same_name_are_kept_apart() -> None:
    @dataclasses.dataclass
    class Item:
        a: int

    for kind, place in ((tuple[Item, Item, Holder], 0), (tuple[Holder, Item, Item], 1)):
        made = schema(kind)
        assert len(made["$defs"]) == 2
        value: list[Any] = [{"a": 1}, {"a": 2}]
        value.insert(2 - 2 * place, {"item": {"title": "t"}})
        read(value, kind)
        jsonschema.validate(value, made)
        value[place] = {"title": "t"}
        problems(value, kind)
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(value, made)


def test_pydantic_models_are_closed_unless_they_say_otherwise() -> None:
    made = schema(Model)
    assert made["$defs"]["Model"]["additionalProperties"] is False
    assert made["$defs"]["Model"]["properties"]["count"] == {
        "type": "integer",
        "minimum": 0,
        "description": "How many.",
    }
    assert schema(Item)["additionalProperties"] is True
    found = read({"count": 1, "when": "2020-01-01T00:00:00Z", "inner": None}, Model)
    assert found == Model(count=1, when=datetime.datetime(2020, 1, 1, tzinfo=datetime.timezone.utc))
    wrong = problems({"count": -1, "inner": {"count": "x"}}, Model)
    assert len(wrong) == 4
    assert wrong[0] == "count is not accepted: Input should be greater than or equal to 0"
    assert any(text.startswith("inner.count is not accepted") for text in wrong)


VALUES: list[tuple[Any, Any, Any]] = [
    (5, int, 5),
    (5.0, int, 5),
    ("5", int, 5),
    (" 5 ", int, 5),
    (10**400, int, 10**400),
    (5, float, 5.0),
    ("1e3", float, 1000.0),
    ("True", bool, True),
    ("5", str, "5"),
    ("5", int | str, "5"),
    ("5", Optional[int], 5),
    ("5", Union[None, int, float], 5),
    (1, bool | int, 1),
    (True, int | bool, True),
    ("red", Color, Color.RED),
    ("RED", Color, Color.RED),
    (2, Level, Level.HIGH),
    ("2", Level, Level.HIGH),
    (2.0, Level, Level.HIGH),
    ("LOW", Level, Level.LOW),
    ("A", Thing, Thing.A),
    (None, Literal["a", None], None),
    ("1", Literal[1, "1"], "1"),
    ([1, 2, 1], set[int], {1, 2}),
    ([1], frozenset[int], frozenset({1})),
    ([1, "a"], tuple[int, str], (1, "a")),
    ([], tuple[()], ()),
    ([1, 2], tuple[int, ...], (1, 2)),
    ("[1, 2]", list[int], [1, 2]),
    ("[1, 2]", str | list[int], "[1, 2]"),
    ('{"x": 1}', Point, Point(1.0)),
    ({"1": "a"}, dict[int, str], {1: "a"}),
    ({"red": 1}, dict[Color, int], {Color.RED: 1}),
    ("2020-02-03T04:05:06Z", datetime.datetime, datetime.datetime(2020, 2, 3, 4, 5, 6, 0, datetime.timezone.utc)),
    ("2020-02-03 04:05:06.1", datetime.datetime, datetime.datetime(2020, 2, 3, 4, 5, 6, 100_000)),
    ("2020-02-03T04:05:06.123456789Z", datetime.datetime,
     datetime.datetime(2020, 2, 3, 4, 5, 6, 123_456, datetime.timezone.utc)),
    ("2020-02-03", datetime.date, datetime.date(2020, 2, 3)),
    ("04:05:06", datetime.time, datetime.time(4, 5, 6)),
    ("12345678-1234-5678-1234-567812345678", uuid.UUID, uuid.UUID("12345678123456781234567812345678")),
    ("a/b", pathlib.Path, pathlib.Path("a/b")),
    ("a/b", os.PathLike[str], pathlib.Path("a/b")),
    (0.1, decimal.Decimal, decimal.Decimal("0.1")),
    ("0.10", decimal.Decimal, decimal.Decimal("0.10")),
    ({"x": 1, "y": 2}, Point, Point(1.0, 2.0)),
    ({"title": "t"}, Movie, {"title": "t"}),
    ({"low": 1, "scale": 2}, Checked, Checked(1, scale=2)),
    ({"item": "3", "more": {"k": [1]}}, Box[int], Box(3, {"k": [1]})),
    ({"a": {"b": [1]}}, Any, {"a": {"b": [1]}}),
    (3, Annotated[int, pydantic.Field(ge=3)], 3),
    (7, UserId, 7),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "wanted"), VALUES, ids=[f"{v!r:.30} {k}" for v, k, _ in VALUES])
def test_values(value: Any, kind: Any, wanted: Any) -> None:
    found = read(value, kind)
    assert found == wanted
    assert type(found) is type(wanted)


WRONG: list[tuple[Any, Any, list[str]]] = [
    ("x", int, ['the value must be a whole number, not "x"']),
    (5.5, int, ["the value must be a whole number, not 5.5"]),
    (True, int, ["the value must be a whole number, not true"]),
    (5, str, ["the value must be a string, not 5"]),
    (1, bool, ["the value must be true or false, not 1"]),
    ("null", None, ['the value must be null, not "null"']),
    ("green", Color, ['the value must be one of "red", "blue", not "green"']),
    (True, Literal[1, 2], ["the value must be one of 1, 2, not true"]),
    ([1, "x", [2]], list[int], ['[1] must be a whole number, not "x"', "[2] must be a whole number, not [2]"]),
    ([1], tuple[int, str], ["the value must be a list of 2 items, not [1]"]),
    ("x", list[int], ['the value must be a list, not "x"']),
    ({"a": "x"}, dict[str, int], ['a must be a whole number, not "x"']),
    ({"a": 1}, dict[int, int], ['a must be a whole number, not "a"']),
    ([1], Optional[int], ["the value must be a whole number or null, not [1]"]),
    ({"x": "a"}, Optional[Point], ['x must be a number, not "a"']),
    ({"name": 1, "kids": [{"nme": "b"}]}, Node,
     ["name must be a string, not 1", "kids[0].nme is not known; did you mean 'name'?", "kids[0].name is missing"]),
    ({"low": 11}, Checked, ["the value is not accepted: ValueError: low is above high"]),
    ({"zzz": 1, "low": 1}, Checked, ["zzz is not known; known are low, high, scale"]),
    ([[1]], set[Any], ["the value is not accepted: TypeError: unhashable type: 'list'"]),
    ("today", datetime.date, ["the value must be a string of the format date: Invalid isoformat string: 'today'"]),
    (5, uuid.UUID, ["the value must be a string of the format uuid, not 5"]),
    ("x" * 200, int, ['the value must be a whole number, not "' + "x" * 76 + "..."]),
    ("x", decimal.Decimal, ['the value must be a number, not "x"']),
]  # fmt: skip


@pytest.mark.parametrize(("value", "kind", "wanted"), WRONG, ids=[f"{v!r:.30} {k}" for v, k, _ in WRONG])
def test_problems_are_told_with_their_place(value: Any, kind: Any, wanted: list[str]) -> None:
    assert problems(value, kind) == wanted


class Unknown:
    pass


class Undefined(TypedDict):
    a: Nothing  # type: ignore[name-defined]  # noqa: F821


@pytest.mark.parametrize(
    "kind",
    [Unknown, Callable[[], int], bytes, complex, "int", collections.deque[int], Literal[b"a"], dict[Point, int],
     list[Unknown], Undefined, type, 5, Annotated[Unknown, pydantic.Field(ge=1)], Ellipsis],
    ids=str,
)  # fmt: skip
def test_types_without_json_are_refused_with_their_place(kind: Any) -> None:
    with pytest.raises(InputError, match=r"here|Undefined"):
        schema_of(kind, "here")


def test_pydantic_is_not_needed(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Annotated[int, pydantic.Field(ge=1)]
    monkeypatch.setitem(sys.modules, "pydantic", None)
    assert schema_of(Node)["$ref"]
    with pytest.raises(InputError, match="pip install pydantic"):
        schema_of(noted)


def test_deep_values_end_with_a_problem() -> None:
    value: Any = {"name": "a"}
    for _ in range(5000):
        value = {"name": "a", "kids": [value]}
    assert any("nested too deeply" in text for text in problems(value, Node))
    nested: Any = 1
    for _ in range(MAX_DEPTH + 1):
        nested = [nested]
    assert "nested too deeply" in problems(nested, Json)[0]


@dataclasses.dataclass
class Plus:
    left: Plus | Minus | Times | int
    right: Plus | Minus | Times | int


@dataclasses.dataclass
class Minus:
    left: Plus | Minus | Times | int
    right: Plus | Minus | Times | int


@dataclasses.dataclass
class Times:
    left: Plus | Minus | Times | int
    right: Plus | Minus | Times | int


def test_unions_in_unions_do_not_explode() -> None:
    value: Any = "x"
    for _ in range(40):
        value = {"left": 1, "right": value}
    began = time.thread_time()
    assert problems(value, Plus)
    assert time.thread_time() - began < 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[" * 100_000, "nested too deeply|not valid JSON"),
        ("NaN", "NaN"),
        ("1" * 5000, "digits"),
    ],
)
def test_text_that_is_no_json(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_json(text)
