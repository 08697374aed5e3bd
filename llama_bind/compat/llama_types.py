"""The types of requests and answers under llama-cpp-python's names (OpenAI's shapes).

What calls return are this library's own types; what they take is described here. Not for: checking anything.
"""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import NotRequired, TypedDict

from llama_bind.types import (
    ChatCompletion,
    ChatCompletionChoice,
    ChatCompletionChunk,
    ChatCompletionChunkChoice,
    ChatCompletionDelta,
    ChatCompletionMessage,
    ChatLogprobs,
    ChatTokenLogprob,
    Completion,
    CompletionChoice,
    CompletionLogprobs,
    CompletionUsage,
    CreateEmbeddingResponse,
    Embedding,
    EmbeddingUsage,
    ToolCall,
    ToolCallDelta,
    ToolCallFunction,
)

JsonType = None | int | str | bool | list[Any] | dict[str, Any]

CompletionChunk = Completion
CreateCompletionResponse = Completion
CreateCompletionStreamResponse = Completion
CreateChatCompletionResponse = ChatCompletion
CreateChatCompletionStreamResponse = ChatCompletionChunk
ChatCompletionStreamResponse = ChatCompletionChunk
ChatCompletionResponseChoice = ChatCompletionChoice
ChatCompletionResponseMessage = ChatCompletionMessage
ChatCompletionResponseFunctionCall = ToolCallFunction
ChatCompletionFunctionCall = ToolCallFunction
ChatCompletionMessageToolCall = ToolCall
ChatCompletionMessageToolCalls = list[ToolCall]
ChatCompletionMessageToolCallFunction = ToolCallFunction
ChatCompletionMessageToolCallChunk = ToolCallDelta
ChatCompletionMessageToolCallChunkFunction = ToolCallFunction
ChatCompletionStreamResponseChoice = ChatCompletionChunkChoice
ChatCompletionStreamResponseDelta = ChatCompletionDelta
ChatCompletionChunkDelta = ChatCompletionDelta
ChatCompletionLogprobs = ChatLogprobs
ChatCompletionLogprobToken = ChatTokenLogprob
ChatCompletionTopLogprobToken = ChatTokenLogprob
ChatCompletionStreamResponseDeltaFunctionCall = ToolCallFunction
EmbeddingData = Embedding


class ChatCompletionStreamResponseDeltaEmpty(TypedDict):
    """The delta of a last chunk."""


ChatCompletionChunkDeltaEmpty = ChatCompletionStreamResponseDeltaEmpty


class ChatCompletionFunctions(TypedDict):
    """A function that may be called; `parameters` is a JSON Schema."""

    name: str
    description: NotRequired[str]
    parameters: dict[str, Any]


ChatCompletionFunction = ChatCompletionFunctions
ChatCompletionResponseFunction = ChatCompletionFunctions
ChatCompletionFunctionParameters = dict[str, Any]


class ChatCompletionFunctionCallOption(TypedDict):
    """Asks for a call of this function."""

    name: str


ChatCompletionRequestFunctionCallOption = ChatCompletionFunctionCallOption
ChatCompletionRequestFunctionCall = Literal["none", "auto"] | ChatCompletionFunctionCallOption


class ChatCompletionRequestResponseFormat(TypedDict):
    """The form of an answer; see the option `response_format`."""

    type: Literal["text", "json_object", "json_schema"]
    schema: NotRequired[Any]
    json_schema: NotRequired[Any]


class ChatCompletionRequestMessageContentPartText(TypedDict):
    """Text in a message."""

    type: Literal["text"]
    text: str


class ChatCompletionRequestMessageContentPartImageImageUrl(TypedDict):
    """Where an image is."""

    url: str
    detail: NotRequired[Literal["auto", "low", "high"]]


class ChatCompletionRequestMessageContentPartImage(TypedDict):
    """An image in a message."""

    type: Literal["image_url"]
    image_url: str | ChatCompletionRequestMessageContentPartImageImageUrl


ChatCompletionRequestMessageContentPart = (
    ChatCompletionRequestMessageContentPartText | ChatCompletionRequestMessageContentPartImage
)


class ChatCompletionRequestSystemMessage(TypedDict):
    """A system message."""

    role: Literal["system"]
    content: str | None


class ChatCompletionRequestUserMessage(TypedDict):
    """A user's message."""

    role: Literal["user"]
    content: str | list[ChatCompletionRequestMessageContentPart] | None


