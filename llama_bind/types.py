"""The dicts that calls return, in the shape of OpenAI's API reference. Not for: building them (``results``)."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

__all__ = [
    "ChatCompletion",
    "ChatCompletionChoice",
    "ChatCompletionChunk",
    "ChatCompletionChunkChoice",
    "ChatCompletionDelta",
    "ChatCompletionMessage",
    "ChatLogprobs",
    "ChatTokenLogprob",
    "Completion",
    "CompletionChoice",
    "CompletionLogprobs",
    "CompletionUsage",
    "CreateEmbeddingResponse",
    "Embedding",
    "EmbeddingUsage",
    "PromptProgress",
    "PromptTokensDetails",
    "RerankResponse",
    "RerankResult",
    "RerankedDocument",
    "TimingsDict",
    "ToolCall",
    "ToolCallDelta",
    "ToolCallFunction",
]


class PromptTokensDetails(TypedDict):
    """Where the prompt's tokens came from."""

    cached_tokens: int


class CompletionUsage(TypedDict):
    """Counts of tokens."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: NotRequired[PromptTokensDetails]


class TimingsDict(TypedDict):
    """llama-server's field names; milliseconds. `queued_ms` is ours; `draft_*` are there where tokens were guessed."""

    cache_n: int
    prompt_n: int
    prompt_ms: float
    prompt_per_token_ms: float
    prompt_per_second: float
    predicted_n: int
    predicted_ms: float
    predicted_per_token_ms: float
    predicted_per_second: float
    queued_ms: float
    draft_n: NotRequired[int]
    draft_n_accepted: NotRequired[int]


class PromptProgress(TypedDict):
    """How far a prompt is: tokens in all, of which so many were in memory, and so many are computed or were there."""

    total: int
    cache: int
    processed: int
    time_ms: float


class CompletionLogprobs(TypedDict):
    """Log probabilities of a completion: lists with one entry for each token."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class CompletionChoice(TypedDict):
    """One text of a completion; `parsed` and `parse_errors` as in `ChatCompletionMessage`."""

    text: str
    index: int
    logprobs: CompletionLogprobs | None
    finish_reason: str | None
    parsed: NotRequired[Any]
    parse_errors: NotRequired[list[str]]


class Completion(TypedDict):
    """A completion, and a chunk of a streamed one."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    choices: list[CompletionChoice]
    usage: NotRequired[CompletionUsage | None]
    timings: NotRequired[TimingsDict]
    prompt_progress: NotRequired[PromptProgress]
    seed: NotRequired[int]


class ChatTokenLogprob(TypedDict):
    """A token of a chat completion with its log probability."""

    token: str
    logprob: float
    bytes: list[int] | None
    top_logprobs: NotRequired[list[ChatTokenLogprob]]


class ChatLogprobs(TypedDict):
    """Log probabilities of a message."""

    content: list[ChatTokenLogprob] | None
    refusal: None


class ToolCallFunction(TypedDict):
    """Which function is called; `arguments` is JSON text, cut off where the output was."""

    name: NotRequired[str]
    arguments: str


class ToolCall(TypedDict):
    """A call that the model asks for."""

    id: str
    type: Literal["function"]
    function: ToolCallFunction


class ToolCallDelta(TypedDict):
    """What a chunk adds to call `index`: its id and name first, then pieces of its arguments."""

    index: int
    id: NotRequired[str]
    type: NotRequired[Literal["function"]]
    function: ToolCallFunction


class ChatCompletionMessage(TypedDict):
    """A message written by the model.

    `content` is None where there are only calls. `parsed` is there where a type was asked for: None where the text was
    cut off or does not fit; `parse_errors` then says why.
    """

    role: str
    content: str | None
    reasoning_content: NotRequired[str]
    tool_calls: NotRequired[list[ToolCall]]
    function_call: NotRequired[ToolCallFunction]
    parsed: NotRequired[Any]
    parse_errors: NotRequired[list[str]]


class ChatCompletionChoice(TypedDict):
    """One message of a chat completion."""

    index: int
    message: ChatCompletionMessage
    logprobs: ChatLogprobs | None
    finish_reason: str | None


class ChatCompletion(TypedDict):
    """A chat completion."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[ChatCompletionChoice]
    usage: CompletionUsage
    timings: NotRequired[TimingsDict]
    seed: NotRequired[int]


class ChatCompletionDelta(TypedDict, total=False):
    """What a chunk adds to the message."""

    role: str
    content: str | None
    reasoning_content: str
    tool_calls: list[ToolCallDelta]
    function_call: ToolCallFunction


class ChatCompletionChunkChoice(TypedDict):
    """One message's part of a chunk."""

    index: int
    delta: ChatCompletionDelta
    logprobs: ChatLogprobs | None
    finish_reason: str | None


class ChatCompletionChunk(TypedDict):
    """A chunk of a streamed chat completion."""

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[ChatCompletionChunkChoice]
    usage: NotRequired[CompletionUsage | None]
    timings: NotRequired[TimingsDict]
    seed: NotRequired[int]


class Embedding(TypedDict):
    """The embedding of one text: one vector, or one for each token; a string is base64 of little-endian float32."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | list[list[float]] | str


class EmbeddingUsage(TypedDict):
    """Counts of tokens."""

    prompt_tokens: int
    total_tokens: int


class CreateEmbeddingResponse(TypedDict):
    """Embeddings of several texts."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: EmbeddingUsage


class RerankedDocument(TypedDict):
    """A document as it was given."""

    text: str


class RerankResult(TypedDict):
    """A document's place in the list that was given, and its score: higher fits better."""

    index: int
    relevance_score: float
    document: NotRequired[RerankedDocument]


class RerankResponse(TypedDict):
    """Documents by score, in the shape of Jina's API."""

    model: str
    object: Literal["list"]
    usage: EmbeddingUsage
    results: list[RerankResult]
