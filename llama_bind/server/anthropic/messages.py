"""The system prompt and the messages of Anthropic's API as messages in OpenAI's shape.

Not for: texts of single blocks (``blocks``), or rendering (``chat``).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.server.anthropic.blocks import block_of, block_text, no_such_block, result_message, tool_call
from llama_bind.server.anthropic.checks import as_list, as_object, as_text, refused

__all__ = ["read_messages"]

_ROLES = ("user", "assistant", "system")
_KNOWN: Mapping[str, tuple[str, ...]] = {
    "user": ("text", "document", "search_result", "tool_result", "mid_conv_system"),
    "assistant": ("text", "thinking", "redacted_thinking", "tool_use"),
    "system": ("text",),
}
"""Types of blocks by the role that may have them."""

# Claude Code puts a line of accounting before its system prompt, with a stamp that differs each time: nothing behind
# it would ever be found in memory again.
_STAMP = re.compile(r"\A(x-anthropic-billing-header:[^\n]*?\bcch=)\w+")


def read_messages(system: Any, messages: Sequence[Any]) -> list[dict[str, Any]]:
    """A conversation.

    Messages of one role that follow each other are one turn. Results of tools stand before what else the user says in
    the same turn, behind the calls that they answer.

    Args:
        system: A text, a list of text blocks, or None.
        messages: As they were sent.

    Raises:
        ApiError: what cannot be read; its message names the place.
    """
    found: list[dict[str, Any]] = []
    turn = _Turn("system" if system else "")
    if system:
        turn.take(system, "system")
    for index, one in enumerate(messages):
        where = f"messages.{index}"
        message = as_object(one, where)
        role = as_text(message, "role", where)
        if role not in _ROLES:
            raise refused(f"{where}.role", f"must be one of {', '.join(_ROLES)}, not {role[:80]!r}")
        if role != turn.role:
            found += turn.messages()
            turn = _Turn(role)
        if message.get("content") is None:
            raise refused(f"{where}.content", "is missing", "missing_required_parameter")
        turn.take(message["content"], f"{where}.content")
    return [*found, *turn.messages()]


class _Turn:
    """What one side says before the other does.

    Attributes:
        role: Whose turn it is; "" for nobody's.
        said: Texts by role, in order: the system may speak within a user's turn.
    """

    def __init__(self, role: str) -> None:
        self.role = role
        self.said: list[tuple[str, list[dict[str, Any]]]] = []
        self._thoughts: list[str] = []
        self._calls: list[dict[str, Any]] = []
        self._results: list[dict[str, Any]] = []

    def take(self, content: Any, where: str) -> None:
        """Add a content: a text, or blocks."""
        if isinstance(content, str):
            self._say(content)
            return
        for index, value in enumerate(as_list(content, where)):
            self._block(value, f"{where}.{index}")

    def _block(self, value: Any, where: str) -> None:
        kind, block = block_of(value, where)
        if kind not in _KNOWN[self.role]:
            raise no_such_block(kind, where, _KNOWN[self.role])
        if kind == "thinking":
            self._thoughts.append(as_text(block, "thinking", where))
        elif kind == "tool_use":
            self._calls.append(tool_call(block, where))
        elif kind == "tool_result":
            self._results.append(result_message(block, where))
        elif kind == "mid_conv_system":
            inner = f"{where}.content"
            for index, one in enumerate(as_list(block.get("content"), inner)):
                self._say(block_text(one, f"{inner}.{index}"), "system")
        elif kind != "redacted_thinking":  # that is Anthropic's to read
            self._say(block_text(value, where))

    def _say(self, text: str, role: str = "") -> None:
        role = role or self.role
        if role == "system":
            text = _STAMP.sub(r"\g<1>00000", text)
        if not self.said or self.said[-1][0] != role:
            self.said.append((role, []))
        self.said[-1][1].append({"type": "text", "text": text})

    def messages(self) -> list[dict[str, Any]]:
        """The turn in OpenAI's shape."""
        said: list[dict[str, Any]] = [{"role": role, "content": _content(parts)} for role, parts in self.said]
        if self.role == "assistant":
            return [self._answer(said)]
        if self.role and not said and not self._results:
            said = [{"role": self.role, "content": ""}]
        return [*self._results, *said]

    def _answer(self, said: list[dict[str, Any]]) -> dict[str, Any]:
        message: dict[str, Any] = said[0] if said else {"role": "assistant", "content": ""}
        thoughts = "\n".join(filter(None, self._thoughts))
        if thoughts:
            message["reasoning_content"] = thoughts
        if self._calls:
            message["tool_calls"] = self._calls
        return message


def _content(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    text: str = parts[0]["text"]
    return text if len(parts) == 1 else parts
