"""Gemma 4 and FunctionGemma: ``call:name{key:value}`` between marks, strings between marks of their own.

Keys stand bare, lists and objects as in JSON, numbers and ``true`` likewise. Gemma 4 leaves channels about, empty or
closed twice, which are taken out. Not for: Gemma 2 and 3, whose templates know of no tools.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Sequence

from llama_bind.chat.events import OutputEvent, ReasoningDelta
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.gemma_grammar import call_rules
from llama_bind.chat.tools.json_scan import JsonScan
from llama_bind.chat.tools.lark import alternatives
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser, quoted
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps

__all__ = ["FUNCTION", "GEMMA4", "GemmaFormat", "GemmaParser"]

CHANNEL, CHANNEL_END = "<|channel>", "<channel|>"
HEAD = "call:"
MAX_DEPTH = 60
SCALAR = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?|true|false|null")
SCALAR_ENDS = Markers((",", "}", "]"))
NAME_END = Markers(("{",))
KEY_END = Markers((":",))
CHANNEL_ENDS = Markers((CHANNEL_END,))


class GemmaParser(CallParser):
    """Reads calls, and takes out channels."""

    def __init__(self, form: GemmaFormat, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (*((form.opening,) if tools else ()), *form.channels), parallel=parallel)
        self._form = form
        self._quote = Markers((form.quote,))
        if not tools and form.channels:
            # Channels are taken out in any case.
            self._plain, self._search = True, self.openings
            next(self._steps)

    def finish(self) -> list[OutputEvent]:
        if self.tools or self.ended or not self._form.channels:
            return super().finish()
        self.ended = True
        return self._go_on()

    def read_bare(self) -> Steps[None]:
        if not self.tools:
            raise NotACall
        yield from super().read_bare()

    def read_call(self, marker: str) -> Steps[None]:
        if marker in (CHANNEL, CHANNEL_END):
            self.keep()
            if marker == CHANNEL and (yield from self.optional("thought")):
                yield from self._thought()
            return
        yield from self.spaces()
        yield from self.expect(HEAD)
        name, _ = yield from self.until(NAME_END, limit=200)
        self.start_call(name.strip())
        yield from self._object(0)
        self.end_call()
        yield from self.close(self._form.closing)

    def _thought(self) -> Steps[None]:
        yield from self.spaces()
        while True:
            text, marker = yield from self.pieces_until(CHANNEL_ENDS)
            if text:
                self.events.append(ReasoningDelta(text))
            if marker or not text:
                return

    # Values

    def _object(self, depth: int) -> Steps[None]:
        """The members of an object and its end; its beginning has been read."""
        count = 0
        while True:
            yield from self.spaces()
            if (yield from self._closed("}")):
                self.arguments("}" if count else "{}")
                return
            key = yield from self._key()
            self.arguments(f'{", " if count else "{"}"{quoted(key)}": ')
            count += 1
            yield from self._value(depth + 1)

    def _array(self, depth: int) -> Steps[None]:
        count = 0
        while True:
            yield from self.spaces()
            if (yield from self._closed("]")):
                self.arguments("]" if count else "[]")
                return
            self.arguments(", " if count else "[")
            count += 1
            yield from self._value(depth + 1)

    def _closed(self, end: str) -> Steps[bool]:
        """Whether the end comes next, which is consumed, as is a comma before it or before a value."""
        if (yield from self.peek()) == ",":
            self.take(self.at + 1)
            yield from self.spaces()
        following = yield from self.peek()
        if not following:
            raise EndOfText
        if following == end:
            self.take(self.at + 1)
        return following == end

    def _key(self) -> Steps[str]:
        if (yield from self.optional(self._form.quote)):
            key, _ = yield from self.until(self._quote)
        elif (yield from self.peek()) == '"':
            loaded = json.loads((yield from self.value()))
            key = loaded if isinstance(loaded, str) else ""
        else:
            key, _ = yield from self.until(KEY_END)
            return key.strip()
        yield from self.spaces()
        yield from self.expect(":")
        return key

    def _value(self, depth: int) -> Steps[None]:
        if depth > MAX_DEPTH:
            raise NotACall
        yield from self.spaces()
        if (yield from self.optional(self._form.quote)):
            yield from self._string()
            return
        following = yield from self.peek()
        if following == "{":
            self.take(self.at + 1)
            yield from self._object(depth)
        elif following == "[":
            self.take(self.at + 1)
            yield from self._array(depth)
        elif following == '"':
            scan = JsonScan()
            while not scan.done:
                self.arguments((yield from self.value_piece(scan)))
        else:
            yield from self._scalar()

    def _string(self) -> Steps[None]:
        self.arguments('"')
        while True:
            text, marker = yield from self.pieces_until(self._quote)
            self.arguments(quoted(text))
            if marker:
                self.arguments('"')
                return
            if not text:
                raise EndOfText

    def _scalar(self) -> Steps[None]:
        held: list[str] = []
        while True:
            index, marker = SCALAR_ENDS.find(self.buffer, self.at, final=self.ended)
            held.append(self.take(index))
            if marker:
                break
            if not (yield from self.more()):
                self.arguments("".join(held).strip())
                raise EndOfText
        text = "".join(held).strip()
        if not text:
            # Nothing would be consumed: a list that ends like an object would never end.
            raise NotACall
        self.arguments(text if SCALAR.fullmatch(text) else f'"{quoted(text)}"')


@dataclasses.dataclass(frozen=True)
class GemmaFormat:
    """A `ToolFormat`.

    Attributes:
        name: See `ToolFormat`.
        opening: Begins a call.
        closing: Ends it.
        quote: Stands on both sides of a string.
        channels: Marks of channels.
    """

    name: str
    opening: str
    closing: str
    quote: str
    channels: tuple[str, ...] = ()
    reads_reasoning: bool = False

    @property
    def markers(self) -> tuple[str, ...]:
        """See `ToolFormat`."""
        return (self.opening, self.closing, self.quote, *self.channels)

    @property
    def ends_reasoning(self) -> tuple[str, ...]:
        """See `ToolFormat`."""
        return (self.opening,)

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return self.opening in template and HEAD in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return GemmaParser(self, tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        rules = [f"start: tagged{' tagged*' if required and parallel else ''}", "tagged: opening call closing"]
        rules.append(alternatives("call", "call_", len(tools)))
        for number, tool in enumerate(tools):
            rules += call_rules(tool, f"call_{number}", HEAD + tool.name, self.quote)
        markers = {"opening": self.opening, "closing": self.closing, "quote": self.quote}
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=() if required else (self.opening,))


GEMMA4 = GemmaFormat("gemma4", "<|tool_call>", "<tool_call|>", '<|"|>', (CHANNEL, CHANNEL_END))

FUNCTION = GemmaFormat("function_gemma", "<start_function_call>", "<end_function_call>", "<escape>")
