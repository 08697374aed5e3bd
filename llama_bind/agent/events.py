"""Events of a run of tools, as `Llama.stream_tools` yields them.

The model's writing comes as in ``chat/events.py``: `TextDelta`, `ReasoningDelta`, `ToolCallStart` (with the name) and
`ToolCallArguments`. Not for: the values that they carry (``values.py``).
"""

from __future__ import annotations

from typing import NamedTuple, TypeAlias

from llama_bind.agent.values import Round, ToolCall, ToolOutcome, ToolRun
from llama_bind.chat.events import ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart

__all__ = ["RoundEnded", "RunFinished", "ToolFinished", "ToolRunEvent", "ToolStarted"]


class ToolStarted(NamedTuple):
    """A function is about to run."""

    call: ToolCall


class ToolFinished(NamedTuple):
    """What became of a call. Calls that run at the same time finish in any order."""

    outcome: ToolOutcome


class RoundEnded(NamedTuple):
    """An answer, and all calls in it, are done. `number` counts from 0."""

    number: int
    round: Round


class RunFinished(NamedTuple):
    """The last event."""

    result: ToolRun


ToolRunEvent: TypeAlias = (
    TextDelta
    | ReasoningDelta
    | ToolCallStart
    | ToolCallArguments
    | ToolStarted
    | ToolFinished
    | RoundEnded
    | RunFinished
)
