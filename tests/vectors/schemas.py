"""llama.cpp's tests of JSON Schemas: which must become grammars, and texts that they match and do not match."""

from __future__ import annotations

from dataclasses import dataclass

from tests.vectors import LLAMA_CPP
from tests.vectors.cpp_calls import calls

CONVERTED = LLAMA_CPP / "tests" / "test-json-schema-to-grammar.cpp"
MATCHED = tuple(LLAMA_CPP / "tests" / f"test-grammar-{name}.cpp" for name in ("integration", "llguidance"))


@dataclass(frozen=True)
class Converted:
    """A schema, and whether llama.cpp makes a grammar of it."""

    name: str
    schema: str
    works: bool


@dataclass(frozen=True)
class Matched:
    """A schema with texts that it takes and texts that it refuses."""

    name: str
    schema: str
    passing: list[str]
    failing: list[str]


def converted() -> list[Converted]:
    return [Converted(case[1], case[2], case[0] == "SUCCESS") for _, (case,) in calls(CONVERTED, "test")]


def matched() -> list[Matched]:
    found = []
    for path in MATCHED:
        kind = path.stem.removeprefix("test-grammar-")
        for _, (name, schema, passing, failing) in calls(path, "test_schema"):
            found.append(Matched(f"{kind}: {name}", schema, passing, failing))
    return found
