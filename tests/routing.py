"""Runs outputs through parsers and routers in pieces of any size, and merges what comes out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol
from unittest import mock

from llama_bind.chat.events import (
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from llama_bind.chat.tools.base import Tool

__all__ = ["Call", "Read", "merged", "pieces", "read", "tool", "whole"]


class Readable(Protocol):
    def feed(self, text: str) -> list[OutputEvent]: ...

    def finish(self) -> list[OutputEvent]: ...


@dataclasses.dataclass
class Call:
    """A call as it was delivered; `ended` is whether its end was."""

    name: str
    arguments: str
    id: str = ""
    ended: bool = False


@dataclasses.dataclass
class Read:
    """What was read. `order` tells what came after what: "t", "r", "c", runs of one kind as one letter."""

    text: str = ""
    reasoning: str = ""
    calls: list[Call] = dataclasses.field(default_factory=list)
    order: str = ""

    def short(self) -> tuple[str, str, list[tuple[str, str]]]:
        """Text, reasoning, and names and arguments of the calls."""
        return self.text, self.reasoning, [(call.name, call.arguments) for call in self.calls]


def tool(name: str, required: Sequence[str] = (), **properties: Any) -> Tool:
    """A tool whose arguments have these schemas; a word stands for a type."""
    schemas = {key: {"type": value} if isinstance(value, str) else value for key, value in properties.items()}
    return Tool(name, {"type": "object", "properties": schemas, "required": list(required)})


def pieces(text: str, cuts: Iterable[int]) -> list[str]:
    """`text` cut at these places."""
    places = sorted({cut for cut in cuts if 0 < cut < len(text)})
    return [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]


def read(reader: Readable, parts: Iterable[str]) -> list[OutputEvent]:
    """All events of an output."""
    events = [event for part in parts for event in reader.feed(part)]
    return events + reader.finish()


def whole(make: Callable[[], Readable], text: str, cuts: Iterable[int] = ()) -> Read:
    """What is read of `text`: the same whole, character by character and cut at `cuts`. New ids are zeros."""
    with mock.patch("secrets.token_bytes", bytes):
        at_once = merged(read(make(), [text]))
        one_by_one = merged(read(make(), text))
        assert at_once == one_by_one, (at_once, one_by_one)
        if cuts:
            in_parts = merged(read(make(), pieces(text, cuts)))
            assert at_once == in_parts, (at_once, in_parts)
    return at_once


def merged(events: Iterable[OutputEvent]) -> Read:
    """Events put together; an id of zeros (see `whole`) is none."""
    found = Read()
    for event in events:
        if isinstance(event, TextDelta):
            found.text += event.text
        elif isinstance(event, ReasoningDelta):
            found.reasoning += event.text
        elif isinstance(event, ToolCallStart):
            assert event.index == len(found.calls)
            made = event.id in ("call_" + 24 * "0", 9 * "0")
            found.calls.append(Call(event.name, "", "" if made else event.id))
        elif isinstance(event, ToolCallArguments):
            assert event.index == len(found.calls) - 1
            assert not found.calls[-1].ended
            found.calls[-1].arguments += event.text
        else:
            assert isinstance(event, ToolCallEnd)
            assert event.index == len(found.calls) - 1
            found.calls[-1].ended = True
        assert not isinstance(event, (TextDelta, ReasoningDelta, ToolCallArguments)) or event.text
        kind = "t" if isinstance(event, TextDelta) else "r" if isinstance(event, ReasoningDelta) else "c"
        if not found.order.endswith(kind) or isinstance(event, ToolCallStart):
            found.order += kind
    return found
