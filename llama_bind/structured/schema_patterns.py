"""Reads the regular expressions of JSON Schemas: ECMA 262's syntax, in Unicode mode, as a tree.

Not for: what a pattern means for a whole string (``schema_languages.py``), or other regular expressions: those that a
caller gives as ``regex=`` are Rust's.
"""

from __future__ import annotations

import dataclasses
from typing import NoReturn

__all__ = ["ANY", "EMPTY", "Alt", "Cat", "Chars", "Edge", "Look", "Node", "PatternError", "Rep", "parse", "text_of"]

MAX_DEPTH = 60
"""Groups in groups. Every level is a level of recursion, here and in the compiler of regular expressions."""

LAST = 0x10FFFF
Range = tuple[int, int]


class PatternError(ValueError):
    """A pattern that cannot be read or used; `position` counts characters from 0."""

    def __init__(self, message: str, position: int | None = None) -> None:
        super().__init__(message if position is None else f"{message} (character {position + 1} of the pattern)")


@dataclasses.dataclass(frozen=True)
class Chars:
    """One character: of `ranges` (first and last code point) or of `categories` (of Unicode; "^" before: not of)."""

    ranges: tuple[Range, ...]
    categories: tuple[str, ...] = ()
    negated: bool = False


@dataclasses.dataclass(frozen=True)
class Cat:
    """One after the other."""

    parts: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Alt:
    """One of these."""

    options: tuple[Node, ...]


@dataclasses.dataclass(frozen=True)
class Rep:
    """`low` to `high` times in a row (None: without end)."""

    node: Node
    low: int
    high: int | None


@dataclasses.dataclass(frozen=True)
class Edge:
    """The beginning of the text, or its end."""

    end: bool


@dataclasses.dataclass(frozen=True)
class Look:
    """A condition on what follows, or on what precedes."""

    ahead: bool
    negative: bool
    node: Node


Node = Chars | Cat | Alt | Rep | Edge | Look

EMPTY = Cat(())
ANY = Rep(Chars((), negated=True), 0, None)
"""Any text, line ends too."""

_DIGIT: tuple[Range, ...] = ((48, 57),)
_WORD: tuple[Range, ...] = ((48, 57), (65, 90), (95, 95), (97, 122))
_SPACE: tuple[Range, ...] = (
    (9, 13), (32, 32), (0xA0, 0xA0), (0x1680, 0x1680), (0x2000, 0x200A), (0x2028, 0x2029), (0x202F, 0x202F),
    (0x205F, 0x205F), (0x3000, 0x3000), (0xFEFF, 0xFEFF),
)  # fmt: skip
_CLASSES = {"d": _DIGIT, "w": _WORD, "s": _SPACE}
_LINE_ENDS: tuple[Range, ...] = ((10, 10), (13, 13), (0x2028, 0x2029))
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "0": 0}
_CATEGORIES = {
    "Letter": "L", "Uppercase_Letter": "Lu", "Lowercase_Letter": "Ll", "Titlecase_Letter": "Lt",
    "Modifier_Letter": "Lm", "Other_Letter": "Lo", "Mark": "M", "Number": "N", "Decimal_Number": "Nd",
    "Letter_Number": "Nl", "Other_Number": "No", "Punctuation": "P", "Symbol": "S", "Separator": "Z",
    "Space_Separator": "Zs", "Other": "C", "Control": "Cc",
}  # fmt: skip
_SHORT = frozenset(_CATEGORIES.values()) | {
    "Mn", "Mc", "Me", "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "Sm", "Sc", "Sk", "So", "Zl", "Zp", "Cf", "Co",
}  # fmt: skip


def parse(pattern: str) -> Node:
    """The tree of a pattern.

    Raises:
        PatternError: it is not a regular expression, or has what no grammar can express (back references, word
            boundaries).
    """
    return _Parser(pattern).whole()


def text_of(text: str) -> Node:
    """The tree that matches just this text."""
    return Cat(tuple(Chars(((ord(char), ord(char)),)) for char in text))


