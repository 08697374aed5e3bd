"""Items of a conversation as the messages of a chat.

Pure. What a model wrote in one go comes as several items (reasoning, text, calls); here they are one message again.
Not for: checking items (``items``), or what a template makes of messages (``chat``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from llama_bind.server.errors import INVALID, ApiError
from llama_bind.server.responses.items import Item, opened

__all__ = ["chat_messages", "shortened"]

Message: TypeAlias = dict[str, Any]
_TOLD = ("system", "developer")


def chat_messages(items: Sequence[Item], instructions: str | None = None) -> list[Message]:
    """Messages in the shape of chat completions.

    Args:
        items: From `read_items`, and the outputs of earlier responses.
        instructions: Stand first; with system messages at the beginning of `items` they are one, for many templates
            take no more than one.

    Raises:
        ApiError: 400, a function's output without its call, or nothing at all.
    """
    writer = _Writer()
    for item in items:
        writer.add(item)
    messages = writer.ended()
    if instructions:
        told = [instructions]
        while messages and messages[0]["role"] in _TOLD and isinstance(messages[0]["content"], str):
            told.append(messages.pop(0)["content"])
        messages.insert(0, {"role": "system", "content": "\n\n".join(told)})
    if not messages:
        raise ApiError(400, INVALID, "invalid_value", "input must not be empty.", param="input")
    return messages


class _Writer:
    """Writes messages; the model's own stays open while items still belong to it."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._open: Message | None = None
        self._calls: dict[str, str] = {}

    def add(self, item: Item) -> None:
        kind = item["type"]
        if kind == "reasoning":
            self._reasoning(item)
        elif kind == "function_call":
            self._call(item)
        elif kind == "function_call_output":
            self._output(item)
        elif item["role"] == "assistant":
            self._said(item)
        else:
            self._close()
            self._messages.append({"role": item["role"], "content": _content(item["content"])})

    def ended(self) -> list[Message]:
        self._close()
        return self._messages

    def _assistant(self, *, new: bool) -> Message:
        if self._open is None or new:
            self._close()
            self._open = {"role": "assistant", "content": []}
        return self._open

    def _close(self) -> None:
        if self._open is not None:
            self._open["content"] = _joined(self._open["content"])
            self._messages.append(self._open)
            self._open = None

    def _reasoning(self, item: Item) -> None:
        text = _thought(item)
        before = self._open is not None and bool(self._open["content"] or "tool_calls" in self._open)
        message = self._assistant(new=before)
        if text:
            earlier = message.get("reasoning_content")
            message["reasoning_content"] = text if earlier is None else f"{earlier}\n{text}"

    def _said(self, item: Item) -> None:
        # Text behind calls belongs to their message, for the calls' results must follow it.
        before = self._open is not None and bool(self._open["content"]) and "tool_calls" not in self._open
        message = self._assistant(new=before)
        message["content"] += [part.get("text", part.get("refusal", "")) for part in item["content"]]

    def _call(self, item: Item) -> None:
        function = {"name": item["name"], "arguments": item["arguments"]}
        call = {"id": item["call_id"], "type": "function", "function": function}
        self._assistant(new=False).setdefault("tool_calls", []).append(call)
        self._calls[item["call_id"]] = item["name"]

    def _output(self, item: Item) -> None:
        self._close()
        call_id, output = item["call_id"], item["output"]
        name = self._calls.get(call_id)
        if name is None:
            message = f"There is no function_call before the function_call_output with the call_id {call_id!r:.80}."
            raise ApiError(400, INVALID, "invalid_value", message, param="input")
        content = output if isinstance(output, str) else _content(output)
        self._messages.append({"role": "tool", "tool_call_id": call_id, "name": name, "content": content})


def _joined(texts: list[str]) -> str | list[Item] | None:
    texts = [text for text in texts if text]
    if len(texts) > 1:
        return [{"type": "text", "text": text} for text in texts]
    return texts[0] if texts else None


def _content(parts: Sequence[Item]) -> str | list[Item]:
    if len(parts) == 1 and parts[0]["type"] == "input_text":
        text: str = parts[0]["text"]
        return text
    return [_part(part) for part in parts]


def _part(part: Item) -> Item:
    if part["type"] == "input_text":
        return {"type": "text", "text": part["text"]}
    if part["type"] == "input_image":
        return {"type": "image_url", "image_url": {"url": part["image_url"], "detail": part["detail"]}}
    return part


def _thought(item: Item) -> str:
    """The text of reasoning; a summary in its place only where there is no more than that."""
    text = "".join(part["text"] for part in item.get("content") or ())
    if not text and item.get("encrypted_content"):
        text = opened(item["encrypted_content"]) or ""
    return text or "\n".join(part["text"] for part in item["summary"])


def shortened(messages: Sequence[Message], fits: Callable[[list[Message]], bool]) -> list[Message] | None:
    """The conversation without its oldest turns, as many as must go.

    What stands before the first turn and is the system's stays. A turn begins with a user's message.

    Args:
        messages: All of them.
        fits: Whether so many fit; called about log2 of their number of times.

    Returns:
        None where the last turn alone does not fit.
    """
    start = next((i for i, m in enumerate(messages) if m["role"] not in _TOLD), len(messages))
    head = list(messages[:start])
    cuts = [i for i, m in enumerate(messages) if i > start and m["role"] == "user"]
    low, high = 0, len(cuts)
    while low < high:
        middle = (low + high) // 2
        if fits([*head, *messages[cuts[middle] :]]):
            high = middle
        else:
            low = middle + 1
    return [*head, *messages[cuts[low] :]] if low < len(cuts) else None
