from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Callable
from typing import Annotated, Any, Literal

import pydantic
import pytest
from typing_extensions import TypedDict, Unpack

from llama_bind import FunctionTool
from llama_bind.chat.declared import read_tools
from llama_bind.errors import InputError
from llama_bind.function_schema import function_schema


def weather(city: str, unit: Literal["c", "f"] = "c", *, days: Annotated[int, "How many."] = 3) -> str:
    """Get the weather.

    Args:
        city: Its name.
        days: Not this.
    """
    return f"{city} {unit} {days}"


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Get the weather.",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name."},
                "unit": {"type": "string", "enum": ["c", "f"], "default": "c"},
                "days": {"type": "integer", "description": "Not this.", "default": 3},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


class Options(TypedDict, total=False):
    deep: bool


@dataclasses.dataclass
class Query:
    """What to look for."""

    words: list[str]
    limit: int = 5


class Search:
    """Searches."""

    def __call__(self, query: Query) -> str:
        return query.words[0] * query.limit

    def method(self, query: Query) -> str:
        """By a method.

        :param query: What.
        """
        return self(query)

    @classmethod
    def of_class(cls, query: Query) -> str:
        """By a class method."""
        return cls()(query)

    @staticmethod
    async def of_none(query: Query) -> str:
        """By a static method."""
        return Search()(query)


async def later(x: int) -> int:
    return x


def wrapped(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def inner(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return inner


def properties(function: Any, **options: Any) -> dict[str, Any]:
    made = function_schema(function, **options)
    assert read_tools([made]).tools[0].parameters == made["function"]["parameters"]
    found: dict[str, Any] = made["function"]["parameters"]["properties"]
    return found


def test_a_function_becomes_a_declaration() -> None:
    assert function_schema(weather) == WEATHER
    made = function_schema(weather, name="other", description="Other.", strict=True)["function"]
    assert (made["name"], made["description"], made["strict"]) == ("other", "Other.", True)


def test_arguments_come_back_as_the_function_takes_them() -> None:
    tool = FunctionTool(weather)
    assert tool.read('{"city": "Rome", "days": "2"}') == ({"city": "Rome", "days": 2}, [])
    assert tool.read({"city": "Rome"}) == ({"city": "Rome"}, [])
    values, problems = FunctionTool(Search()).read('{"query": {"words": ["a"]}}')
    assert problems == []
    assert values == {"query": Query(["a"])}


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("", ["city is missing"]),
        ("{", ["the arguments are not valid JSON: Expecting property name enclosed in double quotes at character 1"]),
        ("[]", ["the arguments must be a JSON object"]),
        ('"x"', ["the arguments must be a JSON object"]),
        ('{"city": "x", "unit": "k"}', ['unit must be one of "c", "f", not "k"']),
        ('{"citty": 1}', ["citty is not known; did you mean 'city'?", "city is missing"]),
        ('{"city": 5, "days": null}', ["city must be a string, not 5", "days must be a whole number, not null"]),
    ],
)
def test_problems_of_arguments(text: str, problems: list[str]) -> None:
    assert FunctionTool(weather).read(text) == ({}, problems)


def test_partials_hide_what_they_fix() -> None:
    assert list(properties(functools.partial(weather, unit="f"))) == ["city", "days"]
    assert list(properties(functools.partial(weather, "Rome"))) == ["unit", "days"]
    twice = functools.partial(functools.partial(weather, "Rome"), unit="f")
    made = function_schema(twice)["function"]
    assert (made["name"], made["description"]) == ("weather", "Get the weather.")
    assert list(made["parameters"]["properties"]) == ["days"]
    assert "required" not in made["parameters"]
    assert twice(**FunctionTool(twice).read('{"days": 1}')[0]) == "Rome f 1"


@pytest.mark.parametrize(
    ("function", "name", "description", "is_async"),
    [
        (Search(), "search", "Searches.", False),
        (Search().method, "method", "By a method.", False),
        (Search.of_class, "of_class", "By a class method.", False),
        (Search.of_none, "of_none", "By a static method.", True),
        (later, "later", "", True),
        (functools.partial(later), "later", "", True),
        (wrapped(weather), "weather", "Get the weather.", False),
        (Query, "Query", "What to look for.", False),
    ],
)
def test_callables_of_all_kinds(function: Any, name: str, description: str, is_async: bool) -> None:
    tool = FunctionTool(function)
    declared = tool.declaration()["function"]
    assert (declared["name"], declared.get("description", ""), tool.is_async) == (name, description, is_async)
    assert declared["parameters"]["required"] == [next(iter(properties(function)))]


