"""Builds OpenAI-shaped dicts of chat completions: text, reasoning, tool calls, as a reader finds them in the output.

Pure. Not for: finding them (``chat.router``), or plain completions (``results``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from llama_bind.chat.events import (
    OutputEvent,
    ReasoningDelta,
    TextDelta,
    ToolCallArguments,
    ToolCallEnd,
    ToolCallStart,
)
from llama_bind.results import Shape
from llama_bind.types import (
    ChatCompletion,
    ChatCompletionChunk,
    ChatCompletionChunkChoice,
    ChatCompletionDelta,
    ChatCompletionMessage,
    ChatLogprobs,
    ChatTokenLogprob,
    ToolCallFunction,
)
from llama_bind.values import FinishEvent, PieceEvent, TokenLogprob

__all__ = ["ChatShape", "PlainReader", "Reader"]


class Reader(Protocol):
    """Reads one output as it comes."""

    def feed(self, text: str) -> Sequence[OutputEvent]:
        """What `text` makes certain."""
        ...

    def finish(self) -> Sequence[OutputEvent]:
        """What is left at the end."""
        ...


class PlainReader:
    """All of an output is text."""

    def feed(self, text: str) -> Sequence[OutputEvent]:
        return (TextDelta(text),) if text else ()

    def finish(self) -> Sequence[OutputEvent]:
        return ()


class _Message:
    """Collects what one choice says."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.reasoning: list[str] = []
        self.calls: list[tuple[ToolCallStart, list[str]]] = []

    def take(self, events: Iterable[OutputEvent]) -> None:
        for event in events:
            if isinstance(event, TextDelta):
                self.text.append(event.text)
            elif isinstance(event, ReasoningDelta):
                self.reasoning.append(event.text)
            elif isinstance(event, ToolCallStart):
                self.calls.append((event, []))
            elif isinstance(event, ToolCallArguments):
                self.calls[event.index][1].append(event.text)

    def dict(self, *, legacy: bool) -> ChatCompletionMessage:
        text = "".join(self.text)
        message: ChatCompletionMessage = {"role": "assistant", "content": text if text or not self.calls else None}
        if self.reasoning:
            message["reasoning_content"] = "".join(self.reasoning)
        functions: list[ToolCallFunction] = [
            {"name": start.name, "arguments": "".join(pieces)} for start, pieces in self.calls
        ]
        if functions and legacy:
            message["function_call"] = functions[0]
        elif functions:
            message["tool_calls"] = [
                {"id": start.id, "type": "function", "function": function}
                for (start, _), function in zip(self.calls, functions, strict=True)
            ]
        return message


