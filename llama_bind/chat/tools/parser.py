"""What every parser of a tool format shares: text, calls between its markers, calls as bare JSON, and the way back.

Not for: reasoning (``router.py``), or any one format.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable, Mapping, Sequence
from json.encoder import encode_basestring

from llama_bind.chat.events import OutputEvent, TextDelta, ToolCallArguments, ToolCallEnd, ToolCallStart
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Scanner, Steps

__all__ = ["CallParser", "new_call_id", "quoted"]

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
BARE = frozenset("{[`")
"""What a call that is written as bare JSON begins with."""
MOST = 4096
"""Most characters that are read at once."""
STRUCTURE = " \t\n\r,[]{}"


def new_call_id(size: int = 24, prefix: str = "call_") -> str:
    """An id for a call whose model gave it none: `prefix` and `size` random letters and digits."""
    return prefix + "".join(ALPHABET[byte % len(ALPHABET)] for byte in secrets.token_bytes(size))


def quoted(text: str) -> str:
    """`text` as it stands between the quotes of a JSON string."""
    return encode_basestring(text)[1:-1]


class CallParser(Scanner):
    """Base of parsers (an `OutputParser`). A format gives its markers and `read_call`.

    Text passes as it comes; only what may begin a marker waits. White space at the beginning of an answer, and around
    calls, waits for what follows: beside calls it is dropped. A stretch of text that begins with ``{``, ``[`` or a code
    fence is held until it is clear whether it is a call.

    Args:
        tools: What may be called; a name that is not among them makes no call.
        openings: Texts that begin a call.
        parallel: Whether more than one call is wanted; else `done` after the first.
    """

    def __init__(self, tools: Sequence[Tool], openings: Iterable[str], *, parallel: bool = True) -> None:
        super().__init__()
        self.tools: Mapping[str, Tool] = {tool.name: tool for tool in tools}
        self.openings = Markers(openings)
        self.parallel = parallel
        self.calls = 0
        self.done = False
        self.events: list[OutputEvent] = []
        self._open = False
        self._in_call = False
        self._steps = self._answer()
        # Whether nothing is held and the next text would be looked through for markers only.
        self._plain = not self.tools
        self._search = Markers(self.openings.texts if self.tools else ())
        if self.tools:
            next(self._steps)

    # What a format overrides

    def read_call(self, marker: str) -> Steps[None]:  # noqa: ARG002
        """Read what follows `marker`, one call or more, with `start_call` .. `end_call`, and what closes them.

        Raises:
            NotACall: It is none: what was consumed comes as text. So it is for formats without markers.
        """
        raise NotACall

    def read_bare(self) -> Steps[None]:
        """Read a call written as JSON alone; see `read_call`."""
        from llama_bind.chat.tools.bare import read_bare_calls

        yield from read_bare_calls(self)

    def new_id(self) -> str:
        """An id for a call that has none."""
        return new_call_id()

    # OutputParser

    def feed(self, text: str) -> list[OutputEvent]:
        """What `text` makes certain. Nothing more when `done`."""
        if self.done or not text:
            return []
        if self._plain and not self._search.may_begin(text):
            return [TextDelta(text)]
        if len(text) <= MOST:
            self.add(text)
            return self._go_on()
        # Long texts in parts: giving back copies what is left.
        return [event for at in range(0, len(text), MOST) for event in self.feed(text[at : at + MOST])]

    def finish(self) -> list[OutputEvent]:
        """What is left when the output has ended."""
        if self.ended:
            return []
        self.ended = True
        return self._go_on() if self.tools else []

    def _go_on(self) -> list[OutputEvent]:
        self._plain = False
        self.events = []
        next(self._steps, None)
        return self.events

    # Events

    def emit_text(self, text: str) -> None:
        """Some text of the answer."""
        if text:
            self.events.append(TextDelta(text))

    def start_call(self, name: str, id: str = "") -> None:
        """A call has begun for certain.

        Raises:
            NotACall: There is no such tool.
        """
        if name not in self.tools:
            raise NotACall
        self.keep()
        self._in_call = True
        self.events.append(ToolCallStart(self.calls, id or self.new_id(), name))

    def arguments(self, text: str) -> None:
        """More of the JSON text of its arguments."""
        if text:
            self.events.append(ToolCallArguments(self.calls, text))

    def end_call(self) -> None:
        """It is complete; what follows is another one, what closes it, or none."""
        self.events.append(ToolCallEnd(self.calls))
        self.calls += 1
        self.done = not self.parallel
        self._in_call = False
        self.record()

    # Reading what formats have in common

    def calls_until(self, closing: str, opening: str, one: Callable[[], Steps[None]]) -> Steps[None]:
        """Read calls by `one`, all but the first after `opening`, and what closes them."""
        while True:
            yield from one()
            if self.done:
                return
            yield from self.spaces()
            if not (yield from self.optional(opening)):
                break
        yield from self.close(closing)

    def close(self, closing: str) -> Steps[None]:
        """Read what closes calls; where that is missing, what stands there is text. Nothing once `done`."""
        if self.done:
            return
        yield from self.spaces()
        if (yield from self.optional(closing)) or self.ended:
            self.record()
        else:
            self.give_back()

    # The answer

    def _answer(self) -> Steps[None]:
        fresh = True
        while not self.done:
            space = ""
            if fresh:
                space = yield from self.spaces()
                following = yield from self.peek()
                if not following:
                    # White space alone is an answer; behind a call it is none.
                    self.emit_text("" if self.calls else space)
                    return
                if following in BARE and not (yield from self.next_is_one_of(self.openings)):
                    if (yield from self._attempt(self.read_bare(), space)):
                        continue
                    space = ""
            marker = yield from self._text(space)
            if marker is None:
                return
            fresh = yield from self._attempt(self.read_call(marker[1]), "".join(marker))

    def _text(self, space: str) -> Steps[tuple[str, str] | None]:
        """Text up to a marker.

        Returns:
            White space right before the marker that belongs to no text, and the marker; None at the end.
        """
        while True:
            index, marker = self.openings.find(self.buffer, self.at, final=self.ended)
            if index > self.at:
                self.emit_text(space + self.take(index))
                space = ""
            if marker:
                self.take(index + len(marker))
                return space, marker
            self._plain = self.at >= len(self.buffer)
            if not (yield from self.more()) and self.at >= len(self.buffer):
                self.emit_text(space)
                return None

    def _attempt(self, steps: Steps[None], before: str) -> Steps[bool]:
        """Read a call; where it is none, `before` is text, and what was consumed is read again as text.

        Returns:
            Whether it was read to its end.
        """
        calls = self.calls
        self._in_call = False
        self.record()
        try:
            yield from steps
        except NotACall as error:
            if self._in_call:
                # Cut or broken after it had begun: what there is of it has been delivered.
                self.calls += 1
                self._in_call = False
                return False
            if self.calls > calls and isinstance(error, EndOfText) and not "".join(self._taken or ()).strip(STRUCTURE):
                # Cut between calls.
                return True
            if self.calls == calls:
                self.emit_text(before)
            self.give_back()
            return False
        finally:
            self.keep()
        return True
