"""Reads one JSON value piece by piece: knows where it ends, and mends what models get wrong in strings.

Not for: values as objects (``json.loads``), or schemas (``fits.py``).
"""

from __future__ import annotations

import re

__all__ = ["MAX_DEPTH", "JsonScan"]

MAX_DEPTH = 200
"""Deepest nesting that is read; far below where Python's own JSON reader gives up."""

BLANKS = frozenset(" \t\n\r")
SPACE = re.compile(r"[ \t\n\r]*")
PLAIN = re.compile(r'[^"\\\x00-\x1f]*(?:\\["\\/bfnrt][^"\\\x00-\x1f]*)*')
DIGITS = re.compile(r"[-+0-9.eE]*")
NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
HEX = frozenset("0123456789abcdefABCDEF")
LITERALS = {"t": "true", "f": "false", "n": "null"}

# What is expected next.
VALUE, FIRST_ITEM, FIRST_KEY, KEY, COLON, AFTER, STRING, HEXES, NUMBERS, LITERAL = range(10)


class JsonScan:
    """One value. White space before it belongs to it.

    In strings, control characters that stand raw are escaped, and a backslash before a character that needs none is
    doubled: what comes out is JSON where what went in nearly was.

    Attributes:
        done: The value is complete.
        failed: What came is not JSON; `read` returned the index of the first wrong character.
        text: What the last `read` consumed, mended.
        rest: What was left when the output ended within the value.
    """

    __slots__ = ("_digits", "_hexes", "_in_key", "_left", "_open", "_state", "done", "failed", "rest", "text")

    def __init__(self) -> None:
        self.done = False
        self.failed = False
        self.text = ""
        self.rest = ""
        self._open: list[str] = []
        self._state = VALUE
        self._in_key = False
        self._hexes = 0
        self._left = ""
        self._digits = ""

    def read(self, text: str, at: int = 0, *, final: bool = False) -> int:
        """Go on.

        Args:
            text: What has come.
            at: Where to go on in it.
            final: Nothing more will come.

        Returns:
            Index behind what was consumed. A backslash waits for what it escapes.
        """
        size = len(text)
        start = at
        mended: list[str] | None = None
        while at < size and not self.done and not self.failed:
            state = self._state
            if state == STRING:
                at = PLAIN.match(text, at).end()  # type: ignore[union-attr]
                if at >= size:
                    break
                mend = self._string(text, at)
                if mend is None:
                    break
                skip, instead = mend
                if instead:
                    mended = mended or []
                    mended += (text[start:at], instead)
                    start = at + skip
                at += skip
            elif state >= HEXES:
                at, going = self._word(text, at)
                if not going:
                    break
            elif (character := text[at]) in BLANKS:
                at = SPACE.match(text, at).end()  # type: ignore[union-attr]
            elif self._structure(character, state):
                # A number's first character is read with the others.
                at += self._state != NUMBERS
            else:
                self.failed = True
        if final and self._state == NUMBERS and not self._open and not self.done and not self.failed:
            self._end_number()
        self.text = text[start:at] if mended is None else "".join((*mended, text[start:at]))
        return at

    def _string(self, text: str, at: int) -> tuple[int, str] | None:
        """At a quote, a backslash or a control character: how much to pass, and what to write instead."""
        character = text[at]
        if character == '"':
            self._end_string()
            return 1, ""
        if character != "\\":
            return 1, _escaped(character)
        if at + 1 >= len(text):
            return None
        escaped = text[at + 1]
        if escaped == "u":
            self._state, self._hexes = HEXES, 4
            return 2, ""
        if escaped in '"\\/bfnrt':
            return 2, ""
        return 2, "\\\\" + (escaped if escaped >= " " else _escaped(escaped))

    def _end_string(self) -> None:
        if self._in_key:
            self._in_key = False
            self._state = COLON
        else:
            self._end_value()

    def _word(self, text: str, at: int) -> tuple[int, bool]:
        """Within a number, a literal, or the digits of an escape: where it goes on, and whether it does."""
        if self._state == NUMBERS:
            end = DIGITS.match(text, at).end()  # type: ignore[union-attr]
            self._digits += text[at:end]
            if len(self._digits) > 400:
                self.failed = True
            elif end < len(text):
                self._end_number()
            return end, end < len(text) and not self.failed
        if self._state == HEXES:
            if text[at] not in HEX:
                self.failed = True
                return at, False
            self._hexes -= 1
            if not self._hexes:
                self._state = STRING
            return at + 1, True
        if text[at] != self._left[0]:
            self.failed = True
            return at, False
        self._left = self._left[1:]
        if not self._left:
            self._end_value()
        return at + 1, True

    def _end_number(self) -> None:
        if NUMBER.fullmatch(self._digits):
            self._digits = ""
            self._end_value()
        else:
            self.failed = True

    def _structure(self, character: str, state: int) -> bool:
        if state == AFTER:
            return self._after(character)
        if state == COLON:
            self._state = VALUE
            return character == ":"
        if state in (KEY, FIRST_KEY):
            self._state, self._in_key = STRING, True
            return character == '"' or (state == FIRST_KEY and character == "}" and self._close())
        if character == '"':
            self._state = STRING
        elif character in "{[":
            self._open.append(character)
            self._state = FIRST_KEY if character == "{" else FIRST_ITEM
            return len(self._open) <= MAX_DEPTH
        elif character in LITERALS:
            self._state, self._left = LITERAL, LITERALS[character][1:]
        elif character in "-0123456789":
            self._state = NUMBERS
        else:
            return state == FIRST_ITEM and character == "]" and self._close()
        return True

    def _after(self, character: str) -> bool:
        if character == ",":
            self._state = KEY if self._open[-1] == "{" else VALUE
            return True
        return character == ("}" if self._open[-1] == "{" else "]") and self._close()

    def _close(self) -> bool:
        self._in_key = False
        self._open.pop()
        self._end_value()
        return True

    def _end_value(self) -> None:
        self._state = AFTER
        self.done = not self._open


def _escaped(character: str) -> str:
    return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}.get(character) or f"\\u{ord(character):04x}"
