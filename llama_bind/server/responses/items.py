"""The input of a response as items: checked, each with an id, references put in their place.

Pure. Shapes are those of OpenAI's API reference (``input`` of a response, and the list of its input items). Not for:
what a model is shown of them (``messages``).
"""

from __future__ import annotations

import base64
import binascii
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from llama_bind.server.errors import INVALID, ApiError

__all__ = ["Item", "Known", "new_id", "opened", "read_items", "references", "sealed"]

Item: TypeAlias = dict[str, Any]
"""An item of an input or output. Shared between responses that follow each other: never changed."""
Known: TypeAlias = Callable[[str], Item | None]
"""From an id to the item that a stored response has under it."""

STATUSES = ("in_progress", "completed", "incomplete")
_ASKERS = ("user", "system", "developer")
_SEAL = "llama_bind.1."


def new_id(prefix: str) -> str:
    """An id that nobody can guess."""
    return f"{prefix}_{uuid.uuid4().hex}"


def sealed(text: str) -> str:
    """A text as `encrypted_content`: not secret, only wrapped, so that clients who keep nothing else give it back."""
    return _SEAL + base64.b64encode(text.encode()).decode("ascii")


def opened(value: str) -> str | None:
    """What `sealed` has wrapped; None for what other servers have encrypted."""
    if not value.startswith(_SEAL):
        return None
    try:
        return base64.b64decode(value[len(_SEAL) :], validate=True).decode()
    except (binascii.Error, ValueError):
        return None


def read_items(given: str | Sequence[Any], known: Known = lambda _id: None) -> list[Item]:
    """The items of an input.

    Args:
        given: A user's text, or a list of items.
        known: Finds what references mean.

    Returns:
        New dicts, complete; what was referred to as it is kept.

    Raises:
        ApiError: 400 for an item that is wrong, unknown, or of a type that there is not here; `param` says where.
    """
    if isinstance(given, str):
        return [_message({"role": "user", "content": given}, "input")]
    return [_item(item, f"input[{place}]", known) for place, item in enumerate(given)]


def references(given: str | Sequence[Any]) -> list[str]:
    """The ids that an input refers to."""
    items = () if isinstance(given, str) else given
    return [
        item["id"]
        for item in items
        if isinstance(item, Mapping) and _kind(item) == "item_reference" and isinstance(item.get("id"), str)
    ]


def _kind(item: Mapping[str, Any]) -> Any:
    kind = item.get("type")
    return kind if kind is not None else "message" if "role" in item else "item_reference"


def _item(item: Any, where: str, known: Known) -> Item:
    if not isinstance(item, Mapping):
        raise _refused("must be an object with a type", where)
    kind = _kind(item)
    if kind == "item_reference":
        name = _text(item, "id", where)
        found = known(name)
        if found is None:
            message = f"{where}: there is no item {name!r:.80} in a stored response."
            raise ApiError(400, INVALID, "item_not_found", message, param=where)
        return found
    reader = _READERS.get(kind) if isinstance(kind, str) else None
    if reader is None:
        types = ", ".join([*_READERS, "item_reference"])
        raise _refused(
            f"items of the type {kind!r:.80} are not known here; the types are {types}", where, "unsupported"
        )
    return reader(item, where)


def _message(item: Mapping[str, Any], where: str) -> Item:
    role = item.get("role")
    if role not in (*_ASKERS, "assistant"):
        raise _refused(f"the role is one of {', '.join(_ASKERS)} and assistant", f"{where}.role")
    own = role == "assistant"
    parts = item.get("content")
    if isinstance(parts, str):
        parts = [{"type": "output_text" if own else "input_text", "text": parts}]
    if not isinstance(parts, Sequence) or isinstance(parts, bytes):
        raise _refused("must be a text or a list of parts", f"{where}.content")
    content = [_part(part, f"{where}.content[{n}]", own=own) for n, part in enumerate(parts)]
    found = {"id": _id(item, "msg"), "type": "message", "status": _status(item, where), "role": role}
    if item.get("phase") in ("commentary", "final_answer"):
        found["phase"] = item["phase"]
    return {**found, "content": content}


