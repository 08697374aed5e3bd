"""Answers in which a letter stands for what a reader of a model's text finds: text, thoughts, calls.

Not for: real text, or what is made of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llama_bind.chat.events import (
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from llama_bind.values import FinishEvent, PieceEvent, Timings, TokenLogprob, Usage

PIECES: dict[str, list[OutputEvent]] = {
    "R": [ReasoningDelta("hm")],
    "T": [TextDelta("Let me see.")],
    " ": [TextDelta("\n\n")],
    "X": [ReasoningDelta(" so"), TextDelta("Well")],
    "C": [ToolCallStart(0, "call_1", "add"), ToolCallArguments(0, '{"a": ')],
    "D": [ToolCallArguments(0, "1}"), ToolCallEnd(0)],
    "E": [ToolCallStart(1, "call_2", "sub"), ToolCallArguments(1, "{}"), ToolCallEnd(1)],
    "-": [],
}


class Letters:
    """A reader: one letter, some events; "w" is held back to the end."""

    def __init__(self) -> None:
        self.held = ""

    def feed(self, text: str) -> Sequence[OutputEvent]:
        self.held += "w" * text.count("w")
        return [event for letter in text if letter != "w" for event in PIECES[letter]]

    def finish(self) -> Sequence[OutputEvent]:
        return [TextDelta(self.held)] if self.held else []


def piece(letter: str, number: int) -> PieceEvent:
    """A token that a reader of letters reads; its log probability is minus its number."""
    top = (TokenLogprob(1, b"a", -0.5), TokenLogprob(2, b"\xf0\x9f", -1.5))
    return PieceEvent(letter, (number,), (TokenLogprob(number, letter.encode(), -float(number), top),))


def finish(reason: Any = "stop") -> FinishEvent:
    """The end of a text with 10 tokens of prompt, 4 of them in memory already, and 5 of output."""
    return FinishEvent(reason, Usage(10, 5, 4), Timings(0.1, 0.5, 2.0, 10, 5), 42, None)
