"""The body of POST /v1/responses. Not for: its items (``responses.items``), or its answer (``responses.writer``)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from llama_bind.params import ChatParams, RequestParams, SamplingParams
from llama_bind.server.schemas.base import option_fields, option_names, schema

__all__ = ["OPTIONS", "PASSED", "InputTokensRequest", "ResponsesRequest"]

CLASSES = (SamplingParams, RequestParams, ChatParams)
_TRANSLATED = frozenset({
    "tools", "tool_choice", "response_format", "max_tokens", "logprobs", "top_logprobs", "user",
})  # fmt: skip
"""Options of chat completions that come out of other fields here."""
_LEFT_OUT = frozenset({
    "model", "echo", "suffix", "n", "best_of", "stream", "stream_options", "functions", "function_call",
})  # fmt: skip
PASSED = option_names(CLASSES, _TRANSLATED | _LEFT_OUT)
"""Options that go on as they are."""
OPTIONS = PASSED | _TRANSLATED
"""What a chat completion is given."""

MOST_METADATA = 16


def _told(kind: Any, words: str) -> Any:
    return (kind | None, Field(None, description=words))


_OBJECT = dict[str, Any]
_SAID = {
    "model": _told(str, "Which model; may be left out while one is served."),
    "input": _told(str | list[Any], "A text, or items: messages, function calls and outputs, reasoning, references."),
    "instructions": _told(str, "What the model is told before the input; not carried on to the next response."),
    "previous_response_id": _told(str, "Go on from this stored response."),
    "text": _told(_OBJECT, "format: text, json_object or json_schema; verbosity is accepted."),
    "reasoning": _told(_OBJECT, "effort: how hard to think. A summary is not written."),
    "tools": _told(list[_OBJECT], "Functions that the model may call."),
    "tool_choice": _told(str | _OBJECT, "none, auto, required, one function, or some (allowed_tools)."),
    "truncation": _told(Literal["auto", "disabled"], "auto: leave out the oldest turns that do not fit."),
    "conversation": _told(Any, "Not supported; see previous_response_id."),
}
_HOW = {
    "stream": _told(bool, "Give typed events as they come."),
    "stream_options": _told(_OBJECT, "include_obfuscation is accepted; nothing is added."),
    "background": _told(bool, "Answer at once and generate without the client; needs store."),
    "store": _told(bool, "Keep the response for GET and previous_response_id; default true."),
    "include": _told(list[str], "message.output_text.logprobs, reasoning.encrypted_content; others mean nothing."),
    "max_output_tokens": _told(Annotated[int, Field(ge=1)], "Most tokens to generate, reasoning included."),
    "max_tokens": _told(int, "The same."),
    "top_logprobs": _told(Annotated[int, Field(ge=0)], "Alternatives for each token of the text."),
    "max_tool_calls": _told(int, "Accepted; it counts calls of built-in tools, of which there are none."),
    "metadata": _told(
        Annotated[
            dict[Annotated[str, StringConstraints(max_length=64)], Annotated[str, StringConstraints(max_length=512)]],
            Field(max_length=MOST_METADATA),
        ],
        "Up to 16 texts under names, given back.",
    ),
    "user": _told(str, "Who asks."),
    "safety_identifier": _told(str, "Who asks, where there is no user."),
    "prompt_cache_key": _told(str, "Given back; equal beginnings of prompts are found without."),
    "prompt_cache_retention": _told(str, "Given back."),
    "service_tier": _told(str, "Accepted."),
    "prompt": _told(Any, "Not supported: there are no stored prompts."),
    "context_management": _told(Any, "Not supported; see truncation."),
}

ResponsesRequest = schema(
    "ResponsesRequest",
    "What to answer, and how. Fields that are not known are ignored.",
    {**_SAID, **_HOW, **option_fields(CLASSES, {*_TRANSLATED, *_LEFT_OUT, *_SAID, *_HOW})},
)

InputTokensRequest = schema(
    "InputTokensRequest",
    "What would be answered: its tokens are counted.",
    {**_SAID, **option_fields((ChatParams,), {*_TRANSLATED, *_LEFT_OUT, *_SAID, *_HOW})},
)
