"""Errors in Anthropic's shape, and which requests get them. Not for: raising, or which status an error has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_bind.server.errors import SERVER, UNAVAILABLE, ApiError
from llama_bind.server.replies import Reply, error_reply

__all__ = ["error_body", "in_its_shape", "refusal"]

PATH = "/v1/messages"
VERSION = b"anthropic-version"


def in_its_shape(scope: Mapping[str, Any]) -> bool:
    """Whether the one who asks speaks Anthropic's API: by the path, or by the header that its clients send."""
    path: str = scope["path"].removeprefix(scope.get("root_path", ""))
    if path == PATH or path.startswith(f"{PATH}/"):
        return True
    return any(name == VERSION for name, _ in scope["headers"])


def refusal(scope: Mapping[str, Any], error: ApiError, retry_after: int, request_id: str) -> Reply:
    """An error as an answer, in the shape that the one who asks understands."""
    return error_reply(error, retry_after, error_body(error, request_id) if in_its_shape(scope) else None)


def error_body(error: ApiError, request_id: str) -> dict[str, Any]:
    """The body of an error; `details`, where it has any, are for programs."""
    told: dict[str, Any] = {"type": _type(error), "message": error.message}
    if "details" in error.more:
        told["details"] = error.more["details"]
    return {"type": "error", "error": told, "request_id": request_id}


def _type(error: ApiError) -> str:
    """Its word for the kind of an error; for the client's mistakes it is OpenAI's."""
    if error.status == 413:
        return "request_too_large"
    if error.type == UNAVAILABLE and error.retry:
        return "overloaded_error"
    return "api_error" if error.type in (SERVER, UNAVAILABLE) else error.type