class ChatCompletionRequestAssistantMessageFunctionCall(TypedDict):
    """A call in the older form; `arguments` is JSON text."""

    name: str
    arguments: str


class ChatCompletionRequestAssistantMessage(TypedDict):
    """An assistant's message."""

    role: Literal["assistant"]
    content: NotRequired[str | None]
    tool_calls: NotRequired[list[ToolCall]]
    function_call: NotRequired[ChatCompletionRequestAssistantMessageFunctionCall]


class ChatCompletionRequestToolMessage(TypedDict):
    """The result of a call."""

    role: Literal["tool"]
    content: str | None
    tool_call_id: str


class ChatCompletionRequestFunctionMessage(TypedDict):
    """The result of a call in the older form."""

    role: Literal["function"]
    content: str | None
    name: str


ChatCompletionRequestMessage = (
    ChatCompletionRequestSystemMessage
    | ChatCompletionRequestUserMessage
    | ChatCompletionRequestAssistantMessage
    | ChatCompletionRequestToolMessage
    | ChatCompletionRequestFunctionMessage
)


class ChatCompletionToolFunction(TypedDict):
    """The function of a tool; `parameters` is a JSON Schema."""

    name: str
    description: NotRequired[str]
    parameters: dict[str, Any]


class ChatCompletionTool(TypedDict):
    """A tool."""

    type: Literal["function"]
    function: ChatCompletionToolFunction


class ChatCompletionNamedToolChoiceFunction(TypedDict):
    """Names a function."""

    name: str


class ChatCompletionNamedToolChoice(TypedDict):
    """Asks for a call of this tool."""

    type: Literal["function"]
    function: ChatCompletionNamedToolChoiceFunction


ChatCompletionToolChoiceOption = Literal["none", "auto", "required"] | ChatCompletionNamedToolChoice

__all__ = [
    "ChatCompletion", "ChatCompletionChoice", "ChatCompletionChunk", "ChatCompletionChunkChoice",
    "ChatCompletionChunkDelta", "ChatCompletionChunkDeltaEmpty", "ChatCompletionFunction",
    "ChatCompletionFunctionCall", "ChatCompletionFunctionCallOption", "ChatCompletionFunctionParameters",
    "ChatCompletionFunctions", "ChatCompletionLogprobToken", "ChatCompletionLogprobs", "ChatCompletionMessage",
    "ChatCompletionMessageToolCall", "ChatCompletionMessageToolCallChunk",
    "ChatCompletionMessageToolCallChunkFunction", "ChatCompletionMessageToolCallFunction",
    "ChatCompletionMessageToolCalls", "ChatCompletionNamedToolChoice", "ChatCompletionNamedToolChoiceFunction",
    "ChatCompletionRequestAssistantMessage", "ChatCompletionRequestAssistantMessageFunctionCall",
    "ChatCompletionRequestFunctionCall", "ChatCompletionRequestFunctionCallOption",
    "ChatCompletionRequestFunctionMessage", "ChatCompletionRequestMessage",
    "ChatCompletionRequestMessageContentPart", "ChatCompletionRequestMessageContentPartImage",
    "ChatCompletionRequestMessageContentPartImageImageUrl", "ChatCompletionRequestMessageContentPartText",
    "ChatCompletionRequestResponseFormat", "ChatCompletionRequestSystemMessage",
    "ChatCompletionRequestToolMessage", "ChatCompletionRequestUserMessage", "ChatCompletionResponseChoice",
    "ChatCompletionResponseFunction", "ChatCompletionResponseFunctionCall", "ChatCompletionResponseMessage",
    "ChatCompletionStreamResponse", "ChatCompletionStreamResponseChoice", "ChatCompletionStreamResponseDelta",
    "ChatCompletionStreamResponseDeltaEmpty", "ChatCompletionStreamResponseDeltaFunctionCall",
    "ChatCompletionTool", "ChatCompletionToolChoiceOption", "ChatCompletionToolFunction",
    "ChatCompletionTopLogprobToken", "Completion", "CompletionChoice", "CompletionChunk", "CompletionLogprobs",
    "CompletionUsage", "CreateChatCompletionResponse", "CreateChatCompletionStreamResponse",
    "CreateCompletionResponse", "CreateCompletionStreamResponse", "CreateEmbeddingResponse", "Embedding",
    "EmbeddingData", "EmbeddingUsage", "JsonType",
]  # fmt: skip
