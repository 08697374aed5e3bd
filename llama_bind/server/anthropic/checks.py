"""What values in a request must be, with errors that name the place in Anthropic's way: ``messages.0.content.1``.

Not for: the body's top level (its wire schema holds that).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.server.errors import INVALID, ApiError

__all__ = ["as_list", "as_object", "as_text", "refused", "unsupported"]


def refused(where: str, says: str, code: str = "invalid_value", **more: Any) -> ApiError:
    """An error of the request at `where`; `more`: further fields of the error."""
    return ApiError(400, INVALID, code, f"{where}: {says}.", param=where.partition(".")[0], **more)


def unsupported(where: str, says: str, **more: Any) -> ApiError:
    """Something that the API has and this server does not."""
    return refused(where, says, "unsupported", **more)


def as_object(value: Any, where: str) -> Mapping[str, Any]:
    """Raises `ApiError` for what is no JSON object."""
    if not isinstance(value, Mapping):
        raise refused(where, f"must be an object, not {_kind(value)}", "invalid_type")
    return value


def as_list(value: Any, where: str) -> Sequence[Any]:
    """Raises `ApiError` for what is no JSON array."""
    if not isinstance(value, list):
        raise refused(where, f"must be a list, not {_kind(value)}", "invalid_type")
    return value


def as_text(block: Mapping[str, Any], key: str, where: str) -> str:
    """The text under a key.

    Raises:
        ApiError: it is missing, or no text.
    """
    value = block.get(key)
    if value is None:
        raise refused(f"{where}.{key}", "is missing", "missing_required_parameter")
    if not isinstance(value, str):
        raise refused(f"{where}.{key}", f"must be a string, not {_kind(value)}", "invalid_type")
    return value


def _kind(value: Any) -> str:
    """The name that JSON has for the type of a value."""
    names = {type(None): "null", bool: "a boolean", str: "a string", list: "a list", dict: "an object"}
    return names.get(type(value), "a number")
