"""The chunks of a streamed chat completion: what each says as events, and all of them as one completion.

Not for: making chunks (``results.py``).
"""

from __future__ import annotations

from typing import Any

from llama_bind.chat.events import ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from llama_bind.types import ChatCompletion, ChatCompletionChunk

__all__ = ["Collector"]

_COPIED = ("id", "created", "model", "usage", "timings", "seed")


class Collector:
    """Reads chunks of one choice; linear in their number."""

    def __init__(self) -> None:
        self._text: list[str] = []
        self._reasoning: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}
        self._arguments: dict[int, list[str]] = {}
        self._logprobs: list[Any] | None = None
        self._reason: str | None = None
        self._last: dict[str, Any] = {}

    def add(self, chunk: ChatCompletionChunk) -> list[TextDelta | ReasoningDelta | ToolCallStart | ToolCallArguments]:
        """What a chunk adds."""
        self._last |= {key: chunk[key] for key in _COPIED if chunk.get(key) is not None}  # type: ignore[literal-required]
        events: list[TextDelta | ReasoningDelta | ToolCallStart | ToolCallArguments] = []
        for choice in chunk["choices"]:
            delta: Any = choice["delta"]
            self._reason = choice["finish_reason"] or self._reason
            if choice["logprobs"]:
                self._logprobs = self._logprobs or []
                self._logprobs += choice["logprobs"]["content"] or []
            if delta.get("reasoning_content"):
                self._reasoning.append(delta["reasoning_content"])
                events.append(ReasoningDelta(delta["reasoning_content"]))
            if delta.get("content"):
                self._text.append(delta["content"])
                events.append(TextDelta(delta["content"]))
            for call in delta.get("tool_calls") or ():
                events += self._call(call)
        return events

    def _call(self, delta: Any) -> list[ToolCallStart | ToolCallArguments]:
        index, function = delta["index"], delta.get("function") or {}
        events: list[ToolCallStart | ToolCallArguments] = []
        if index not in self._calls:
            self._calls[index] = {"id": delta.get("id") or "", "type": "function", "name": function.get("name") or ""}
            self._arguments[index] = []
            events.append(ToolCallStart(index, self._calls[index]["id"], self._calls[index]["name"]))
        if function.get("arguments"):
            self._arguments[index].append(function["arguments"])
            events.append(ToolCallArguments(index, function["arguments"]))
        return events

    def completion(self) -> ChatCompletion:
        """All chunks as one."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._text)}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["content"] = message["content"] or None
            message["tool_calls"] = [
                {
                    "id": call["id"],
                    "type": "function",
                    "function": {"name": call["name"], "arguments": "".join(self._arguments[index])},
                }
                for index, call in sorted(self._calls.items())
            ]
        choice = {
            "index": 0,
            "message": message,
            "logprobs": None if self._logprobs is None else {"content": self._logprobs, "refusal": None},
            "finish_reason": self._reason,
        }
        made: Any = {"object": "chat.completion", **self._last, "choices": [choice]}
        made.setdefault("usage", {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0})
        return made  # type: ignore[no-any-return]
