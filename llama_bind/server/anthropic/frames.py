"""Events of Anthropic's streams as bytes. Not for: what is in them (``shape``)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llama_bind.server.anthropic.errors import error_body
from llama_bind.server.errors import ApiError
from llama_bind.server.replies import dumps

__all__ = ["PING", "error_frame", "frame"]


def frame(event: Mapping[str, Any]) -> bytes:
    """An event, named by its type."""
    return b"event: %b\ndata: %b\n\n" % (event["type"].encode("ascii"), dumps(event))


def error_frame(error: ApiError, request_id: str) -> bytes:
    """An error in a stream."""
    return frame(error_body(error, request_id))


PING = frame({"type": "ping"})
"""What keeps a stream open while nothing comes."""
