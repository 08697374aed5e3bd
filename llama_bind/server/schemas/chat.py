"""The body of POST /v1/chat/completions. Not for: its answer, or what messages may hold (``chat.messages``)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from llama_bind.params import ChatParams, RequestParams, SamplingParams
from llama_bind.server.schemas.base import option_fields, option_names, schema

__all__ = ["OPTIONS", "ChatRequest"]

CLASSES = (SamplingParams, RequestParams, ChatParams)
WITHOUT = frozenset({"model", "echo", "suffix"})
OPTIONS = option_names(CLASSES, WITHOUT)
"""What `create_chat_completion` takes from a body."""

ChatRequest = schema(
    "ChatRequest",
    "A conversation to answer, and how. Fields that are not known are ignored.",
    {
        "model": (str | None, Field(None, description="Which model; may be left out while one is served.")),
        "messages": (list[dict[str, Any]], Field(description="Messages with role and content.")),
        **option_fields(CLASSES, WITHOUT),
    },
)
