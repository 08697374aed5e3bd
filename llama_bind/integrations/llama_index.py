"""LlamaIndex: `LlamaBind`, a language model that calls functions, and `LlamaBindEmbedding`, in this process.

Any number of threads and tasks share one model; the asynchronous calls occupy no thread. Arguments of calls, and so the
values of ``structured_predict``, are held to their schemas. Needs the extra ``llama-bind[llama-index]``. Not for:
models behind a server (``OpenAILike`` with its address), or agents and indices (LlamaIndex's).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Any

try:
    from llama_index.core.base.llms.types import (
        CachePoint,
        ChatMessage,
        ChatResponse,
        ChatResponseAsyncGen,
        ChatResponseGen,
        CompletionResponse,
        CompletionResponseAsyncGen,
        CompletionResponseGen,
        LLMMetadata,
        MessageRole,
        TextBlock,
        ThinkingBlock,
        ToolCallBlock,
    )
    from llama_index.core.bridge.pydantic import Field
    from llama_index.core.embeddings import BaseEmbedding
    from llama_index.core.llms.callbacks import llm_chat_callback, llm_completion_callback
    from llama_index.core.llms.function_calling import FunctionCallingLLM
    from llama_index.core.llms.llm import ToolSelection
    from llama_index.core.tools.types import BaseTool
except ImportError as error:
    raise ImportError('this needs LlamaIndex: pip install "llama-bind[llama-index]"') from error

from llama_bind.errors import InputError, UnsupportedError
from llama_bind.integrations.fields import EmbedderFields, ModelFields
from llama_bind.integrations.shared import add_calls

__all__ = ["LlamaBind", "LlamaBindEmbedding"]

_ROLES = {MessageRole.CHATBOT: "assistant", MessageRole.MODEL: "assistant"}


class LlamaBind(ModelFields, FunctionCallingLLM):
    """A language model.

    Args:
        model: A file, a known name or a Hugging Face repository; None: the default model.
        llm: A `Llama` that is loaded already, in place of loading one; several objects can share it.
        **options: Any option of `Llama` (``n_ctx=4096``), and of its calls (``temperature=0``).

    Raises:
        UnknownOptionError, InputError: An option.
        ModelNotFoundError, ModelLoadError, ...: What `Llama` raises.

    Example:
        >>> llm = LlamaBind(model="model.gguf", n_ctx=4096, temperature=0)  # doctest: +SKIP
        >>> llm.complete("The capital of France is").text  # doctest: +SKIP
    """

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows the class."""
        return "LlamaBind"

    @property
    def metadata(self) -> LLMMetadata:
        """What LlamaIndex wants to know of a model: its context, and that it chats and calls functions."""
        return LLMMetadata(
            context_window=self.llm.n_ctx(),
            num_output=self._told.call.get("max_tokens") or -1,
            is_chat_model=True,
            is_function_calling_model=True,
            model_name=self._name,
        )

    # -- texts -----------------------------------------------------------------------------------------------------

    def _completion(self, prompt: str, formatted: bool, kwargs: Mapping[str, Any]) -> dict[str, Any]:
        given = prompt if formatted else self.completion_to_prompt(prompt)
        return {**self._told.completion(), **kwargs, "prompt": given}

    @llm_completion_callback()
    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """Continue a text."""
        return _completed(self.llm.create_completion(**self._completion(prompt, formatted, kwargs)))

    @llm_completion_callback()
    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponse:
        """As `complete`."""
        return _completed(await self._aio.create_completion(**self._completion(prompt, formatted, kwargs)))

    @llm_completion_callback()
    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseGen:
        """As `complete`, piece by piece."""

        def pieces() -> Iterator[CompletionResponse]:
            text = ""
            for chunk in self.llm.create_completion(**self._completion(prompt, formatted, kwargs), stream=True):
                text += chunk["choices"][0]["text"]
                yield CompletionResponse(text=text, delta=chunk["choices"][0]["text"], raw=chunk)

        return pieces()

    @llm_completion_callback()
    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> CompletionResponseAsyncGen:
        """As `stream_complete`."""

        async def pieces() -> AsyncIterator[CompletionResponse]:
            text = ""
            arguments = self._completion(prompt, formatted, kwargs)
            async with await self._aio.create_completion(**arguments, stream=True) as stream:
                async for chunk in stream:
                    text += chunk["choices"][0]["text"]
                    yield CompletionResponse(text=text, delta=chunk["choices"][0]["text"], raw=chunk)

        return pieces()

    # -- conversations ---------------------------------------------------------------------------------------------

    def _chat(self, messages: Sequence[ChatMessage], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        return {**self._told.chat(), **kwargs, "messages": [_shown(message) for message in messages]}

    @llm_chat_callback()
    def chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """Answer a conversation."""
        return _answered(self.llm.create_chat_completion(**self._chat(messages, kwargs)))

    @llm_chat_callback()
    async def achat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponse:
        """As `chat`."""
        return _answered(await self._aio.create_chat_completion(**self._chat(messages, kwargs)))

    @llm_chat_callback()
    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseGen:
        """As `chat`, piece by piece: each response holds all that there is so far."""

        def pieces() -> Iterator[ChatResponse]:
            growing = _Growing()
            for chunk in self.llm.create_chat_completion(**self._chat(messages, kwargs), stream=True):
                yield growing.with_chunk(chunk)

        return pieces()

    @llm_chat_callback()
    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: Any) -> ChatResponseAsyncGen:
        """As `stream_chat`."""

        async def pieces() -> AsyncIterator[ChatResponse]:
            growing = _Growing()
            async with await self._aio.create_chat_completion(**self._chat(messages, kwargs), stream=True) as stream:
                async for chunk in stream:
                    yield growing.with_chunk(chunk)

        return pieces()

    # -- functions -------------------------------------------------------------------------------------------------

    def _prepare_chat_with_tools(
        self,
        tools: Sequence[BaseTool],
        user_msg: str | ChatMessage | None = None,
        chat_history: list[ChatMessage] | None = None,
        verbose: bool = False,  # noqa: ARG002  # LlamaIndex's signature
        allow_parallel_tool_calls: bool = False,
        tool_required: bool = False,
        tool_choice: str | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        if isinstance(user_msg, str):
            user_msg = ChatMessage(role=MessageRole.USER, content=user_msg)
        messages = [*(chat_history or ()), *([] if user_msg is None else [user_msg])]
        if not tools:
            return {"messages": messages, **kwargs}
        choice: Any = tool_choice or ("required" if tool_required else "auto")
        if isinstance(choice, str) and choice not in ("auto", "none", "required"):
            choice = {"type": "function", "function": {"name": choice}}
        return {
            "messages": messages,
            "tools": [tool.metadata.to_openai_tool(skip_length_check=True) for tool in tools],
            "tool_choice": choice,
            "parallel_tool_calls": allow_parallel_tool_calls,
            **kwargs,
        }

    def _validate_chat_with_tools_response(
        self,
        response: ChatResponse,
        tools: Sequence[BaseTool],  # noqa: ARG002  # LlamaIndex's signature
        allow_parallel_tool_calls: bool = False,
        **kwargs: Any,  # noqa: ARG002
    ) -> ChatResponse:
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not allow_parallel_tool_calls:
            response.message.blocks = [block for block in response.message.blocks if block not in calls[1:]]
        return response

    def get_tool_calls_from_response(
        self,
        response: ChatResponse,
        error_on_no_tool_call: bool = True,
        **kwargs: Any,  # noqa: ARG002  # LlamaIndex's signature
    ) -> list[ToolSelection]:
        """The calls that an answer asks for.

        Raises:
            InputError: There is none, or the arguments of one are cut off (by ``max_tokens``).
        """
        calls = [block for block in response.message.blocks if isinstance(block, ToolCallBlock)]
        if not calls and error_on_no_tool_call:
            raise InputError("the answer calls no function; tool_required=True makes it call one", param="response")
        return [
            ToolSelection(tool_id=c.tool_call_id or c.tool_name, tool_name=c.tool_name, tool_kwargs=_whole(c))
            for c in calls
        ]


class LlamaBindEmbedding(EmbedderFields, BaseEmbedding):
    """Embeddings of texts.

    Args:
        model: A file, a known name or a Hugging Face repository; None: the default model.
        llm: A `Llama` that was loaded with ``embedding=True``, in place of loading one.
        normalize: Scale vectors to length 1.
        truncate: What to leave out of a text that is too long: False (an error), True or "end", "start", "middle".
        query_prefix, text_prefix: What the model wants before queries and texts.
        **options: Any option of `Llama`.

    Raises:
        UnknownOptionError, InputError: An option.
        UnsupportedError: `llm` was not loaded for embeddings.
    """

    embed_batch_size: int = Field(default=256, gt=0, le=2048, description="Texts in one call.")
    text_prefix: str = Field(default="", description="What the model wants before texts.")

    def model_post_init(self, context: Any, /) -> None:
        """Load the model."""
        super().model_post_init(context)
        self.model_name = self._name

    @classmethod
    def class_name(cls) -> str:
        """The name under which LlamaIndex knows the class."""
        return "LlamaBindEmbedding"

    def _get_query_embedding(self, query: str) -> list[float]:
        return self._vectors([self.query_prefix + query])[0]

    async def _aget_query_embedding(self, query: str) -> list[float]:
        return (await self._avectors([self.query_prefix + query]))[0]

    def _get_text_embedding(self, text: str) -> list[float]:
        return self._vectors([self.text_prefix + text])[0]

    async def _aget_text_embedding(self, text: str) -> list[float]:
        return (await self._avectors([self.text_prefix + text]))[0]

    def _get_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return self._vectors([self.text_prefix + text for text in texts])

    async def _aget_text_embeddings(self, texts: list[str]) -> list[list[float]]:
        return await self._avectors([self.text_prefix + text for text in texts])


# -- between LlamaIndex's objects and OpenAI's dicts -----------------------------------------------------------------


def _shown(message: ChatMessage) -> dict[str, Any]:
    """A message in OpenAI's shape."""
    texts: list[str] = []
    found: dict[str, Any] = {"role": _ROLES.get(message.role, message.role.value)}
    calls = []
    for block in message.blocks:
        if isinstance(block, TextBlock):
            texts.append(block.text)
        elif isinstance(block, ThinkingBlock):
            found["reasoning_content"] = block.content or ""
        elif isinstance(block, ToolCallBlock):
            given = block.tool_kwargs
            arguments = given if isinstance(given, str) else json.dumps(given, ensure_ascii=False)
            function = {"name": block.tool_name, "arguments": arguments}
            calls.append({"id": block.tool_call_id, "type": "function", "function": function})
        elif not isinstance(block, CachePoint):  # what is computed is kept without being told
            raise UnsupportedError(
                f"a message holds a {type(block).__name__}; only texts, thoughts and calls are supported"
            )
    found["content"] = "\n".join(texts) if texts or not calls else None
    if calls:
        found["tool_calls"] = calls
    for key in ("tool_call_id", "name"):
        if message.additional_kwargs.get(key) is not None:
            found[key] = message.additional_kwargs[key]
    return found


def _completed(answer: Mapping[str, Any]) -> CompletionResponse:
    return CompletionResponse(text=answer["choices"][0]["text"], raw=answer, additional_kwargs=dict(answer["usage"]))


def _answered(answer: Mapping[str, Any]) -> ChatResponse:
    given = answer["choices"][0]["message"]
    calls = [
        _call(raw["id"], raw["function"]["name"], raw["function"]["arguments"]) for raw in given.get("tool_calls") or ()
    ]
    message = _message(given.get("content") or "", given.get("reasoning_content") or "", calls)
    return ChatResponse(message=message, raw=answer, additional_kwargs=dict(answer["usage"]))


def _message(text: str, thoughts: str, calls: Sequence[ToolCallBlock]) -> ChatMessage:
    blocks = [
        *([ThinkingBlock(content=thoughts)] if thoughts else []),
        *([TextBlock(text=text)] if text else []),
        *calls,
    ]
    return ChatMessage(role=MessageRole.ASSISTANT, blocks=blocks)


def _call(name_of_call: str | None, function: str, arguments: str) -> ToolCallBlock:
    """A call with its arguments as values; as text where they are not whole."""
    try:
        values = json.loads(arguments)
    except ValueError:
        values = arguments
    return ToolCallBlock(tool_call_id=name_of_call, tool_name=function, tool_kwargs=values)


def _whole(call: ToolCallBlock) -> dict[str, Any]:
    if isinstance(call.tool_kwargs, str):
        message = (
            f"the arguments of the call of {call.tool_name} are cut off: {call.tool_kwargs[-40:]!r}; raise max_tokens"
        )
        raise InputError(message, param="max_tokens")
    return dict(call.tool_kwargs)


class _Growing:
    """An answer that is streamed, as far as it has come."""

    def __init__(self) -> None:
        self._text = self._thoughts = ""
        self._calls: list[dict[str, str]] = []

    def with_chunk(self, chunk: Mapping[str, Any]) -> ChatResponse:
        """The answer with one chunk more."""
        delta = chunk["choices"][0]["delta"]
        self._text += delta.get("content") or ""
        self._thoughts += delta.get("reasoning_content") or ""
        add_calls(self._calls, delta)
        calls = [_call(call["id"], call["name"], call["arguments"]) for call in self._calls]
        return ChatResponse(
            message=_message(self._text, self._thoughts, calls),
            delta=delta.get("content") or "",
            raw=chunk,
            additional_kwargs={"thinking_delta": delta.get("reasoning_content")},
        )
