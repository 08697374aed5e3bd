"""Parse llama.cpp's GBNF grammars and refuse, with line and column, whatever its own parser would not survive.

Follows ``src/llama-grammar.cpp`` element for element: a text that `parse` takes is one that
``llama_sampler_init_grammar`` takes, with the same rules and numbers. Stricter than llama.cpp only at the ``MAX_*``
limits of this package's grammar modules and where it would hang, overflow or abort (see ``gbnf_rules``).

Not for: running a grammar, or knowing a vocabulary (tokens written as ``<name>`` are listed in `Grammar.tokens`).
"""

from __future__ import annotations

import dataclasses
import re
from typing import NoReturn

from llama_bind.errors import GrammarError
from llama_bind.structured import gbnf_rules
from llama_bind.structured.gbnf_rules import Element, Kind

__all__ = ["MAX_ELEMENTS", "MAX_NESTING", "MAX_REPETITION", "MAX_TEXT", "Grammar", "TokenUse", "parse"]

MAX_TEXT = 1 << 20
"""Most characters of grammar text."""
MAX_NESTING = 200
"""Most groups inside each other: llama.cpp's parser recurses on the C stack for each."""
MAX_REPETITION = 2000
"""llama.cpp's own limit on repetitions (MAX_REPETITION_THRESHOLD)."""
MAX_ELEMENTS = 1_000_000
"""Most elements after repetitions are written out (8 bytes each in C)."""

_SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
_SPACE_NL = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
_NAME = re.compile(r"[a-zA-Z0-9-]+")
_INT = re.compile(r"[0-9]+")
_HEX = {"x": re.compile(r"[0-9a-fA-F]{2}"), "u": re.compile(r"[0-9a-fA-F]{4}"), "U": re.compile(r"[0-9a-fA-F]{8}")}
_ESCAPES = {"t": "\t", "r": "\r", "n": "\n", "\\": "\\", '"': '"', "[": "[", "]": "]", "-": "-"}
_PLAIN = re.compile(r'[^"\\]+')
_UINT64_MAX = (1 << 64) - 1


@dataclasses.dataclass(frozen=True)
class TokenUse:
    """A token that the grammar names: by `id` (``<[id]>``) or by its text (``<think>``, then `id` is None)."""

    text: str
    id: int | None
    line: int
    column: int


@dataclasses.dataclass(frozen=True)
class Grammar:
    """A parsed grammar: what llama.cpp's parser would hold.

    Attributes:
        text: The source.
        root: Name of the start rule.
        symbols: Rule names to numbers, those that repetitions and groups made included.
        rules: For each number its elements, as pairs of kind and value; an element of a token given by text has
            the value 0.
        tokens: The tokens it names, in order.
    """

    text: str
    root: str
    symbols: dict[str, int]
    rules: list[list[Element]]
    tokens: tuple[TokenUse, ...]


def parse(text: str, root: str = "root") -> Grammar:
    """Parse and check a grammar.

    Raises:
        GrammarError: the text is not a grammar that llama.cpp can run; says where and what to do.
    """
    if not isinstance(text, str):
        raise GrammarError(f"a grammar must be a str, not {type(text).__name__}")
    parser = _Parser(text)
    parser.run()
    names = {number: name for name, number in parser.symbols.items()}
    fault = gbnf_rules.find_fault(parser.rules, names, parser.symbols.get(root), root)
    if fault is not None:
        position = parser.references.get(fault.rule) if fault.undefined else parser.definitions.get(fault.rule)
        if position is None:
            raise GrammarError(fault.message)
        parser.fail(position, fault.message)
    return Grammar(text, root, parser.symbols, parser.rules, tuple(parser.tokens))


@dataclasses.dataclass
class _Frame:
    """One set of alternates being read: a rule, or a group inside one."""

    rule_id: int
    opened: int
    rule: list[Element] = dataclasses.field(default_factory=list)
    item: int = 0  # where the last item, that a repetition would repeat, starts
    weight: int = 1  # rules that the last item stands for
    symbols_before: int = 0


