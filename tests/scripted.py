"""A model that follows a script, with the calls of `Llama` and `AsyncLlama` that runs of tools use.

Not for: anything that computes.
"""

from __future__ import annotations

import copy
import re
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from typing import Any

__all__ = ["AsyncScripted", "Scripted", "answer", "calling"]


def answer(text: str | None = None, *, reason: str = "stop", calls: Sequence[dict[str, Any]] = (), **extra: Any) -> Any:
    """A chat completion in OpenAI's shape."""
    message: dict[str, Any] = {"role": "assistant", "content": text, **extra}
    if calls:
        message["tool_calls"] = list(calls)
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 5,
        "total_tokens": 15,
        "prompt_tokens_details": {"cached_tokens": 4},
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    return {"id": "x", "object": "chat.completion", "created": 1, "model": "m", "choices": [choice], "usage": usage}


def calling(*calls: tuple[str, str], text: str | None = None, reason: str = "tool_calls") -> Any:
    """A completion that calls tools: (name, arguments) each; ids are c0, c1, ..."""
    made = [
        {"id": f"c{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
        for i, (name, arguments) in enumerate(calls)
    ]
    return answer(text, reason=reason, calls=made)


class Scripted:
    """Gives its answers one after the other, the last one again and again; keeps what it was asked.

    Attributes:
        requests: The arguments of each call, copied.
        closed: Streams that were left before their end.
        streams: All streams, kept so that only their reader closes them.
    """

    def __init__(self, *answers: Any) -> None:
        self._answers = list(answers)
        self.requests: list[dict[str, Any]] = []
        self.closed = 0
        self.streams: list[Any] = []

    def n_ctx(self) -> int:
        return 2048

    def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **kwargs: Any
    ) -> Any:
        completion = self._next(messages, stream, kwargs)
        if stream:
            self.streams.append(self._stream(completion))
        return self.streams[-1] if stream else completion

    def _next(self, messages: Any, stream: bool, kwargs: Any) -> Any:
        self.requests.append(copy.deepcopy({"messages": messages, "stream": stream, **kwargs}))
        found = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(found, BaseException):
            raise found
        return copy.deepcopy(found)

    def _stream(self, completion: Any) -> Generator[Any, None, None]:
        left = True
        try:
            yield from chunks(completion)
            left = False
        finally:
            self.closed += left


class AsyncScripted(Scripted):
    """The same for asyncio."""

    async def create_chat_completion(
        self, messages: Sequence[Mapping[str, Any]], *, stream: bool = False, **kwargs: Any
    ) -> Any:
        completion = self._next(messages, stream, kwargs)
        return self._chunks(completion) if stream else completion

    async def _chunks(self, completion: Any) -> AsyncGenerator[Any, None]:
        left = True
        try:
            for chunk in chunks(completion):
                yield chunk
            left = False
        finally:
            self.closed += left


def words(text: str | None) -> list[str]:
    return re.findall(r"\S+\s*", text or "")


def chunks(completion: Any) -> list[Any]:
    """The completion as chunks: a word at a time, arguments two characters at a time."""
    head = {key: completion[key] for key in ("id", "created", "model")} | {"object": "chat.completion.chunk"}
    choice = completion["choices"][0]
    message = choice["message"]
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas += [{"reasoning_content": word} for word in words(message.get("reasoning_content"))]
    deltas += [{"content": word} for word in words(message["content"])]
    for index, call in enumerate(message.get("tool_calls") or ()):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        first = {"index": index, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [first]})
        for i in range(0, len(arguments), 2):
            deltas.append({"tool_calls": [{"index": index, "function": {"arguments": arguments[i : i + 2]}}]})
    made = [{**head, "choices": [{"index": 0, "delta": d, "logprobs": None, "finish_reason": None}]} for d in deltas]
    made.append(
        {**head, "choices": [{"index": 0, "delta": {}, "logprobs": None, "finish_reason": choice["finish_reason"]}]}
    )
    return [*made, {**head, "choices": [], "usage": completion["usage"]}]
