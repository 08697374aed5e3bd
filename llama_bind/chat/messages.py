"""Chat messages in OpenAI's shape: checked, and put into the form that templates expect.

Not for: rendering (``templates.py``), or media (parts that are not text are refused by name).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.chat.traced import trusted
from llama_bind.errors import MessageError, TextEncodingError, UnsupportedError

__all__ = ["MAX_CHARS", "MAX_MESSAGES", "ROLES", "check_messages", "roles_of", "template_messages", "without_system"]

ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""Roles of a message."""
MAX_MESSAGES = 100_000
"""Messages of one conversation."""
MAX_CHARS = 12_000_000
"""Characters in all contents together."""

_TEXTS = ("text", "input_text", "output_text", "refusal")
_MEDIA = ("image_url", "input_image", "image", "input_audio", "audio_url", "audio", "video_url", "video", "file")

_ROLES_SHOWN = {"developer": "system", "function": "tool"}
_SHORT_ID = re.compile(r"[A-Za-z0-9]{9}")


def check_messages(messages: Sequence[Mapping[str, Any]], *, roles: Sequence[str] = ROLES) -> list[dict[str, Any]]:
    """Check a conversation and return a copy of it.

    Args:
        messages: One mapping each: `role`, `content` (str, None or a list of text parts) and, for an assistant's
            tool calls and their results, `tool_calls`, `tool_call_id`, `name`. Other keys pass through to the template.
        roles: The roles that are known.

    Returns:
        New dicts; a list of text parts stays one, with ``type`` and ``text`` only.

    Raises:
        MessageError: The shape is wrong; `index` says where.
        TextEncodingError: A lone surrogate in a text.
        UnsupportedError: A part that is not text.
    """
    if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
        raise MessageError(f"messages must be a list of dicts with 'role' and 'content', not {_kind(messages)}")
    if not messages:
        raise MessageError("messages is empty; give at least one, such as {'role': 'user', 'content': 'Hello'}")
    if len(messages) > MAX_MESSAGES:
        raise MessageError(f"{len(messages)} messages are more than {MAX_MESSAGES}")
    checked = [_message(message, index, roles) for index, message in enumerate(messages)]
    total = sum(len(part) for message in checked for part in _texts(message["content"]))
    if total > MAX_CHARS:
        raise MessageError(f"the messages hold {total} characters, more than {MAX_CHARS}")
    return checked


def _message(message: Any, index: int, roles: Sequence[str]) -> dict[str, Any]:
    if not isinstance(message, Mapping):
        raise MessageError(f"messages[{index}] must be a dict, not {_kind(message)}", index=index)
    role = message.get("role")
    if role not in roles:
        known = ", ".join(ROLES)
        raise MessageError(f"messages[{index}] has the role {role!r}; the roles are {known}", index=index)
    copy = {str(key): value for key, value in message.items()}
    if role in ("tool", "function") and "content" in message:
        copy["content"] = _result(message["content"], index)
    copy["content"] = _content(copy.get("content"), index)
    calls = message.get("tool_calls") or _older_calls(copy.pop("function_call", None), index)
    if calls:
        copy["tool_calls"] = _tool_calls(calls, index)
    elif "tool_calls" in copy:
        del copy["tool_calls"]
    if copy["content"] is None and not (role == "assistant" or calls):
        raise MessageError(f"messages[{index}] ({role}) has no content", index=index)
    if copy.get("reasoning_content") is None and isinstance(copy.get("reasoning"), str):
        copy["reasoning_content"] = copy["reasoning"]
    for key in ("name", "tool_call_id", "reasoning_content"):
        if copy.get(key) is None:
            copy.pop(key, None)
        elif not isinstance(copy[key], str):
            raise MessageError(f"messages[{index}].{key} must be a str, not {_kind(copy[key])}", index=index)
    return copy


def _content(content: Any, index: int) -> str | list[dict[str, Any]] | None:
    if content is None or isinstance(content, str):
        return None if content is None else _valid(content, index)
    if isinstance(content, (bytes, Mapping)) or not isinstance(content, Sequence):
        raise MessageError(
            f"messages[{index}].content must be a str, None or a list of parts, not {_kind(content)}", index=index
        )
    return [_part(part, index, number) for number, part in enumerate(content)]