class _Parser:
    """One pass over the text with its own stack of frames, so that no nesting can exhaust Python's."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.end = len(text)
        self.pos = 0
        self.symbols: dict[str, int] = {}
        self.rules: list[list[Element]] = []
        self.tokens: list[TokenUse] = []
        self.references: dict[int, int] = {}
        self.definitions: dict[int, int] = {}
        self.elements = 0
        self.name = ""
        self.frames: list[_Frame] = []

    def fail(self, position: int, message: str) -> NoReturn:
        line, column = locate(self.text, position)
        raise GrammarError(message, line=line, column=column)

    def run(self) -> None:
        self._check_text()
        self._space(True)
        while self.pos < self.end:
            self._rule()
        if not self.rules:
            raise GrammarError('the grammar is empty; write a rule such as: root ::= "yes" | "no"')

    def _check_text(self) -> None:
        if self.end > MAX_TEXT:
            raise GrammarError(f"the grammar has {self.end} characters; the most is {MAX_TEXT}")
        nul = self.text.find("\0")
        if nul >= 0:
            self.fail(nul, "a NUL character, where llama.cpp would stop reading; remove it")
        try:
            self.text.encode()
        except UnicodeEncodeError as error:
            self.fail(error.start, "a lone surrogate, which UTF-8 cannot hold; remove it")

    # -- reading ------------------------------------------------------------------------------------------------

    def _at(self, offset: int = 0) -> str:
        index = self.pos + offset
        return self.text[index] if index < self.end else ""

    def _space(self, newline_ok: bool) -> None:
        match = (_SPACE_NL if newline_ok else _SPACE).match(self.text, self.pos)
        if match is not None:
            self.pos = match.end()

    def _symbol(self, name: str) -> int:
        return self.symbols.setdefault(name, len(self.symbols))

    def _new_symbol(self, position: int) -> int:
        number = len(self.symbols)
        self.symbols[f"{self.name}_{number}"] = number
        self.definitions[number] = position
        return number

    def _grow(self, count: int, position: int) -> None:
        self.elements += count
        if self.elements > MAX_ELEMENTS:
            self.fail(
                position, f"the grammar grows past {MAX_ELEMENTS} elements here; use fewer or smaller repetitions"
            )

    def _define(self, rule_id: int, rule: list[Element]) -> None:
        if len(self.rules) <= rule_id:
            self.rules.extend([] for _ in range(rule_id + 1 - len(self.rules)))
        self.rules[rule_id] = rule

    # -- rules --------------------------------------------------------------------------------------------------

    def _rule(self) -> None:
        match = _NAME.match(self.text, self.pos)
        if match is None:
            self.fail(self.pos, f"expecting the name of a rule (letters, digits, '-'), not {self._shown()}")
        start, self.pos = self.pos, match.end()
        self.name = match.group()
        self._space(False)
        rule_id = self._symbol(self.name)
        self.definitions[rule_id] = start
        if not self.text.startswith("::=", self.pos):
            self.fail(self.pos, f"expecting '::=' after the rule name {self.name!r}, not {self._shown()}")
        self.pos += 3
        self._space(True)
        self.frames = [_Frame(rule_id, start)]
        while self.frames:
            self._step()
        if self._at() == "\r":
            self.pos += 2 if self._at(1) == "\n" else 1
        elif self._at() == "\n":
            self.pos += 1
        elif self.pos < self.end:
            self.fail(self.pos, f"expecting a new line or the end after the rule {self.name!r}, not {self._shown()}")
        self._space(True)

    def _step(self) -> None:
        """Read one item, repetition, '|' or the end of the innermost frame."""
        frame = self.frames[-1]
        char = self._at()
        if char == '"':
            self._literal(frame)
        elif char == "[":
            self._char_class(frame)
        elif char in ("<", "!"):
            self._token(frame)
        elif char == "(":
            self._open_group()
        elif char == ".":
            self._item(frame, (Kind.CHAR_ANY, 0))
            self._advance(1)
        elif char in ("*", "+", "?"):
            self._operator(frame, char)
        elif char == "{":
            self._braces(frame)
        elif char == "|":
            frame.rule.append((Kind.ALT, 0))
            self._grow(1, self.pos)
            frame.item, frame.weight = len(frame.rule), 1
            self.pos += 1
            self._space(True)
        elif char and (match := _NAME.match(self.text, self.pos)) is not None:
            number = self._symbol(match.group())
            self.references.setdefault(number, self.pos)
            self._item(frame, (Kind.RULE_REF, number))
            self._advance(match.end() - self.pos)
        else:
            self._close_frame(frame)

    def _advance(self, count: int) -> None:
        """Past an item, and past the space that may follow it (new lines too, inside a group)."""
        self.pos += count
        self._space(len(self.frames) > 1)

    def _item(self, frame: _Frame, *elements: Element) -> None:
        frame.item, frame.weight = len(frame.rule), 1
        frame.rule.extend(elements)
        self._grow(len(elements), self.pos)

    def _open_group(self) -> None:
        if len(self.frames) > MAX_NESTING:
            self.fail(self.pos, f"more than {MAX_NESTING} groups inside each other; name parts as rules of their own")
        before = len(self.symbols)
        opened = self.pos
        self.pos += 1
        self._space(True)
        self.frames.append(_Frame(self._new_symbol(opened), opened, symbols_before=before))

    def _close_frame(self, frame: _Frame) -> None:
        frame.rule.append((Kind.END, 0))
        self._grow(1, self.pos)
        self._define(frame.rule_id, frame.rule)
        self.frames.pop()
        if not self.frames:
            return
        if self._at() != ")":
            line, column = locate(self.text, frame.opened)
            self.fail(self.pos, f"expecting ')' for the '(' of line {line}, column {column}, not {self._shown()}")
        parent = self.frames[-1]
        self._item(parent, (Kind.RULE_REF, frame.rule_id))
        parent.weight = max(1, len(self.symbols) - frame.symbols_before)
        self._advance(1)

    # -- items --------------------------------------------------------------------------------------------------

    def _literal(self, frame: _Frame) -> None:
        start = self.pos
        self.pos += 1
        elements: list[Element] = []
        while self._at() != '"':
            if self.pos >= self.end:
                self.fail(start, "this string has no closing '\"'")
            if (match := _PLAIN.match(self.text, self.pos)) is not None:
                elements.extend((Kind.CHAR, ord(c)) for c in match.group())
                self.pos = match.end()
            else:
                elements.append((Kind.CHAR, self._char()))
        self._item(frame, *elements)
        self._advance(1)

    def _char_class(self, frame: _Frame) -> None:
        start = self.pos
        self.pos += 1
        kind = Kind.CHAR
        if self._at() == "^":
            self.pos += 1
            kind = Kind.CHAR_NOT
        elements: list[Element] = []
        while self._at() != "]":
            if self.pos >= self.end:
                self.fail(start, "this character class has no closing ']'")
            elements.append((Kind.CHAR_ALT if elements else kind, self._char()))
            if self._at() == "-" and self._at(1) != "]":
                self.pos += 1
                if self.pos >= self.end:
                    self.fail(start, "this character class has no closing ']'")
                elements.append((Kind.CHAR_RNG_UPPER, self._char()))
        self._item(frame, *elements)
        self._advance(1)

    def _char(self) -> int:
        """One character of a string or class, or the escape that stands for it."""
        char = self._at()
        if char != "\\":
            self.pos += 1
            return ord(char)
        letter = self._at(1)
        if letter in _HEX:
            match = _HEX[letter].match(self.text, self.pos + 2)
            if match is None:
                digits = {"x": 2, "u": 4, "U": 8}[letter]
                self.fail(self.pos, f"\\{letter} needs {digits} hexadecimal digits after it")
            self.pos = match.end()
            return int(match.group(), 16)
        if not letter or letter not in _ESCAPES:
            self.fail(self.pos, 'unknown escape; there are \\t \\r \\n \\\\ \\" \\[ \\] \\- \\xHH \\uHHHH \\UHHHHHHHH')
        self.pos += 2
        return ord(_ESCAPES[letter])

    def _token(self, frame: _Frame) -> None:
        start = self.pos
        kind = Kind.TOKEN
        if self._at() == "!":
            kind = Kind.TOKEN_NOT
            self.pos += 1
        if self._at() != "<":
            self.fail(self.pos, "expecting '<' of a token (<[id]> or <text>) after '!'")
        opened = self.pos
        token: int | None = None
        if self._at(1) == "[":
            self.pos += 2
            token = self._integer((1 << 32) - 1, "a token id")
            if not self.text.startswith("]>", self.pos):
                self.fail(self.pos, "expecting ']>' after the token id")
            self.pos += 2
        else:
            closed = self.text.find(">", self.pos)
            if closed < 0:
                self.fail(opened, "this token has no closing '>'")
            self.pos = closed + 1
        line, column = locate(self.text, start)
        self.tokens.append(TokenUse(self.text[opened : self.pos], token, line, column))
        self._item(frame, (kind, token or 0))
        self._advance(0)

    # -- repetitions --------------------------------------------------------------------------------------------

    def _operator(self, frame: _Frame, char: str) -> None:
        start = self.pos
        self._advance(1)
        self._repeat(frame, 1 if char == "+" else 0, 1 if char == "?" else None, start)

    def _braces(self, frame: _Frame) -> None:
        start = self.pos
        self._advance(1)
        low = self._integer(_UINT64_MAX, "a number of repetitions")
        self._advance(0)
        high: int | None = None
        if self._at() == "}":
            high = low
        elif self._at() == ",":
            self._advance(1)
            if _INT.match(self.text, self.pos) is not None:
                high = self._integer(_UINT64_MAX, "a number of repetitions")
                self._advance(0)
            if self._at() != "}":
                self.fail(self.pos, f"expecting '}}' of the repetition, not {self._shown()}")
        else:
            self.fail(self.pos, f"expecting ',' or '}}' in the repetition, not {self._shown()}")
        self._advance(1)
        if low > MAX_REPETITION:
            self.fail(start, f"{low} repetitions; the most that llama.cpp takes is {MAX_REPETITION}")
        if high is not None and high > MAX_REPETITION:
            high = None  # as llama.cpp does: no upper limit
        self._repeat(frame, low, high, start)

    def _integer(self, most: int, what: str) -> int:
        match = _INT.match(self.text, self.pos)
        if match is None:
            self.fail(self.pos, f"expecting {what}, not {self._shown()}")
        digits = match.group().lstrip("0") or "0"
        value = int(digits) if len(digits) <= 20 else most + 1
        if value > most:
            self.fail(self.pos, f"{what} must be at most {most}")
        self.pos = match.end()
        return value

    def _repeat(self, frame: _Frame, low: int, high: int | None, position: int) -> None:
        """Write a repetition of the last item out into rules, as llama.cpp does.

        ``S{m,n}`` is m times S, then a rule ``S'(x) ::= S S'(x-1) |`` for each optional one; ``S{m,}`` ends in one
        rule that refers to itself.
        """
        item = frame.rule[frame.item :]
        if not item:
            self.fail(position, "nothing to repeat here; put an item before the repetition")
        if high is not None and high < low:
            self.fail(position, f"repetition {{{low},{high}}} has a minimum above its maximum")  # llama.cpp never ends
        total = high or low or 1
        if frame.weight * total > MAX_REPETITION:
            self.fail(
                position,
                f"this repeats {frame.weight} rules {total} times; llama.cpp takes {MAX_REPETITION} in all: "
                "repeat less, or a simpler item",
            )
        optional = 1 if high is None else high - low
        self._grow(len(item) * max(low - 1, 0) + optional * (len(item) + 3) + 1, position)
        if low == 0:
            del frame.rule[frame.item :]
        for _ in range(low - 1):
            frame.rule.extend(item)
        last = -1
        for index in range(optional):
            number = self._new_symbol(position)
            rule = list(item)
            if index > 0 or high is None:
                rule.append((Kind.RULE_REF, number if high is None else last))
            rule += [(Kind.ALT, 0), (Kind.END, 0)]
            self._define(number, rule)
            last = number
        if optional > 0:
            frame.rule.append((Kind.RULE_REF, last))
        frame.weight *= total

    def _shown(self) -> str:
        """What stands at the current position, for a message."""
        if self.pos >= self.end:
            return "the end"
        return repr(self.text[self.pos : self.pos + 12].split("\n")[0] or "\n")


def locate(text: str, position: int) -> tuple[int, int]:
    """Line and column (both from 1) of a position; CR, LF and CRLF end lines."""
    before = text[:position]
    line = before.count("\n") + before.count("\r") - before.count("\r\n") + 1
    column = position - max(before.rfind("\n"), before.rfind("\r"))
    return line, column
