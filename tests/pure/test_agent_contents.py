from __future__ import annotations

import collections
import dataclasses
import datetime
import decimal
import enum
import pathlib
import uuid
from typing import Any

import numpy as np
import pydantic
import pytest

from llama_bind.agent.contents import limited, result_text


class Color(enum.Enum):
    RED = "red"


class Name(str, enum.Enum):
    A = "a"


@dataclasses.dataclass
class Point:
    x: int
    y: Any = None


class Model(pydantic.BaseModel):
    when: datetime.date
    other: int = pydantic.Field(1, alias="another")


Pair = collections.namedtuple("Pair", "a b")


class Odd:
    def __str__(self) -> str:
        return "an odd thing"

    __repr__ = __str__  # names the test: an address in it would be another one in each process


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("text", "text"),
        ('"text"', '"text"'),
        ("", ""),
        (None, "null"),
        (5, "5"),
        (True, "true"),
        (0.5, "0.5"),
        ("é", "é"),
        (["é"], '["é"]'),
        ("a\ud800b", "a?b"),
        ({"a": "\udfff"}, '{"a": "?"}'),
        ({"a": [1, None]}, '{"a": [1, null]}'),
        ({1: "a", None: "b", Color.RED: "c", (1, 2): "d"}, '{"1": "a", "null": "b", "red": "c", "[1, 2]": "d"}'),
        ((1, 2), "[1, 2]"),
        ({3}, "[3]"),
        (Color.RED, '"red"'),
        (Name.A, '"a"'),
        (Point(1, [Point(2)]), '{"x": 1, "y": [{"x": 2, "y": null}]}'),
        (Pair(1, 2), '{"a": 1, "b": 2}'),
        (Model(when=datetime.date(2020, 1, 2), another=3), '{"when": "2020-01-02", "another": 3}'),
        ([Model(when=datetime.date(2020, 1, 2), another=1)], '[{"when": "2020-01-02", "another": 1}]'),
        (datetime.datetime(2020, 1, 2, 3, 4), '"2020-01-02T03:04:00"'),
        (uuid.UUID(int=1), '"00000000-0000-0000-0000-000000000001"'),
        (decimal.Decimal("0.10"), '"0.10"'),
        (pathlib.PurePosixPath("a/b"), '"a/b"'),
        (b"\xff", '"/w=="'),
        (np.arange(3), "[0, 1, 2]"),
        (np.float32(0.5), "0.5"),
        ([np.int64(5)], "[5]"),
        (Odd(), '"an odd thing"'),
        ([Odd()], '["an odd thing"]'),
        (Odd, None),
    ],
    ids=str,
)
def test_values_as_text(value: Any, text: str | None) -> None:
    made = result_text(value)
    assert made == text if text is not None else "Odd" in made
    made.encode()


def test_a_value_that_contains_itself() -> None:
    circle: dict[str, Any] = {}
    circle["a"] = [circle]
    with pytest.raises(ValueError, match="contains itself"):
        result_text(circle)


@pytest.mark.parametrize("limit", [200, 1000, 99_999])
def test_texts_within_the_limit(limit: int) -> None:
    assert limited("x" * limit, limit) == "x" * limit
    cut = limited("x" * 100_000, limit)
    assert len(cut) <= limit
    kept = cut.index("\n")
    assert cut == "x" * kept + f"\n[cut: {100_000 - kept} of 100000 characters are left out]"
    assert kept > limit - 60