def _part(part: Any, where: str, *, own: bool = False) -> Item:
    """A part of a content; `own`: of a message that the model wrote."""
    if isinstance(part, str):
        part = {"type": "text", "text": part}
    if not isinstance(part, Mapping):
        raise _refused("must be an object with a type", where)
    kind = part.get("type")
    if kind in ("input_text", "output_text", "text", "summary_text", "reasoning_text"):
        text = _text(part, "text", where)
        if not own:
            return {"type": "input_text", "text": text}
        logprobs = part.get("logprobs")
        return {
            "type": "output_text", "text": text, "annotations": [],
            "logprobs": logprobs if isinstance(logprobs, list) else [],
        }  # fmt: skip
    if kind == "refusal" and own:
        return {"type": "refusal", "refusal": _text(part, "refusal", where)}
    if kind == "input_image" and not own:
        if not isinstance(part.get("image_url"), str):
            raise _refused("an image needs an image_url; this server keeps no files", where, "unsupported")
        return {"type": "input_image", "image_url": part["image_url"], "detail": part.get("detail") or "auto"}
    if kind == "input_audio" and not own and isinstance(part.get("input_audio"), Mapping):
        return {"type": "input_audio", "input_audio": dict(part["input_audio"])}
    raise _refused(f"parts of the type {kind!r:.80} are not known here", where, "unsupported")


def _call(item: Mapping[str, Any], where: str) -> Item:
    return {
        "id": _id(item, "fc"),
        "type": "function_call",
        "status": _status(item, where),
        "call_id": _text(item, "call_id", where),
        "name": _text(item, "name", where),
        "arguments": _text(item, "arguments", where),
    }


def _output(item: Mapping[str, Any], where: str) -> Item:
    output = item.get("output")
    if isinstance(output, Sequence) and not isinstance(output, (str, bytes)):
        output = [_part(part, f"{where}.output[{n}]") for n, part in enumerate(output)]
    elif not isinstance(output, str):
        raise _refused("must be a text or a list of parts", f"{where}.output")
    return {
        "id": _id(item, "fco"),
        "type": "function_call_output",
        "status": _status(item, where),
        "call_id": _text(item, "call_id", where),
        "output": output,
    }


def _reasoning(item: Mapping[str, Any], where: str) -> Item:
    found: Item = {"id": _id(item, "rs"), "type": "reasoning", "summary": []}
    for key, kind in (("summary", "summary_text"), ("content", "reasoning_text")):
        parts = item.get(key)
        if parts is None:
            continue
        if not isinstance(parts, Sequence) or isinstance(parts, (str, bytes)):
            raise _refused("must be a list of parts", f"{where}.{key}")
        texts = [_part(part, f"{where}.{key}[{n}]")["text"] for n, part in enumerate(parts)]
        found[key] = [{"type": kind, "text": text} for text in texts]
    if isinstance(item.get("encrypted_content"), str):
        found["encrypted_content"] = item["encrypted_content"]
    return found


_READERS: Mapping[str, Callable[[Mapping[str, Any], str], Item]] = {
    "message": _message,
    "function_call": _call,
    "function_call_output": _output,
    "reasoning": _reasoning,
}


def _id(item: Mapping[str, Any], prefix: str) -> str:
    given = item.get("id")
    return given if isinstance(given, str) and given else new_id(prefix)


def _status(item: Mapping[str, Any], where: str) -> str:
    status = item.get("status") or "completed"
    if status not in STATUSES:
        raise _refused(f"the status is one of {', '.join(STATUSES)}", f"{where}.status")
    return str(status)


def _text(item: Mapping[str, Any], key: str, where: str) -> str:
    value = item.get(key)
    if not isinstance(value, str):
        raise _refused("must be a text", f"{where}.{key}")
    return value


def _refused(said: str, where: str, code: str = "invalid_value") -> ApiError:
    return ApiError(400, INVALID, code, f"{where}: {said}.", param=where)