def test_descriptions_of_methods_and_members() -> None:
    query = properties(Search().method)["query"]
    assert query["description"] == "What."
    assert properties(Search())["query"]["description"] == "What to look for."
    assert query["properties"]["limit"] == {"type": "integer", "default": 5}


def test_further_keywords() -> None:
    def free(a: int, **rest: Any) -> None: ...
    def numbers(a: int, **rest: int) -> None: ...
    def bare(a, **rest): ...  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN003, ANN202
    def known(a: int, **rest: Unpack[Options]) -> None: ...

    made = [function_schema(f)["function"]["parameters"] for f in (free, numbers, bare, known)]
    assert [one["additionalProperties"] for one in made] == [True, {"type": "integer"}, True, False]
    assert made[2]["properties"] == {"a": {}}
    assert made[3]["properties"] == {"a": {"type": "integer"}, "deep": {"type": "boolean"}}
    assert made[3]["required"] == ["a"]
    assert FunctionTool(numbers).read('{"a": 1, "b": "x"}')[1] == ['b must be a whole number, not "x"']
    assert FunctionTool(known).read('{"a": 1, "deep": true}') == ({"a": 1, "deep": True}, [])


def test_a_schema_of_ones_own() -> None:
    parameters = {"type": "object", "properties": {"city": {"type": "string", "minLength": 2}}}
    tool = FunctionTool(weather, parameters=parameters)
    assert tool.declaration()["function"]["parameters"] == parameters
    assert tool.read('{"city": 5}') == ({"city": 5}, [])
    assert tool.read('{"town": 5}') == ({}, ["missing a required argument: 'city'"])
    assert FunctionTool(max, parameters={"type": "object"}).read('{"a": 1}') == ({"a": 1}, [])


def star(a: int, *rest: int) -> None: ...
def slash(a: int, /, b: int) -> None: ...
def strange(a: complex) -> None: ...
def undefined(a: Nothing) -> None: ...  # type: ignore[name-defined]  # noqa: F821
def grüße(a: int) -> None: ...


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (star, r"'star' takes \*rest.*rest: list\[str\]"),
        (slash, "'slash' takes positional-only 'a'"),
        (strange, "parameter 'a' of tool 'strange': complex has no form in JSON"),
        (undefined, "'undefined': an annotation cannot be evaluated.*Nothing"),
        (max, "'max': its arguments are not known"),
        (lambda a: a, "'<lambda>' cannot be the name"),
        (grüße, "cannot be the name"),
        ("weather", "a tool is a function, not 'weather'"),
        (None, "a tool is a function, not None"),
    ],
)
def test_what_cannot_be_declared_says_why(function: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        FunctionTool(function)


@pytest.mark.parametrize("name", ["", "a b", 'a"b', "a\n", "x" * 65, "ä", 5])
def test_names_that_models_cannot_write(name: Any) -> None:
    with pytest.raises(InputError, match="cannot be the name"):
        FunctionTool(weather, name=name)


@pytest.mark.parametrize("timeout", [0, -1, "x", float("nan")])
def test_timeouts(timeout: Any) -> None:
    with pytest.raises(InputError, match="timeout"):
        FunctionTool(weather, timeout=timeout)


class Person(pydantic.BaseModel):
    """A person."""

    name: str = pydantic.Field(min_length=2, description="First name.")
    age: Annotated[int, pydantic.Field(ge=0)] = 0


def test_pydantic_models_as_arguments_and_as_tools() -> None:
    def greet(person: Person, times: Annotated[int, pydantic.Field(le=3)] = 1) -> str:
        return person.name * times

    made = properties(greet)
    assert made["person"]["properties"]["name"] == {"type": "string", "minLength": 2, "description": "First name."}
    assert made["times"] == {"type": "integer", "maximum": 3, "default": 1}
    tool = FunctionTool(greet)
    assert tool.read('{"person": {"name": "Al"}}') == ({"person": Person(name="Al")}, [])
    problems = tool.read('{"person": {"name": "A"}, "times": 4}')[1]
    assert problems == [
        "person.name is not accepted: String should have at least 2 characters",
        "times is not accepted: Input should be less than or equal to 3",
    ]
    assert properties(Person)["name"]["type"] == "string"


def test_the_declaration_is_json_and_new_each_time() -> None:
    tool = FunctionTool(weather)
    first = tool.declaration()
    first["function"]["name"] = "changed"
    assert json.loads(json.dumps(tool.declaration())) == WEATHER