def _result(content: Any, index: int) -> Any:
    """What a tool gave back, as text: values become JSON, text and lists of text parts stay what they are."""
    if isinstance(content, str):
        return content
    if isinstance(content, (list, tuple)) and content and all(map(_is_part, content)):
        return content
    try:
        return json.dumps(content, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise MessageError(
            f"messages[{index}].content is no text and cannot be written as JSON: {error}", index=index
        ) from None


def _is_part(part: Any) -> bool:
    return isinstance(part, Mapping) and (part.get("type") in _TEXTS or part.get("type") in _MEDIA)


def _part(part: Any, index: int, number: int) -> dict[str, Any]:
    where = f"messages[{index}].content[{number}]"
    if isinstance(part, str):
        return {"type": "text", "text": _valid(part, index)}
    if not isinstance(part, Mapping):
        raise MessageError(f"{where} must be a dict with 'type', not {_kind(part)}", index=index)
    kind = part.get("type")
    if kind in _MEDIA:
        said = f"{where} is of type {kind!r}; only text parts are supported, this model sees and hears nothing"
        raise UnsupportedError(said, param="messages")
    if kind not in _TEXTS:
        raise MessageError(f"{where} has the type {kind!r}; use {{'type': 'text', 'text': ...}}", index=index)
    text = part.get("refusal" if kind == "refusal" else "text")
    if not isinstance(text, str):
        raise MessageError(f"{where}.text must be a str, not {_kind(text)}", index=index)
    return {"type": "text", "text": _valid(text, index)}


def _older_calls(call: Any, index: int) -> list[dict[str, Any]]:
    """``function_call`` of OpenAI's older form as `tool_calls`."""
    if call is None:
        return []
    if not isinstance(call, Mapping) or not isinstance(call.get("name"), str):
        shape = "{'name': ..., 'arguments': ...}"
        raise MessageError(f"messages[{index}].function_call must look like {shape}", index=index)
    return [{"type": "function", "function": call}]


def _tool_calls(calls: Any, index: int) -> list[dict[str, Any]]:
    where = f"messages[{index}].tool_calls"
    if isinstance(calls, (str, bytes, Mapping)) or not isinstance(calls, Sequence):
        raise MessageError(f"{where} must be a list, not {_kind(calls)}", index=index)
    result = []
    for number, call in enumerate(calls):
        function = call.get("function") if isinstance(call, Mapping) else None
        if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
            shape = "{'id': ..., 'type': 'function', 'function': {'name': ..., 'arguments': ...}}"
            raise MessageError(f"{where}[{number}] must look like {shape}", index=index)
        arguments = function.get("arguments")
        if not isinstance(arguments, (str, Mapping, type(None))):
            raise MessageError(f"{where}[{number}].function.arguments must be JSON text or a dict", index=index)
        result.append({**call, "type": "function", "function": {**function, "arguments": arguments or {}}})
    return result


def _valid(text: str, index: int) -> str:
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise TextEncodingError(
                f"messages[{index}] holds a lone surrogate at character {error.start}; it is not valid Unicode",
                param="messages",
            ) from None
    return text


def _texts(content: str | list[dict[str, Any]] | None) -> list[str]:
    if isinstance(content, str):
        return [content]
    return [part["text"] for part in content or ()]


def _kind(value: Any) -> str:
    return "None" if value is None else type(value).__name__


def template_messages(
    messages: Sequence[Mapping[str, Any]],
    *,
    developer: bool = False,
    parts: bool = False,
    arguments_as_text: bool = False,
    short_ids: bool = False,
    reasoning_names: Sequence[str] = (),
) -> list[dict[str, Any]]:
    """Checked messages in the form that a template expects.

    Roles become text of the template, for many build a control token out of them. The arguments of tool calls, JSON
    text in OpenAI's API, become values; text that is not a JSON object stays as it is. No content becomes an empty
    one, and the text parts of a content one text, joined by newlines. A call without an id gets one that counts up.

    Args:
        messages: From `check_messages`.
        developer: The template knows the role "developer"; else it becomes "system".
        parts: The template takes contents as lists of parts only.
        arguments_as_text: The template joins the arguments of calls to text: they become JSON text instead.
        short_ids: The template wants ids of nine letters and digits: others are replaced, the same by the same.
        reasoning_names: More names under which the template looks for ``reasoning_content``.
    """
    result = []
    ids = _Ids(short_ids)
    for message in messages:
        role = _ROLES_SHOWN.get(message["role"], message["role"])
        role = "developer" if message["role"] == "developer" and developer else role
        texts = _texts(message["content"])
        content: Any = texts[0] if len(texts) == 1 else "\n".join(texts)
        copy = {**message, "role": trusted(role), "content": [{"type": "text", "text": content}] if parts else content}
        if "tool_calls" in copy:
            shape = _with_text if arguments_as_text else _with_values
            copy["tool_calls"] = [{**shape(call), "id": ids.of_call(call)} for call in copy["tool_calls"]]
        elif role in ("tool", "function"):
            copy.update(ids.of_result(copy))
        if "reasoning_content" in copy:
            copy.update(dict.fromkeys(reasoning_names, copy["reasoning_content"]))
        result.append(copy)
    return result


class _Ids:
    """Ids of calls: those that were given, or made ones that are the same each time the conversation comes again."""

    def __init__(self, short: bool) -> None:
        self._short = short
        self._count = 0
        self._open: list[tuple[str, str]] = []  # (name, id) of calls that have had no result yet

    def of_call(self, call: Mapping[str, Any]) -> str:
        """The id of the next call."""
        given = call.get("id")
        found = self._shortened(given) if isinstance(given, str) and given else f"call{self._count:05d}"
        self._count += 1
        self._open.append((call["function"]["name"], found))
        return found

    def of_result(self, message: Mapping[str, Any]) -> dict[str, str]:
        """The name and the id of a result, each taken from its call where it is missing."""
        given = message.get("tool_call_id")
        known = self._shortened(given) if given else None
        for place, (name, call_id) in enumerate(self._open):
            if call_id == known or (known is None and message.get("name") in (None, name)):
                del self._open[place]
                return {"name": message.get("name") or name, "tool_call_id": call_id}
        return {} if known is None else {"tool_call_id": known}

    def _shortened(self, given: str) -> str:
        if not self._short or _SHORT_ID.fullmatch(given):
            return given
        return hashlib.sha256(given.encode()).hexdigest()[:9]


def roles_of(source: str) -> tuple[str, ...]:
    """The roles that a template may be given: `ROLES`, and every word that it has in quotes."""
    return (*ROLES, *re.findall(r"""['"]([A-Za-z]\w{0,63})['"]""", source))


def without_system(messages: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """For a template that knows no system message: the first one goes before the text of the user's message after it.

    So does llama.cpp (``common/chat.cpp``). Takes and returns what `template_messages` returns.
    """
    if messages[0]["role"] != "system":
        return list(messages)
    first = {**messages[0], "role": trusted("user")}
    if len(messages) == 1 or messages[1]["role"] != "user":
        return [first, *messages[1:]]
    head, rest = first["content"], messages[1]["content"]
    if isinstance(head, list):
        content: Any = [*head, {"type": "text", "text": "\n"}, *rest]
    else:
        content = f"{head}\n{rest}"
    return [{**messages[1], "content": content}, *messages[2:]]


def _with_text(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    arguments = function.get("arguments")
    if not isinstance(arguments, str):
        function["arguments"] = json.dumps(arguments, ensure_ascii=False)
    return {**call, "function": function}


def _with_values(call: Mapping[str, Any]) -> dict[str, Any]:
    function = dict(call["function"])
    arguments = function.get("arguments")
    if isinstance(arguments, str):
        try:
            values = json.loads(arguments)
        except (ValueError, RecursionError):
            values = None
        if isinstance(values, dict):
            function["arguments"] = values
    return {**call, "function": function}
