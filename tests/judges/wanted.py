"""What the clients are asked for: a person as a value, the weather by a tool. Not for: the answers."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

__all__ = ["Person", "weather"]


class Person(BaseModel, extra="forbid"):
    """A person."""

    name: str = Field(max_length=20)
    age: int = Field(ge=0, le=120)


def weather(city: Literal["Paris", "Rome"]) -> str:
    """The weather in a city."""
    return f"sunny in {city}"
