"""The bodies of POST /v1/messages and /v1/messages/count_tokens, as Anthropic has them.

Not for: what is inside of messages and tools (``anthropic`` reads that), or answers.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from llama_bind.server.schemas.base import option_fields, option_names, schema
from llama_bind.server.schemas.chat import CLASSES

__all__ = ["OPTIONS", "CountRequest", "MessagesRequest"]

WITHOUT = frozenset({
    "model", "echo", "suffix", "max_tokens", "stop", "stream", "stream_options", "n", "best_of", "logprobs",
    "top_logprobs", "user", "response_format", "json_schema", "tools", "tool_choice", "parallel_tool_calls",
    "functions", "function_call", "reasoning_format", "add_generation_prompt", "continue_final_message",
})  # fmt: skip
"""Options that Anthropic's API has under another name, or that its answers have no place for."""
OPTIONS = option_names(CLASSES, WITHOUT)
"""What a body may name of the library's options, beside Anthropic's fields."""

IGNORED = (
    "betas", "billing_policy", "cache_control", "container", "context_management", "diagnostics",
    "fallback_credit_token", "fallbacks", "inference_geo", "service_tier", "speed", "user_profile_id", "workspace_id",
)  # fmt: skip
"""What has a meaning on Anthropic's side only."""

_FIELDS: dict[str, Any] = {
    "model": (str | None, Field(None, description="Which model; may be left out while one is served.")),
    "messages": (list[dict[str, Any]], Field(description="Messages of user and assistant: text or blocks.")),
    "system": (str | list[dict[str, Any]] | None, Field(None, description="The system prompt: text or text blocks.")),
    "tools": (list[dict[str, Any]] | None, Field(None, description="Tools with name, description, input_schema.")),
    "tool_choice": (dict[str, Any] | None, Field(None, description="auto, any, none, or tool with a name.")),
    "thinking": (dict[str, Any] | None, Field(None, description="enabled with budget_tokens, adaptive, disabled.")),
    "output_config": (dict[str, Any] | None, Field(None, description="format: a JSON schema; effort of thinking.")),
    "output_format": (dict[str, Any] | None, Field(None, description="Older place of output_config.format.")),
    "mcp_servers": (list[dict[str, Any]] | None, Field(None, description="Refused: no servers are called.")),
    "thread": (Any, Field(None, description="Refused: no conversations are held; send all messages.")),
    "compaction": (Any, Field(None, description="Refused: no summaries are made.")),
    **dict.fromkeys(IGNORED, (Any, Field(None, description="Accepted, and without meaning here."))),
    **option_fields(CLASSES, WITHOUT),
}
_GENERATING: dict[str, Any] = {
    "max_tokens": (Annotated[int, Field(ge=0)], Field(description="Most tokens of the answer, thoughts included.")),
    "stop_sequences": (list[str] | None, Field(None, description="Texts that end the answer.")),
    "stream": (bool | None, Field(None, description="Give the answer as events.")),
    "metadata": (dict[str, Any] | None, Field(None, description="user_id: whose requests take turns.")),
}

MessagesRequest = schema(
    "MessagesRequest",
    "A conversation to answer. Fields that are not known are ignored.",
    {**_FIELDS, **_GENERATING},
)
CountRequest = schema(
    "CountRequest",
    "A conversation whose tokens are to be counted.",
    {**_FIELDS, **_GENERATING, "max_tokens": (int | None, Field(None, description="Not needed here."))},
)