def complement(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """All code points that are in none of `ranges`, ascending."""
    result: list[Range] = []
    after = 0
    for first, last in sorted(ranges):
        if first > after:
            result.append((after, first - 1))
        after = max(after, last + 1)
    if after <= LAST:
        result.append((after, LAST))
    return tuple(result)


def _folded(ranges: tuple[Range, ...]) -> tuple[Range, ...]:
    """`ranges` and the other case of each of their letters (ASCII, and single characters beyond it)."""
    result = list(ranges)
    for first, last in ranges:
        for low, high, shift in ((65, 90, 32), (97, 122, -32)):
            if max(first, low) <= min(last, high):
                result.append((max(first, low) + shift, min(last, high) + shift))
        if first == last:
            result += [(ord(c), ord(c)) for c in (chr(first).lower(), chr(first).upper()) if len(c) == 1]
    return tuple(dict.fromkeys(result))


class _Parser:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.depth = 0
        self.fold = False

    def whole(self) -> Node:
        if self.pattern.startswith("(?i)"):
            self.fold = True
            self.at = 4
        node = self.alternatives()
        if self.at < len(self.pattern):
            self.fail("a ')' that closes nothing")
        return node

    def fail(self, message: str) -> NoReturn:
        raise PatternError(message, self.at)

    def peek(self) -> str:
        return self.pattern[self.at] if self.at < len(self.pattern) else ""

    def take(self, text: str) -> bool:
        if self.pattern.startswith(text, self.at):
            self.at += len(text)
            return True
        return False

    def alternatives(self) -> Node:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            self.fail(f"more than {MAX_DEPTH} groups in each other")
        options = [self.sequence()]
        while self.take("|"):
            options.append(self.sequence())
        self.depth -= 1
        return options[0] if len(options) == 1 else Alt(tuple(options))

    def sequence(self) -> Node:
        parts: list[Node] = []
        while self.peek() not in ("", "|", ")"):
            node = self.quantified(self.atom())
            parts += node.parts if isinstance(node, Cat) else (node,)
        return parts[0] if len(parts) == 1 else Cat(tuple(parts))

    def quantified(self, node: Node) -> Node:
        low, high, found = 0, None, True
        if self.take("*"):
            pass
        elif self.take("+"):
            low = 1
        elif self.take("?"):
            high = 1
        else:
            found, low, high = self.counts()
        if not found:
            return node
        self.take("?")  # lazy or not, the same texts match
        if self.peek() in ("*", "+", "?"):
            self.fail("a quantifier after a quantifier")
        if high is not None and low > high:
            self.fail("a repetition whose least number is above its greatest")
        return Rep(node, low, high)

    def counts(self) -> tuple[bool, int, int | None]:
        end = self.pattern.find("}", self.at)
        if self.peek() != "{" or end < 0:
            return False, 0, None
        low, comma, high = self.pattern[self.at + 1 : end].partition(",")
        if not (low.isascii() and low.isdigit()) or (high and not (high.isascii() and high.isdigit())):
            return False, 0, None  # a brace that is only a brace, as in a template
        if len(low) > 6 or len(high) > 6:
            self.fail("a repetition of more than 999999")
        self.at = end + 1
        return True, int(low), (int(high) if high else None) if comma else int(low)

    def atom(self) -> Node:
        char = self.peek()
        if char == "(":
            return self.group()
        if char == "[":
            return self.char_class()
        if char in "*+?":
            self.fail("a quantifier with nothing before it")
        self.at += 1
        if char == ".":
            return Chars(_LINE_ENDS, negated=True)
        if char in "^$":
            return Edge(char == "$")
        if char == "\\":
            return self.escape()
        return self.chars(((ord(char), ord(char)),))

    def group(self) -> Node:
        start = self.at
        look: tuple[bool, bool] | None = None
        if self.take("(?:"):
            pass
        elif self.take("(?<=") or self.take("(?<!"):
            look = (False, self.pattern[self.at - 1] == "!")
        elif self.take("(?=") or self.take("(?!"):
            look = (True, self.pattern[self.at - 1] == "!")
        elif self.take("(?<") or self.take("(?P<"):
            end = self.pattern.find(">", self.at)
            if end < 0:
                self.fail("a group's name without its '>'")
            self.at = end + 1
        elif self.take("(?"):
            self.fail("an unknown kind of group")
        else:
            self.at += 1
        node = self.alternatives()
        if not self.take(")"):
            self.at = start
            self.fail("a '(' that is not closed")
        return node if look is None else Look(look[0], look[1], node)

    def chars(self, ranges: tuple[Range, ...], categories: tuple[str, ...] = (), negated: bool = False) -> Chars:
        return Chars(_folded(ranges) if self.fold else ranges, categories, negated)

    def escape(self) -> Node:
        """After a backslash outside of a class."""
        char = self.peek()
        if char in ("b", "B"):
            self.fail(f"a word boundary (\\{char}), which no grammar can express")
        if char in ("A", "Z", "z"):
            self.at += 1
            return Edge(char != "A")
        if char == "k" or (char.isdigit() and char != "0"):
            self.fail("a back reference, which no grammar can express")
        ranges, categories = self.escaped_set()
        return self.chars(ranges, categories)

    def escaped_set(self) -> tuple[tuple[Range, ...], tuple[str, ...]]:
        """What an escape in or out of a class stands for: ranges and categories."""
        char = self.peek()
        self.at += 1
        if char.lower() in _CLASSES and char:
            ranges = _CLASSES[char.lower()]
            return (ranges if char.islower() else complement(ranges)), ()
        if char in ("p", "P"):
            return (), (self.category(char == "P"),)
        code = self.code_point(char)
        return ((code, code),), ()

    def category(self, negated: bool) -> str:
        end = self.pattern.find("}", self.at)
        if self.peek() != "{" or end < 0:
            self.fail("\\p without a category in braces")
        name = self.pattern[self.at + 1 : end]
        name = name.removeprefix("General_Category=").removeprefix("gc=")
        name = _CATEGORIES.get(name, name)
        if name not in _SHORT:
            self.fail(f"the property {name!r}: only general categories, such as \\p{{L}}, are known")
        self.at = end + 1
        return "^" + name if negated else name

    def code_point(self, char: str) -> int:
        if char == "":
            self.fail("a backslash at the end")
        if char in _CONTROLS:
            return _CONTROLS[char]
        if char == "x":
            return self.hexadecimal(2)
        if char == "u":
            if self.take("{"):
                end = self.pattern.find("}", self.at)
                return self.hexadecimal(end - self.at, skip=1)
            first = self.hexadecimal(4)
            if 0xD800 <= first <= 0xDBFF and self.take("\\u"):
                return 0x10000 + ((first - 0xD800) << 10) + (self.hexadecimal(4) - 0xDC00)
            return first
        if char == "c" and self.peek().isascii() and self.peek().isalpha():
            self.at += 1
            return ord(self.pattern[self.at - 1]) % 32
        if char.isascii() and char.isalnum():
            self.fail(f"the unknown escape \\{char}")
        return ord(char)

    def hexadecimal(self, digits: int, skip: int = 0) -> int:
        try:
            code = int(self.pattern[self.at : self.at + max(0, digits)], 16)
        except ValueError:
            self.fail("an escape without its hexadecimal digits")
        self.at += digits + skip
        if code > LAST:
            self.fail("an escape beyond U+10FFFF")
        return code

    def char_class(self) -> Node:
        start = self.at
        self.at += 1
        negated = self.take("^")
        ranges: list[Range] = []
        categories: list[str] = []
        while not self.take("]"):
            if self.at >= len(self.pattern):
                self.at = start
                self.fail("a '[' that is not closed")
            first, sets = self.class_item()
            categories += sets
            single = len(first) == 1 and first[0][0] == first[0][1] and not sets
            if single and self.peek() == "-" and self.pattern[self.at + 1 : self.at + 2] not in ("]", ""):
                self.at += 1
                last, more = self.class_item()
                if more or len(last) != 1 or last[0][0] != last[0][1]:
                    ranges += [*first, (45, 45), *last]
                    categories += more
                    continue
                if last[0][0] < first[0][0]:
                    self.fail("a range whose end is before its beginning")
                first = ((first[0][0], last[0][0]),)
            ranges += first
        return self.chars(tuple(dict.fromkeys(ranges)), tuple(dict.fromkeys(categories)), negated)

    def class_item(self) -> tuple[tuple[Range, ...], tuple[str, ...]]:
        char = self.peek()
        if self.take("\\"):
            if self.take("b"):
                return ((8, 8),), ()
            if self.peek() == "B":
                self.fail("\\B inside of a class")
            return self.escaped_set()
        self.at += 1
        if not char:
            self.fail("a '[' that is not closed")
        return ((ord(char), ord(char)),), ()
