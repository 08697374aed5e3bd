"""Builds messages and streamed events in Anthropic's shape, as a reader finds text, thoughts and calls in the output.

A whole message is put together from the events that a stream of it would have: the two cannot differ. Not for: finding
them (``chat.router``), or bytes (``frames``).
"""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from pydantic_core import from_json

from llama_bind.chat.events import OutputEvent, ReasoningDelta, TextDelta, ToolCallArguments, ToolCallStart
from llama_bind.chat_results import Reader
from llama_bind.results import Shape
from llama_bind.values import FinishEvent, PieceEvent, Usage

__all__ = ["OPENING", "MessageShape"]

OPENING = 2
"""Events of a stream that come before the model has written anything."""

Event = dict[str, Any]


class MessageShape(Shape):
    """One message.

    Args:
        model: Name in the answer.
        n_prompt: Tokens of the prompt.
        reader: Makes what reads the output.
        stops: The caller's stop sequences.
        limit: The caller's max_tokens.
        show_thinking: If not, thoughts are left out, and only their blocks are there.
    """

    def __init__(
        self,
        model: str,
        n_prompt: int,
        *,
        reader: Callable[[], Reader],
        stops: Sequence[str] = (),
        limit: int | None = None,
        show_thinking: bool = True,
    ) -> None:
        super().__init__(model, 1)
        self.id = f"msg_{uuid.uuid4().hex}"
        self._n_prompt = n_prompt
        self._stops = frozenset(stops)
        self._limit = limit
        self._reader = reader()
        self._writer = _Writer(show_thinking)

    def opening(self) -> list[Event]:
        """Events before any output. What of the prompt was in memory is known at the end only."""
        message = self._message([], None, None, _usage(Usage(self._n_prompt, 0)))
        return [{"type": "message_start", "message": message}, {"type": "ping"}]

    def chunks(self, _index: int, event: PieceEvent | FinishEvent, *, usage: bool) -> list[Event]:
        """Events for one of the engine. The usage is always told."""
        del usage
        if isinstance(event, PieceEvent):
            return self._writer.events(self._reader.feed(event.text)) if event.text else []
        self.finishes[0] = event
        rest = self._writer.events(self._reader.finish()) + self._writer.close()
        reason, stop = self._end(event)
        delta = {"stop_reason": reason, "stop_sequence": stop}
        return [
            *rest,
            {"type": "message_delta", "delta": delta, "usage": _usage(event.usage)},
            {"type": "message_stop"},
        ]

    def closing(self, *, usage: bool) -> list[Event]:
        """Nothing: the last event of the engine closes the message."""
        del usage
        return []

    def result(self) -> dict[str, Any]:
        """The whole message, when it has finished."""
        finish = self.finishes[0]
        text = "".join(piece.text for piece in self.pieces[0])
        events = [event for part in (PieceEvent(text), finish) for event in self.chunks(0, part, usage=True)]
        end = events[-2]
        return self._message(_content(events), end["delta"]["stop_reason"], end["delta"]["stop_sequence"], end["usage"])

    def _end(self, event: FinishEvent) -> tuple[str, str | None]:
        """Why it ended, and by which stop sequence."""
        if event.reason == "stop":
            if event.stop in self._stops:
                return "stop_sequence", event.stop
            return ("tool_use" if self._writer.called else "end_turn"), None
        full = event.reason == "length" and self._limit is not None and event.usage.completion_tokens < self._limit
        # A deadline has no word of its own there: the text is cut short as by a limit.
        return ("model_context_window_exceeded" if full else "max_tokens"), None

    def _message(self, content: list[Any], reason: str | None, stop: str | None, usage: Event) -> dict[str, Any]:
        return {
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": content,
            "stop_reason": reason,
            "stop_sequence": stop,
            "usage": usage,
        }


class _Writer:
    """Turns what a reader finds into blocks, numbered as they begin. Only one is open at a time."""

    def __init__(self, show_thinking: bool) -> None:
        self._show = show_thinking
        self._next = 0
        self._open = ""
        self._digest = hashlib.sha256()
        self.called = False

    def events(self, found: Sequence[OutputEvent]) -> list[Event]:
        return [event for one in found for event in self._of(one)]

    def _of(self, event: OutputEvent) -> Iterator[Event]:
        if isinstance(event, TextDelta):
            if event.text:
                if self._open != "text":
                    yield from self._begin("text", {"type": "text", "text": ""})
                yield self._delta({"type": "text_delta", "text": event.text})
        elif isinstance(event, ReasoningDelta):
            if self._open != "thinking":
                yield from self._begin("thinking", {"type": "thinking", "thinking": "", "signature": ""})
                self._digest = hashlib.sha256()
            self._digest.update(event.text.encode())
            if self._show:
                yield self._delta({"type": "thinking_delta", "thinking": event.text})
        elif isinstance(event, ToolCallStart):
            self.called = True
            yield from self._begin("tool_use", {"type": "tool_use", "id": event.id, "name": event.name, "input": {}})
        elif isinstance(event, ToolCallArguments):
            yield self._delta({"type": "input_json_delta", "partial_json": event.text})
        else:
            yield from self.close()

    def _begin(self, kind: str, block: Event) -> Iterator[Event]:
        yield from self.close()
        self._open = kind
        self._next += 1
        yield {"type": "content_block_start", "index": self._next - 1, "content_block": block}

    def _delta(self, delta: Event) -> Event:
        return {"type": "content_block_delta", "index": self._next - 1, "delta": delta}

    def close(self) -> list[Event]:
        """Close the block that is open, if one is."""
        if not self._open:
            return []
        events = []
        if self._open == "thinking":
            # A checksum, no proof: clients drop thoughts that have none when they send the conversation back.
            signature = base64.b64encode(self._digest.digest()).decode("ascii")
            events.append(self._delta({"type": "signature_delta", "signature": signature}))
        self._open = ""
        return [*events, {"type": "content_block_stop", "index": self._next - 1}]


def _content(events: Sequence[Event]) -> list[Event]:
    """The blocks that the events of a stream come to."""
    blocks: list[Event] = []
    texts: list[str] = []
    for event in events:
        if event["type"] == "content_block_start":
            blocks.append(event["content_block"])
            texts = []
        elif event["type"] == "content_block_delta":
            delta = event["delta"]
            if delta["type"] == "signature_delta":
                blocks[-1]["signature"] = delta["signature"]
            else:
                texts.append(delta[_KEYS[delta["type"]]])
        elif event["type"] == "content_block_stop":
            kind, text = blocks[-1]["type"], "".join(texts)
            blocks[-1].update({"input": _input(text)} if kind == "tool_use" else {kind: text})
    return blocks


_KEYS = {"text_delta": "text", "thinking_delta": "thinking", "input_json_delta": "partial_json"}


def _input(text: str) -> dict[str, Any]:
    """The arguments of a call; of a call that was cut off those that are complete, as Anthropic's clients read them."""
    try:
        value = from_json(text, allow_partial=True)
    except ValueError:  # nothing is complete yet
        return {}
    return value if isinstance(value, dict) else {}


def _usage(usage: Usage) -> Event:
    """Counts in Anthropic's sense: what was in memory does not count among the input tokens."""
    return {
        "input_tokens": usage.prompt_tokens - usage.cached_tokens,
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": usage.cached_tokens,
        "output_tokens": usage.completion_tokens,
    }
