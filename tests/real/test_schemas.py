"""The default model under schemas: every complete answer is valid, whatever the model would rather have written."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pydantic
import pytest
from jsonschema import Draft202012Validator

from llama_bind import AsyncLlama, Llama, LlamaGrammar
from llama_bind.errors import InputError, SchemaError
from llama_bind.hub import resolve_model

NAME = {"type": "string", "minLength": 1, "maxLength": 20}


def closed(properties: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object of just these members, all required."""
    more = {"required": list(properties), **more}
    return {"type": "object", "properties": properties, "additionalProperties": False, **more}


SCHEMAS: dict[str, Any] = {
    "integers": {"type": "array", "items": {"type": "integer", "minimum": 1, "maximum": 99}, "maxItems": 4},
    "exact decimals": {"type": "number", "minimum": -1.5, "exclusiveMaximum": 2.25},
    "multiples": {"type": "integer", "multipleOf": 7, "minimum": 10, "maximum": 500},
    "choice": {"enum": ["red", "green", 5, None, {"other": True}]},
    "pattern": {"type": "string", "pattern": "^[A-Z]{2}-[0-9]{3}$"},
    "looking ahead": {"type": "string", "pattern": "^(?!the)[a-z]{3,8}$"},
    "date": closed({"date": {"type": "string", "format": "date"}, "time": {"type": "string", "format": "time"}}),
    "address": closed(
        {"email": {"type": "string", "format": "email", "maxLength": 40}, "ip": {"format": "ipv4", "type": "string"}}
    ),
    "person": closed({"name": NAME, "age": {"type": "integer", "minimum": 0, "maximum": 120}}),
    "optional": closed({"name": NAME, "nick": NAME, "size": {"enum": ["s", "m"]}}, required=["size"]),
    "one of two": {"oneOf": [closed({"cat": NAME}), closed({"dog": NAME})]},
    "either name": {
        "type": "object",
        "properties": {"first": NAME, "last": NAME},
        "additionalProperties": False,
        "oneOf": [{"required": ["first"]}, {"required": ["last"]}],
    },
    "not": {"type": "string", "maxLength": 8, "not": {"enum": ["yes", "no"]}},
    "if": closed(
        {"kind": {"enum": ["circle", "square"]}, "size": {}},
        **{
            "if": {"properties": {"kind": {"const": "circle"}}},
            "then": {"properties": {"size": {"type": "integer", "minimum": 1, "maximum": 9}}},
            "else": {"properties": {"size": {"enum": ["small", "large"]}}},
        },
    ),
    "unique": {"type": "array", "items": {"enum": ["a", "b", "c", "d"]}, "uniqueItems": True, "minItems": 2},
    "contains": {
        "type": "array",
        "items": {"type": "integer", "maximum": 9, "minimum": 0},
        "contains": {"const": 7},
        "maxItems": 4,
    },
    "map": {
        "type": "object",
        "patternProperties": {"^x-[a-z]{1,5}$": {"type": "boolean"}},
        "additionalProperties": False,
        "maxProperties": 2,
    },
    "tree": {
        "$defs": {"t": closed({"v": {"enum": [0, 1]}, "next": {"anyOf": [{"$ref": "#/$defs/t"}, {"type": "null"}]}})},
        "$ref": "#/$defs/t",
    },
    "merged": {
        "allOf": [
            {"type": "object", "properties": {"a": {"type": "integer", "maximum": 5, "minimum": 0}}, "required": ["a"]}
        ],
        "properties": {"b": {"type": "boolean"}},
        "unevaluatedProperties": False,
    },
    "depending": closed(
        {"card": {"type": "integer", "maximum": 999, "minimum": 0}, "owner": NAME},
        required=[],
        dependentRequired={"card": ["owner"]},
    ),
}


class City(pydantic.BaseModel):
    name: str = pydantic.Field(min_length=1, max_length=20)
    large: bool


@dataclasses.dataclass
class Score:
    points: int
    passed: bool


@pytest.fixture(scope="module")
def llm() -> Iterator[Llama]:
    with Llama(resolve_model("smollm2-135m-instruct"), n_ctx=1024, n_threads=1) as loaded:
        yield loaded


def test_twenty_schemas() -> None:
    assert len(SCHEMAS) == 20


@pytest.mark.parametrize("name", SCHEMAS)
def test_complete_answers_are_valid(llm: Llama, name: str) -> None:
    schema = SCHEMAS[name]
    validator = Draft202012Validator(schema)
    result = llm.create_completion(
        f"An example of {name}, as JSON:\n", json_schema=schema, n=3, temperature=1.0, seed=5, max_tokens=120
    )
    complete = [choice["text"] for choice in result["choices"] if choice["finish_reason"] == "stop"]
    assert complete
    for text in complete:
        validator.validate(json.loads(text))


def test_types_are_parsed(llm: Llama) -> None:
    messages = [{"role": "user", "content": "Is Paris large?"}]
    answer = llm.create_chat_completion(messages, response_format=City, max_tokens=60, temperature=0)
    city = answer["choices"][0]["message"]["parsed"]
    assert isinstance(city, City)
    score = llm.create_completion("Score: ", response_format=Score, max_tokens=60, temperature=0)["choices"][0][
        "parsed"
    ]
    assert isinstance(score, Score)
    cut = llm.create_chat_completion(messages, response_format=City, max_tokens=3)["choices"][0]["message"]
    assert cut["parsed"] is None
    assert "cut off" in cut["parse_errors"][0]


def test_what_is_checked_afterwards(llm: Llama) -> None:
    schema = {
        "type": "array",
        "items": {"type": "string", "pattern": "^a{1,2}$"},
        "minItems": 3,
        "maxItems": 3,
        "uniqueItems": True,
    }
    with pytest.raises(SchemaError):
        llm.create_completion("x", json_schema=schema)
    (choice,) = llm.create_completion("x", json_schema=schema, strict=False, max_tokens=60)["choices"]
    assert choice["finish_reason"] == "stop"
    assert "non-unique" in choice["parse_errors"][0]  # there are only two such texts


def test_streams_and_grammars(llm: Llama) -> None:
    schema = SCHEMAS["person"]
    texts = [
        part["choices"][0]["text"]
        for part in llm.create_completion("x", json_schema=schema, stream=True, max_tokens=80)
    ]
    Draft202012Validator(schema).validate(json.loads("".join(texts)))
    grammar = LlamaGrammar.from_json_schema(schema, json_whitespace="compact")
    text = llm.create_completion("x", grammar=grammar, max_tokens=80)["choices"][0]["text"]
    Draft202012Validator(schema).validate(json.loads(text))
    assert '":' in text
    assert '": ' not in text
    with pytest.raises(InputError, match="give one of them"):
        llm.create_completion("x", json_schema=schema, regex="a")


def test_async() -> None:
    async def ask() -> Any:
        async with AsyncLlama(resolve_model("smollm2-135m-instruct"), n_ctx=512, n_threads=1) as llm:
            messages = [{"role": "user", "content": "Is Paris large?"}]
            return await llm.create_chat_completion(messages, response_format=City, max_tokens=60, temperature=0)

    assert isinstance(asyncio.run(ask())["choices"][0]["message"]["parsed"], City)
