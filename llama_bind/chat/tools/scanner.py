"""Reading text that comes in pieces, by a generator that waits where it needs more.

Not for: what is read (``parser.py`` reads answers, the formats their calls). Nothing is looked at twice but a marker
that has only begun, and text that was taken for a call and is none.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TypeAlias, TypeVar

from llama_bind.chat.tools.json_scan import JsonScan
from llama_bind.chat.tools.markers import Markers

__all__ = ["EndOfText", "NotACall", "Scanner", "Steps"]

T = TypeVar("T")
Steps: TypeAlias = Generator[None, None, T]
"""What reads: it yields where it waits for more text."""

SPACE = re.compile(r"\s*")


class NotACall(Exception):  # noqa: N818 - says what is the case; nobody outside sees it
    """What is being read is no call: all of it goes back and comes as text. Never leaves the parser."""


class EndOfText(NotACall):
    """The text ended where more was needed."""


class Scanner:
    """Text and a place in it, and a record of what was consumed, so that it can be given back."""

    def __init__(self) -> None:
        self.buffer = ""
        self.at = 0
        self.ended = False
        self._taken: list[str] | None = None

    def add(self, text: str) -> None:
        """More text has come."""
        self.buffer = self.buffer[self.at :] + text if self.at < len(self.buffer) else text
        self.at = 0

    # Consuming

    def take(self, end: int) -> str:
        """Consume up to index `end` of the buffer."""
        piece = self.buffer[self.at : end]
        self.at = end
        if self._taken is not None:
            self._taken.append(piece)
        return piece

    def record(self) -> None:
        """From here on `give_back` can undo."""
        self._taken = []

    def keep(self) -> None:
        """What was consumed since `record` stays consumed."""
        self._taken = None

    def give_back(self) -> bool:
        """Undo everything consumed since `record`; False where nothing was recorded."""
        if self._taken is None:
            return False
        self.buffer = "".join(self._taken) + self.buffer[self.at :]
        self.at = 0
        self._taken = None
        return True

    # Waiting

    def more(self) -> Steps[bool]:
        """Wait for more text; False where there is none."""
        if self.ended:
            return False
        before = len(self.buffer) - self.at
        while True:
            yield
            if len(self.buffer) - self.at > before:
                return True
            if self.ended:
                return False

    def need(self) -> Steps[None]:
        """Wait for more text.

        Raises:
            EndOfText: There is none.
        """
        if not (yield from self.more()):
            raise EndOfText

    def peek(self) -> Steps[str]:
        """The next character, not consumed; "" at the end."""
        while self.at >= len(self.buffer):
            if not (yield from self.more()):
                return ""
        return self.buffer[self.at]

    # Reading

    def spaces(self) -> Steps[str]:
        """Consume white space, and return it."""
        found: list[str] = []
        while True:
            match = SPACE.match(self.buffer, self.at)
            if match is not None and match.end() > self.at:
                found.append(self.take(match.end()))
            if self.at < len(self.buffer) or not (yield from self.more()):
                return "".join(found)

    def next_is(self, text: str) -> Steps[bool]:
        """Whether `text` comes next; nothing is consumed."""
        while len(self.buffer) - self.at < len(text):
            if not text.startswith(self.buffer[self.at :]) or not (yield from self.more()):
                return False
        return self.buffer.startswith(text, self.at)

    def next_is_one_of(self, markers: Markers) -> Steps[bool]:
        """Whether one of `markers` comes next; nothing is consumed."""
        while True:
            marker = markers.begins(self.buffer, self.at, final=self.ended)
            if marker is not None:
                return marker != ""
            if not (yield from self.more()) and self.at >= len(self.buffer):
                return False

    def optional(self, text: str) -> Steps[bool]:
        """Consume `text` if it comes next, and whatever of it there is where the output ends within it."""
        if (yield from self.next_is(text)):
            self.take(self.at + len(text))
            return True
        if self.ended and self.at < len(self.buffer) and text.startswith(self.buffer[self.at :]):
            self.take(len(self.buffer))
        return False

    def expect(self, text: str) -> Steps[None]:
        """Consume `text`.

        Raises:
            NotACall: Something else comes.
        """
        if not (yield from self.next_is(text)):
            raise EndOfText if self.ended and text.startswith(self.buffer[self.at :]) else NotACall
        self.take(self.at + len(text))

    def pieces_until(self, markers: Markers) -> Generator[None, None, tuple[str, str]]:
        """Consume what certainly comes before the next of `markers`, and the marker.

        Returns:
            (text, marker): call it again while the marker is "" and the text is not: both are "" at the end.
        """
        while True:
            index, marker = markers.find(self.buffer, self.at, final=self.ended)
            if index > self.at or marker:
                text = self.take(index)
                if marker:
                    self.take(index + len(marker))
                return text, marker
            if not (yield from self.more()) and self.at >= len(self.buffer):
                return "", ""

    def until(self, markers: Markers, limit: int = 1000) -> Steps[tuple[str, str]]:
        """All text before the next of `markers`, which is consumed, and the marker.

        Raises:
            NotACall: There is none within `limit` characters.
        """
        found: list[str] = []
        size = 0
        while True:
            text, marker = yield from self.pieces_until(markers)
            found.append(text)
            size += len(text)
            if size > limit:
                raise NotACall
            if marker:
                return "".join(found), marker
            if not text:
                raise EndOfText

    def value_piece(self, scan: JsonScan) -> Steps[str]:
        """The next piece of the JSON value that `scan` reads, cleaned (see there).

        Raises:
            NotACall: It is not JSON.
            EndOfText: The output ends within it; `scan.rest` is then what is left of it.
        """
        while True:
            if self.at < len(self.buffer) or self.ended:
                end = scan.read(self.buffer, self.at, final=self.ended)
                if end > self.at or scan.done:
                    self.take(end)
                    return scan.text
                if scan.failed:
                    raise NotACall
                if self.ended:
                    scan.rest = self.take(len(self.buffer))
                    raise EndOfText
            yield from self.more()

    def value(self) -> Steps[str]:
        """The text of one JSON value.

        Raises:
            NotACall: It is not JSON, or the output ends within it.
        """
        scan = JsonScan()
        found: list[str] = []
        while not scan.done:
            found.append((yield from self.value_piece(scan)))
        return "".join(found)
