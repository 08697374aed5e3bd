"""Content blocks of Anthropic's messages as plain text, for models that read text: documents, search results, results
of tools. What is no text is refused by name.

Not for: the order of messages (``messages``), or blocks of answers (``shape``).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_bind.server.anthropic.checks import as_list, as_object, as_text, refused, unsupported
from llama_bind.server.errors import ApiError

__all__ = ["block_of", "block_text", "no_such_block", "result_message", "tool_call"]

_TEXTS = ("text", "document", "search_result")
"""Types of blocks that have a text."""
_ELSEWHERE = ("server_tool_use", "mcp_tool_use", "mcp_tool_result", "container_upload", "tool_reference")
"""Types of blocks that belong to tools which Anthropic's servers run."""


def block_of(value: Any, where: str) -> tuple[str, Mapping[str, Any]]:
    """The type of a block, and the block.

    Raises:
        ApiError: it has none.
    """
    block = as_object(value, where)
    return as_text(block, "type", where), block


def block_text(value: Any, where: str) -> str:
    """The text of a block: a text, a document, or a search result, with its title before it.

    Raises:
        ApiError: a block without text, such as an image.
    """
    kind, block = block_of(value, where)
    if kind == "text":
        return as_text(block, "text", where)
    if kind == "search_result":
        texts = [as_text(block, "title", where), as_text(block, "source", where)]
        return "\n".join((*texts, _texts(block.get("content"), f"{where}.content")))
    if kind == "document":
        return _document(block, where)
    raise no_such_block(kind, where, _TEXTS)


def _document(block: Mapping[str, Any], where: str) -> str:
    before = [as_text(block, key, where) for key in ("title", "context") if block.get(key) is not None]
    place = f"{where}.source"
    kind, source = block_of(block.get("source"), place)
    if kind == "text":
        return "\n".join((*before, as_text(source, "data", place)))
    if kind == "content":
        return "\n".join((*before, _texts(source.get("content"), f"{place}.content")))
    raise unsupported(place, f"documents of type {kind!r} cannot be read here; give the text, with the type 'text'")


def _texts(value: Any, where: str) -> str:
    """A text, or the texts of several blocks."""
    if isinstance(value, str):
        return value
    return "\n".join(block_text(one, f"{where}.{i}") for i, one in enumerate(as_list(value, where)))


def no_such_block(kind: str, where: str, known: tuple[str, ...]) -> ApiError:
    """The error for a block that cannot stand where it does."""
    if kind == "image":
        return unsupported(where, "image input is not supported: this model reads text only")
    if kind in _ELSEWHERE or (kind.endswith("_tool_result") and kind != "tool_result"):
        return unsupported(
            where, f"blocks of type {kind[:80]!r} come from tools that Anthropic's servers run; here are none"
        )
    return refused(where, f"blocks of type {kind[:80]!r} cannot stand here; these can: {', '.join(known)}")


def tool_call(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A tool_use block as a tool call in OpenAI's shape."""
    name, arguments = as_text(block, "name", where), as_object(block.get("input"), f"{where}.input")
    function = {"name": name, "arguments": dict(arguments)}
    return {"id": as_text(block, "id", where), "type": "function", "function": function}


def result_message(block: Mapping[str, Any], where: str) -> dict[str, Any]:
    """A tool_result block as a tool's message in OpenAI's shape; of an error its text says that it is one."""
    content = block.get("content")
    text = "" if content is None else _texts(content, f"{where}.content")
    failed = block.get("is_error")
    if not isinstance(failed, bool | None):
        raise refused(f"{where}.is_error", "must be true or false", "invalid_type")
    if failed and not text.lower().startswith("error"):
        text = f"Error: {text}"
    return {"role": "tool", "tool_call_id": as_text(block, "tool_use_id", where), "content": text}
