"""What a run of tools is made of: calls, their outcomes, rounds, the result. Plain values.

Not for: the events of a run that goes on (``events.py``).
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

from llama_bind.types import ChatCompletion
from llama_bind.values import Usage

__all__ = ["Outcome", "Round", "ToolCall", "ToolOutcome", "ToolRun"]

Outcome = Literal["result", "error", "timeout", "refused", "unknown", "invalid"]
"""What became of a call: the function returned, raised or took too long; `approve` refused it; there is no such tool;
the arguments do not fit.
"""


@dataclasses.dataclass(frozen=True)
class ToolCall:
    """A call that the model asks for.

    Attributes:
        id: The model's own, or a new one.
        name: The tool.
        arguments: JSON text, as the model wrote it.
        values: The same as the function takes them; None where it does not run: unknown, not valid, or the caller's.
    """

    id: str
    name: str
    arguments: str
    values: dict[str, Any] | None = None


@dataclasses.dataclass(frozen=True)
class ToolOutcome:
    """What became of a call.

    Attributes:
        call: The call.
        kind: See `Outcome`.
        content: What the model is told.
        value: What the function returned.
        error: What it raised.
        seconds: How long it took.
    """

    call: ToolCall
    kind: Outcome
    content: str
    value: Any = None
    error: Exception | None = None
    seconds: float = 0.0

    def message(self) -> dict[str, Any]:
        """The message with which the model gets it."""
        return {"role": "tool", "tool_call_id": self.call.id, "name": self.call.name, "content": self.content}


@dataclasses.dataclass(frozen=True)
class Round:
    """One answer of the model, and what became of the calls in it, in their order."""

    completion: ChatCompletion
    outcomes: tuple[ToolOutcome, ...] = ()


@dataclasses.dataclass(frozen=True)
class ToolRun:
    """The result of a run.

    Attributes:
        message: The last message of the model.
        messages: The whole conversation: what was given and all that came; it can be given to the next call.
        given: How many of `messages` were given.
        usage: Tokens of all rounds together; a prompt counts in each round, mostly as cached.
        rounds: One for each answer of the model.
        finish_reason: Of the last answer: "stop"; "length" or "deadline" where a limit cut it (its calls, if any, were
            not run); "tool_calls" where `pending` waits for the caller.
        pending: Calls of tools that were given as declarations only. Add a message for each and go on.
        limited: `max_rounds` was reached: the last answer had to do without tools.
    """

    message: dict[str, Any]
    messages: list[dict[str, Any]]
    given: int
    usage: Usage
    rounds: tuple[Round, ...]
    finish_reason: str
    pending: tuple[ToolCall, ...] = ()
    limited: bool = False

    @property
    def text(self) -> str:
        """The text of the last message."""
        return str(self.message.get("content") or "")

    @property
    def new_messages(self) -> list[dict[str, Any]]:
        """The messages that came."""
        return self.messages[self.given :]

    @property
    def outcomes(self) -> list[ToolOutcome]:
        """What became of all calls, in their order."""
        return [outcome for one in self.rounds for outcome in one.outcomes]