class ChatShape(Shape):
    """Chat completions.

    Args:
        model: Name in the results.
        n: Candidates that are generated.
        logprobs: Whether log probabilities are given. They are those of all tokens, calls and reasoning included.
        best: Give so many of the candidates, the likeliest.
        reader: Makes what reads one candidate's output.
        legacy: The caller declared `functions`: a call is a ``function_call``.
        parse: From the text of a choice to the value of its "parsed"; None where nothing is to be parsed.
    """

    prefix = "chatcmpl"

    def __init__(
        self,
        model: str,
        n: int,
        *,
        logprobs: bool = False,
        best: int | None = None,
        reader: Callable[[], Reader] = PlainReader,
        legacy: bool = False,
        parse: Callable[[str, str], dict[str, Any]] | None = None,
    ) -> None:
        super().__init__(model, n, best)
        self.logprobs = logprobs
        self.legacy = legacy
        self.reader = reader
        self._parse = parse
        self._readers = [reader() for _ in range(n)]
        self._called = [False] * n

    def _reason(self, index: int, called: bool) -> str:
        reason = self.finishes[index].reason
        return ("function_call" if self.legacy else "tool_calls") if called and reason == "stop" else reason

    def result(self) -> ChatCompletion:
        """The whole answer, when every choice has finished."""
        result: ChatCompletion = {
            "id": self.id,
            "object": "chat.completion",
            "created": self.created,
            "model": self.model,
            "choices": [],
            "usage": self.usage(),
            "timings": self.timings(),
            "seed": self.finishes[0].seed,
        }
        for index, made in enumerate(self.order()):
            reader, said = self.reader(), _Message()
            said.take(reader.feed("".join(p.text for p in self.pieces[made])))
            said.take(reader.finish())
            message = said.dict(legacy=self.legacy)
            reason = self._reason(made, bool(said.calls))
            if self._parse is not None and not said.calls:
                message.update(self._parse(message["content"] or "", reason))  # type: ignore[typeddict-item]
            entries = [e for p in self.pieces[made] for e in p.logprobs]
            result["choices"].append(
                {
                    "index": index,
                    "message": message,
                    "logprobs": self._logprobs(entries) if self.logprobs else None,
                    "finish_reason": reason,
                }
            )
        return result

    def opening(self) -> list[ChatCompletionChunk]:
        """Chunks before any event: the role of each choice."""
        return [self._piece(index, {"role": "assistant", "content": ""}, ()) for index in range(self.n)]

    def chunks(self, index: int, event: PieceEvent | FinishEvent, *, usage: bool) -> list[ChatCompletionChunk]:
        """Chunks that an event gives. `usage`: it comes at the end, with the timings."""
        if isinstance(event, PieceEvent):
            deltas = self._deltas(index, self._readers[index].feed(event.text)) if event.text else []
            if not deltas and self.logprobs and event.logprobs:
                deltas = [{}]
            chunks = [self._piece(index, delta, () if i else event.logprobs) for i, delta in enumerate(deltas)]
            return self.reported(chunks, index, event, lambda: self._piece(index, {}, ()))
        self.finishes[index] = event
        rest = [self._piece(index, delta, ()) for delta in self._deltas(index, self._readers[index].finish())]
        last = self._piece(index, {}, (), self._reason(index, self._called[index]))
        if len(self.finishes) == self.n and not usage:
            last["timings"], last["seed"] = self.timings(), self.finishes[0].seed
        return [*rest, last]

    def closing(self, *, usage: bool) -> list[ChatCompletionChunk]:
        """Chunks after the last event: the usage, if asked for."""
        if not usage:
            return []
        last = self._chunk([])
        last["usage"], last["timings"], last["seed"] = self.usage(), self.timings(), self.finishes[0].seed
        return [last]

    def _deltas(self, index: int, events: Sequence[OutputEvent]) -> list[ChatCompletionDelta]:
        deltas: list[ChatCompletionDelta] = []
        for event in events:
            if isinstance(event, TextDelta):
                deltas.append({"content": event.text})
            elif isinstance(event, ReasoningDelta):
                deltas.append({"reasoning_content": event.text})
            elif not isinstance(event, ToolCallEnd):
                self._called[index] = True
                delta = self._call_delta(event)
                if delta is not None:
                    deltas.append(delta)
        return deltas

    def _call_delta(self, event: ToolCallStart | ToolCallArguments) -> ChatCompletionDelta | None:
        if self.legacy:
            if event.index:
                return None  # there is one function_call only
            if isinstance(event, ToolCallStart):
                return {"function_call": {"name": event.name, "arguments": ""}}
            return {"function_call": {"arguments": event.text}}
        if isinstance(event, ToolCallStart):
            function: ToolCallFunction = {"name": event.name, "arguments": ""}
            return {"tool_calls": [{"index": event.index, "id": event.id, "type": "function", "function": function}]}
        return {"tool_calls": [{"index": event.index, "function": {"arguments": event.text}}]}

    def _chunk(self, choices: list[ChatCompletionChunkChoice]) -> ChatCompletionChunk:
        return {
            "id": self.id,
            "object": "chat.completion.chunk",
            "created": self.created,
            "model": self.model,
            "choices": choices,
        }

    def _piece(
        self, index: int, delta: ChatCompletionDelta, entries: Sequence[TokenLogprob], reason: str | None = None
    ) -> ChatCompletionChunk:
        logprobs = self._logprobs(entries) if self.logprobs and entries else None
        return self._chunk([{"index": index, "delta": delta, "logprobs": logprobs, "finish_reason": reason}])

    def _logprobs(self, entries: Sequence[TokenLogprob]) -> ChatLogprobs:
        return {"content": [_chat_logprob(e, with_top=True) for e in entries], "refusal": None}


def _chat_logprob(entry: TokenLogprob, *, with_top: bool) -> ChatTokenLogprob:
    text = entry.piece.decode("utf-8", "replace")
    result: ChatTokenLogprob = {"token": text, "logprob": entry.logprob, "bytes": list(entry.piece)}
    if with_top:
        result["top_logprobs"] = [_chat_logprob(t, with_top=False) for t in entry.top]
    return result
