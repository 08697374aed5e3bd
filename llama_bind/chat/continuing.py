"""Ends a rendering inside its last message, so that the model goes on with it.

Not for: rendering (``templates.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.chat.traced import METHODS
from llama_bind.errors import TemplateError

__all__ = ["cut", "open_ended"]

# A private-use character on each side: no model's template writes it, and nothing trims it. The blank shows whether the
# template trims what stands at the end.
_END = "\ue0ffcontinue-here\ue0ff"


def open_ended(messages: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Messages with a mark in the last one, where `cut` ends the rendering.

    It stands behind the last message's content, or behind its thoughts where there is nothing else.
    """
    last = dict(messages[-1])
    content = last.get("content")
    thought = last.get("reasoning_content")
    said = "".join(part["text"] for part in content) if isinstance(content, list) else content
    if thought and not said:
        last.update({key: value + _END + " " for key, value in last.items() if value == thought})
    elif isinstance(content, str):
        last["content"] = content + _END + " "
    else:
        parts = [dict(part) for part in content or [{"type": "text", "text": ""}]]
        parts[-1]["text"] += _END + " "
        last["content"] = parts
    return [*messages[:-1], last]


def cut(text: str) -> str:
    """What stands before the mark.

    Raises:
        TemplateError: The template did not show it.
    """
    place = text.rfind(_END)
    if place < 0:
        raise TemplateError("the chat template does not show the last message, so it cannot be continued")
    if text[place + len(_END) : place + len(_END) + 1] == " ":
        return text[:place]
    return METHODS["rstrip"](text[:place])  # type: ignore[no-any-return]
