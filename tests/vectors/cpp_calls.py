"""Read the arguments of calls in a C++ source: enough of the language for tables of test cases.

Understood: numbers and arithmetic of them, strings (raw ones, neighbours and ``+`` joined), characters, brace lists
(as Python lists), names (as `Name`), and calls inside (as `Call`). Anything else is a `CppError`, never skipped.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TOKEN = re.compile(
    r"""(?P<skip>\s+|//[^\n]*|/\*.*?\*/)
      | (?P<raw>R"(?P<delimiter>[^(\s]*)\((?P<body>.*?)\)(?P=delimiter)")
      | (?P<string>"(?:\\.|[^"\\])*")
      | (?P<char>'(?:\\.|[^'\\])+')
      | (?P<number>(?:0x[0-9a-fA-F]+|\d+\.?\d*(?:[eE][+-]?\d+)?)[fuUlL]*)
      | (?P<name>[A-Za-z_][\w:]*)
      | (?P<mark>[-+*/(){},.;:=&<>!?|\[\]])""",
    re.DOTALL | re.VERBOSE,
)


class CppError(ValueError):
    """Something in the source that this reader does not understand."""


class Name(str):
    """An identifier."""

    __slots__ = ()


@dataclass(frozen=True)
class Call:
    """A call inside an argument."""

    name: str
    args: tuple[Any, ...]


def calls(path: Path, *names: str) -> Iterator[tuple[str, list[Any]]]:
    """The calls of these functions in source order, each with its arguments; definitions are left out."""
    source = path.read_text(encoding="utf-8")
    pattern = re.compile(rf"^[ \t]+(?:assert\()?({'|'.join(names)})\(", re.MULTILINE)
    for match in pattern.finditer(source):
        reader = Reader(source, match.end())
        yield match.group(1), reader.items(")")


class Reader:
    def __init__(self, source: str, position: int) -> None:
        self.source = source
        self.position = position
        self.kind = ""
        self.text = ""
        self.match: re.Match[str] | None = None
        self.next()

    def next(self) -> None:
        while True:
            match = _TOKEN.match(self.source, self.position)
            if match is None:
                raise CppError(f"cannot read: {self.source[self.position : self.position + 40]!r}")
            self.position = match.end()
            if match.lastgroup != "skip" and match.group("skip") is None:
                break
        self.match = match
        self.kind = next(kind for kind in ("raw", "string", "char", "number", "name", "mark") if match.group(kind))
        self.text = match.group("body") if self.kind == "raw" else match.group()

    def items(self, closing: str) -> list[Any]:
        """Comma-separated values up to the closing mark, which is left as the current token."""
        found: list[Any] = []
        while not (self.kind == "mark" and self.text == closing):
            found.append(self.value())
            if self.kind == "mark" and self.text == ",":
                self.next()
            elif not (self.kind == "mark" and self.text == closing):
                raise CppError(f"expecting ',' or {closing!r} at {self.text!r}")
        return found

    def value(self) -> Any:
        value = self.single()
        while self.kind == "mark" and self.text in ("+", "-", "*", "/"):
            operator = self.text
            self.next()
            right = self.single()
            value = _apply(operator, value, right)
        return value

    def single(self) -> Any:
        kind, text = self.kind, self.text
        if kind == "mark" and text == "-":
            self.next()
            return -self.single()
        if kind in ("raw", "string"):
            return self._strings()
        self._skip_unless_opening(kind, text)
        if kind == "char":
            return ord(ast.literal_eval(text))
        if kind == "number":
            digits = text if text.startswith("0x") else text.rstrip("fuUlL")
            return int(digits.rstrip("uUlL"), 0) if re.fullmatch(r"0x[0-9a-fA-F]+|\d+", digits) else float(digits)
        if kind == "name":
            if self.kind == "mark" and self.text == "(":
                self.next()
                call = Call(text, tuple(self.items(")")))
                self.next()
                return call
            return Name(text)
        if kind == "mark" and text == "{":
            values = self.items("}")
            self.next()
            return values
        raise CppError(f"unexpected {text!r}")

    def _skip_unless_opening(self, kind: str, text: str) -> None:
        if kind == "mark" and text != "{":
            raise CppError(f"unexpected {text!r}")
        self.next()

    def _strings(self) -> str:
        parts: list[str] = []
        while self.kind in ("raw", "string"):
            parts.append(self.text if self.kind == "raw" else _unescape(self.text))
            self.next()
        return "".join(parts)


def _unescape(literal: str) -> str:
    """C and Python agree on the escapes that occur; a C literal holds bytes of UTF-8."""
    return str(ast.literal_eval("'''" + literal[1:-1].replace("'", "\\'") + "'''"))


def _apply(operator: str, left: Any, right: Any) -> Any:
    if isinstance(left, (str, Call, list)) or isinstance(right, (str, Call)):
        if operator != "+":
            raise CppError(f"cannot compute {left!r} {operator} {right!r}")
        return [*(left if isinstance(left, list) else [left]), right]
    return {"+": left + right, "-": left - right, "*": left * right, "/": left / right if operator == "/" else 0}[
        operator
    ]


def braces(path: Path, opening: str) -> list[Any]:
    """The values of the brace list that follows the text `opening` in a source."""
    source = path.read_text(encoding="utf-8")
    reader = Reader(source, source.index(opening) + len(opening))
    return reader.items("}")
