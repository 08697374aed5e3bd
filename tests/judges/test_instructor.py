"""``instructor`` against the server: values of pydantic models out of conversations, in each of its ways."""

from __future__ import annotations

from typing import Any

import instructor
import openai
import pytest
from pydantic import BaseModel, Field

MESSAGES: Any = [{"role": "user", "content": "Invent a person called Ann who is 30 years old, and her two pets."}]


class Pet(BaseModel, extra="forbid"):
    """An animal."""

    name: str = Field(max_length=12)
    legs: int = Field(ge=0, le=8)


class Person(BaseModel, extra="forbid"):
    """A person."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)
    pets: list[Pet] = Field(max_length=2)


@pytest.mark.parametrize("mode", ["TOOLS", "JSON_SCHEMA"])
def test_a_value(api: str, mode: str) -> None:
    with openai.OpenAI(base_url=api, api_key="none", max_retries=0) as plain:
        client = instructor.from_openai(plain, mode=instructor.Mode[mode])
        made = client.chat.completions.create(
            model="any", messages=MESSAGES, response_model=Person, max_tokens=200, temperature=0, max_retries=0
        )
    assert isinstance(made, Person)


def test_a_value_that_grows(api: str) -> None:
    with openai.OpenAI(base_url=api, api_key="none", max_retries=0) as plain:
        client = instructor.from_openai(plain, mode=instructor.Mode.JSON_SCHEMA)
        parts = list(
            client.chat.completions.create_partial(
                model="any", messages=MESSAGES, response_model=Person, max_tokens=200, temperature=0, max_retries=0
            )
        )
    assert len(parts) > 3
    assert parts[0].age is None
    assert isinstance(parts[-1].age, int)
