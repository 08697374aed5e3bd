"""What an answer turns out to be, piece by piece: text, reasoning, tool calls. Not for: finding it out (router)."""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

__all__ = ["OutputEvent", "ReasoningDelta", "TextDelta", "ToolCallArguments", "ToolCallEnd", "ToolCallStart"]


class TextDelta(NamedTuple):
    """More of the answer's text."""

    text: str


class ReasoningDelta(NamedTuple):
    """More of what the model thinks before it answers."""

    text: str


class ToolCallStart(NamedTuple):
    """A tool call begins. `index` counts the calls of one answer from 0; `id` is the model's own or a new one."""

    index: int  # type: ignore[assignment]  # hides tuple's method of that name
    id: str
    name: str


class ToolCallArguments(NamedTuple):
    """More of the arguments of call `index`: pieces that together are the text of a JSON object."""

    index: int  # type: ignore[assignment]  # hides tuple's method of that name
    text: str


class ToolCallEnd(NamedTuple):
    """Call `index` is complete. It is missing where the output ended in the middle of one."""

    index: int  # type: ignore[assignment]  # hides tuple's method of that name


OutputEvent: TypeAlias = TextDelta | ReasoningDelta | ToolCallStart | ToolCallArguments | ToolCallEnd
