"""llama.cpp's grammar tests: ``test-grammar-parser.cpp``, ``test-grammar-integration.cpp``, and ``grammars/``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from tests.vectors import LLAMA_CPP
from tests.vectors.cpp_calls import Call, CppError, calls

PARSER_TEST = LLAMA_CPP / "tests" / "test-grammar-parser.cpp"
INTEGRATION_TEST = LLAMA_CPP / "tests" / "test-grammar-integration.cpp"
ELEMENT_KINDS = (
    "END",
    "ALT",
    "RULE_REF",
    "CHAR",
    "CHAR_NOT",
    "CHAR_RNG_UPPER",
    "CHAR_ALT",
    "CHAR_ANY",
    "TOKEN",
    "TOKEN_NOT",
)

Text = list[str | int]
"""A tested text: pieces of text and numbers of tokens."""


@dataclass(frozen=True)
class Parsed:
    """A grammar with the symbols and elements that the parser must make of it."""

    text: str
    symbols: dict[str, int]
    elements: list[tuple[int, int]]


@dataclass(frozen=True)
class Matched:
    """A grammar with texts that it matches as a whole and texts that it does not."""

    name: str
    text: str
    passing: list[Text]
    failing: list[Text]


def parsed() -> list[Parsed]:
    cases = []
    for _, (text, symbols, elements) in calls(PARSER_TEST, "verify_parsing"):
        cases.append(
            Parsed(
                text,
                dict(symbols),
                [(ELEMENT_KINDS.index(kind.removeprefix("LLAMA_GRETYPE_")), value) for kind, value in elements],
            )
        )
    return cases


def refused() -> list[str]:
    """Grammars that must not parse, of both files."""
    found = [args[0] for _, args in calls(PARSER_TEST, "verify_failure")]
    source = INTEGRATION_TEST.read_text(encoding="utf-8")
    start = source.index("static void test_failure_missing_root()")
    end = source.index("static void test_failure_missing_root_symbol()")
    pattern = re.compile(r'const std::string \w+ =\s*(?://[^\n]*\n\s*)*R"""\((.*?)\)"""', re.DOTALL)
    found += [match.group(1) for match in pattern.finditer(source, start, end)]
    return found


def matched() -> list[Matched]:
    return [
        Matched(name, text, [_text(t) for t in passing], [_text(t) for t in failing])
        for _, (name, text, passing, failing) in calls(INTEGRATION_TEST, "test_grammar")
    ]


def _text(value: Any) -> Text:
    parts: Text = []
    for part in value if isinstance(value, list) else [value]:
        if isinstance(part, Call) and part.name == "token":
            parts.append(part.args[0])
        elif isinstance(part, str):
            parts.append(part)
        else:
            raise CppError(f"not a text: {part!r}")
    return parts


def files() -> dict[str, str]:
    """The grammars that come with llama.cpp, by file name."""
    return {path.name: path.read_text(encoding="utf-8") for path in sorted((LLAMA_CPP / "grammars").glob("*.gbnf"))}
