"""LangChain: `ChatLlamaBind`, a chat model, and `LlamaBindEmbeddings`, in this process without a server.

Any number of threads and tasks share one model: ``batch`` and ``abatch`` run their inputs at the same time, ``ainvoke``
and ``astream`` occupy no thread. Tools and structured output are held to their schemas. Needs the extra
``llama-bind[langchain]``. Not for: models behind a server (``ChatOpenAI`` with its address), or agents (LangChain's).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from operator import itemgetter
from typing import Any, Literal

try:
    from langchain_core.callbacks import AsyncCallbackManagerForLLMRun, CallbackManagerForLLMRun
    from langchain_core.embeddings import Embeddings
    from langchain_core.language_models import LanguageModelInput
    from langchain_core.language_models.chat_models import BaseChatModel, LangSmithParams
    from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, convert_to_openai_messages
    from langchain_core.messages.ai import UsageMetadata
    from langchain_core.messages.tool import InvalidToolCall, ToolCall, ToolCallChunk, tool_call_chunk
    from langchain_core.output_parsers import JsonOutputParser, PydanticOutputParser
    from langchain_core.output_parsers.openai_tools import (
        JsonOutputKeyToolsParser,
        PydanticToolsParser,
        make_invalid_tool_call,
        parse_tool_call,
    )
    from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
    from langchain_core.runnables import Runnable, RunnableMap, RunnablePassthrough
    from langchain_core.tools import BaseTool
    from langchain_core.utils.function_calling import convert_to_json_schema, convert_to_openai_tool
    from langchain_core.utils.pydantic import is_basemodel_subclass
    from pydantic import BaseModel
except ImportError as error:
    raise ImportError('this needs LangChain: pip install "llama-bind[langchain]"') from error

from llama_bind.errors import InputError
from llama_bind.integrations.fields import EmbedderFields, ModelFields

__all__ = ["ChatLlamaBind", "LlamaBindEmbeddings"]

PROVIDER = "llama_bind"
Method = Literal["json_schema", "function_calling", "json_mode"]


class ChatLlamaBind(ModelFields, BaseChatModel):
    """A chat model.

    Args:
        model: A file, a known name or a Hugging Face repository; None: the default model.
        llm: A `Llama` that is loaded already, in place of loading one.
        streaming: Whether ``invoke`` streams too, so that callbacks see the text while it comes.
        **options: Any option of `Llama` (``n_ctx=4096``), and of its chat completions (``temperature=0``).

    Raises:
        UnknownOptionError, InputError: An option.
        ModelNotFoundError, ModelLoadError, ...: What `Llama` raises.

    Example:
        >>> chat = ChatLlamaBind(model="model.gguf", n_ctx=4096, temperature=0)  # doctest: +SKIP
        >>> chat.invoke("What is the capital of France?").content  # doctest: +SKIP
    """

    streaming: bool = False

    @property
    def _llm_type(self) -> str:
        return "llama-bind-chat"

    @property
    def _identifying_params(self) -> dict[str, Any]:
        return {"model": self._name, **self._told.call}

    def _get_ls_params(self, stop: list[str] | None = None, **kwargs: Any) -> LangSmithParams:
        call = {**self._told.call, **kwargs}
        found = LangSmithParams(
            ls_provider=PROVIDER, ls_model_name=call.get("model") or self._name, ls_model_type="chat"
        )
        if isinstance(call.get("temperature"), (int, float)):
            found["ls_temperature"] = float(call["temperature"])
        if isinstance(call.get("max_tokens"), int):
            found["ls_max_tokens"] = call["max_tokens"]
        if stop or call.get("stop"):
            found["ls_stop"] = stop or call["stop"]
        return found

    def get_token_ids(self, text: str) -> list[int]:
        """The tokens of a text, by the model's own tokenizer."""
        ids: list[int] = self.llm.tokenize(text, add_bos=False)
        return ids

    # -- calls -----------------------------------------------------------------------------------------------------

    def _arguments(self, stop: list[str] | None, kwargs: Mapping[str, Any], *, stream: bool = False) -> dict[str, Any]:
        made = {"model": self._name, **self._told.chat(), **kwargs}
        if stop is not None:
            made["stop"] = stop
        if stream:
            if (made.get("n") or 1) > 1:
                raise InputError("a stream has one answer; leave out n, or use generate", param="n")
            made.update(stream=True, stream_options={"include_usage": True})
        return made

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,  # noqa: ARG002  # LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        return _result(self.llm.create_chat_completion(_messages(messages), **self._arguments(stop, kwargs)))

    async def _agenerate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,  # noqa: ARG002  # LangChain's signature
        **kwargs: Any,
    ) -> ChatResult:
        return _result(await self._aio.create_chat_completion(_messages(messages), **self._arguments(stop, kwargs)))

    def _stream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> Iterator[ChatGenerationChunk]:
        arguments = self._arguments(stop, kwargs, stream=True)
        for chunk in self.llm.create_chat_completion(_messages(messages), **arguments):
            made = _chunk(chunk)
            if run_manager is not None:
                run_manager.on_llm_new_token(made.text, chunk=made)
            yield made

    async def _astream(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: AsyncCallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> AsyncIterator[ChatGenerationChunk]:
        arguments = self._arguments(stop, kwargs, stream=True)
        async with await self._aio.create_chat_completion(_messages(messages), **arguments) as stream:
            async for chunk in stream:
                made = _chunk(chunk)
                if run_manager is not None:
                    await run_manager.on_llm_new_token(made.text, chunk=made)
                yield made

    # -- tools and forms -------------------------------------------------------------------------------------------

    def bind_tools(
        self,
        tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool],
        *,
        tool_choice: str | bool | dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, AIMessage]:
        """The model with tools that it may call.

        Args:
            tools: Whatever LangChain takes for a tool. Arguments are held to the schemas.
            tool_choice: "auto", "none", "any" or "required" or True (at least one call), the name of one, or a choice
                in OpenAI's shape.
            **kwargs: Further options of the calls.
        """
        declared = [convert_to_openai_tool(tool) for tool in tools]
        names = [one["function"]["name"] for one in declared if "function" in one]
        choice: Any = tool_choice
        if tool_choice is True or tool_choice == "any":
            choice = "required"
        elif isinstance(tool_choice, str) and tool_choice not in ("auto", "none", "required"):
            if tool_choice not in names:
                raise InputError(
                    f"tool_choice is {tool_choice!r}; the tools are {', '.join(names)}", param="tool_choice"
                )
            choice = {"type": "function", "function": {"name": tool_choice}}
        return self.bind(tools=declared, **({} if not choice else {"tool_choice": choice}), **kwargs)

    def with_structured_output(
        self,
        schema: dict[str, Any] | type | None = None,
        *,
        include_raw: bool = False,
        method: Method = "json_schema",
        **kwargs: Any,
    ) -> Runnable[LanguageModelInput, dict[str, Any] | BaseModel]:
        """A model whose answers are values: pydantic objects for a pydantic class, else dicts.

        Args:
            schema: A pydantic class, a TypedDict or a JSON Schema; with "json_mode" it may be None.
            include_raw: Give ``{"raw": message, "parsed": value or None, "parsing_error": error or None}``.
            method: "json_schema" holds the text to the schema; "function_calling" asks for a call of a function with
                these arguments; "json_mode" for any JSON object.
            **kwargs: Further options of the calls.
        """
        if method not in ("json_schema", "function_calling", "json_mode"):
            raise InputError(
                f"method is {method!r}; there are json_schema, function_calling, json_mode", param="method"
            )
        if schema is None and method != "json_mode":
            raise InputError("schema is missing; only json_mode goes without one", param="schema")
        typed = isinstance(schema, type) and is_basemodel_subclass(schema)
        parser: Any
        if method == "function_calling":
            tool = convert_to_openai_tool(schema or {})
            name = tool["function"]["name"]
            made = self.bind_tools(
                [tool], tool_choice=name, **kwargs, ls_structured_output_format=_traced(tool, method)
            )
            parser = (
                PydanticToolsParser(tools=[schema], first_tool_only=True)
                if typed
                else JsonOutputKeyToolsParser(key_name=name, first_tool_only=True)
            )
        else:
            form = _form(schema, method)
            made = self.bind(response_format=form, **kwargs, ls_structured_output_format=_traced(schema, method))
            parser = PydanticOutputParser(pydantic_object=schema) if typed else JsonOutputParser()
        if not include_raw:
            return made | parser
        assigned = RunnablePassthrough.assign(parsed=itemgetter("raw") | parser, parsing_error=lambda _: None)
        none = RunnablePassthrough.assign(parsed=lambda _: None)
        return RunnableMap(raw=made) | assigned.with_fallbacks([none], exception_key="parsing_error")


class LlamaBindEmbeddings(EmbedderFields, Embeddings):
    """Embeddings of texts.

    Args:
        model: A file, a known name or a Hugging Face repository; None: the default model.
        llm: A `Llama` that was loaded with ``embedding=True``, in place of loading one.
        normalize: Scale vectors to length 1.
        truncate: What to leave out of a text that is too long: False (an error), True or "end", "start", "middle".
        query_prefix, document_prefix: Text that the model wants before queries and documents.
        **options: Any option of `Llama`.

    Raises:
        UnknownOptionError, InputError: An option.
        UnsupportedError: `llm` was not loaded for embeddings.
    """

    document_prefix: str = ""

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Vectors of texts, computed together."""
        return self._vectors(self._documents(texts)) if texts else []

    def embed_query(self, text: str) -> list[float]:
        """The vector of a question."""
        return self._vectors([self.query_prefix + text])[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """As `embed_documents`; occupies no thread while it waits."""
        return await self._avectors(self._documents(texts)) if texts else []

    async def aembed_query(self, text: str) -> list[float]:
        """As `embed_query`."""
        return (await self._avectors([self.query_prefix + text]))[0]

    def _documents(self, texts: Sequence[str]) -> list[str]:
        return [self.document_prefix + text for text in texts]


# -- between LangChain's objects and OpenAI's dicts ------------------------------------------------------------------


def _messages(messages: Sequence[BaseMessage]) -> list[dict[str, Any]]:
    found: Any = convert_to_openai_messages(messages)
    for message, made in zip(messages, found, strict=True):
        thoughts = message.additional_kwargs.get("reasoning_content")
        if thoughts and made["role"] == "assistant":
            made["reasoning_content"] = thoughts
        if isinstance(made.get("content"), list):  # thoughts of other models, which no template knows as a part
            made["content"] = [p for p in made["content"] if p.get("type") not in ("reasoning", "thinking")]
    return list(found)


def _result(answer: Mapping[str, Any]) -> ChatResult:
    generations = [_generation(choice, answer) for choice in answer["choices"]]
    return ChatResult(
        generations=generations, llm_output={"token_usage": answer["usage"], "model_name": answer["model"]}
    )


def _generation(choice: Mapping[str, Any], answer: Mapping[str, Any]) -> ChatGeneration:
    given = choice["message"]
    calls: list[ToolCall] = []
    broken: list[InvalidToolCall] = []
    for raw in given.get("tool_calls") or ():
        try:
            calls.append(parse_tool_call(raw, return_id=True))
        except Exception as error:  # what LangChain raises for arguments that are cut off
            broken.append(make_invalid_tool_call(raw, str(error)))
    info = _info(choice, answer)
    message = AIMessage(
        content=given.get("content") or "",
        additional_kwargs=_thoughts(given),
        tool_calls=calls,
        invalid_tool_calls=broken,
        usage_metadata=_usage(answer["usage"]) if choice["index"] == 0 else None,
        response_metadata=info,
        id=f"{answer['id']}-{choice['index']}",
    )
    return ChatGeneration(message=message, generation_info=info)


def _chunk(chunk: Mapping[str, Any]) -> ChatGenerationChunk:
    usage = chunk.get("usage")
    for choice in chunk["choices"]:
        delta = choice["delta"]
        info = _info(choice, chunk) if choice.get("finish_reason") else {}
        message = AIMessageChunk(
            content=delta.get("content") or "",
            additional_kwargs=_thoughts(delta),
            tool_call_chunks=[_call_chunk(raw) for raw in delta.get("tool_calls") or ()],
            response_metadata=info,
            id=f"{chunk['id']}-0",
        )
        return ChatGenerationChunk(message=message, generation_info=info or None)
    counted = AIMessageChunk(content="", usage_metadata=None if usage is None else _usage(usage), id=f"{chunk['id']}-0")
    return ChatGenerationChunk(message=counted)


def _call_chunk(raw: Mapping[str, Any]) -> ToolCallChunk:
    function = raw["function"]
    return tool_call_chunk(
        name=function.get("name"), args=function.get("arguments"), id=raw.get("id"), index=raw["index"]
    )


def _info(choice: Mapping[str, Any], answer: Mapping[str, Any]) -> dict[str, Any]:
    info = {"finish_reason": choice["finish_reason"], "model_name": answer["model"], "model_provider": PROVIDER}
    if choice.get("logprobs"):
        info["logprobs"] = choice["logprobs"]
    return info


def _thoughts(given: Mapping[str, Any]) -> dict[str, Any]:
    return {"reasoning_content": given["reasoning_content"]} if given.get("reasoning_content") else {}


def _usage(usage: Mapping[str, Any]) -> UsageMetadata:
    made = UsageMetadata(
        input_tokens=usage["prompt_tokens"],
        output_tokens=usage["completion_tokens"],
        total_tokens=usage["total_tokens"],
    )
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
    if cached is not None:
        made["input_token_details"] = {"cache_read": cached}
    return made


def _form(schema: Any, method: Method) -> dict[str, Any]:
    if method == "json_mode":
        return {"type": "json_object"}
    made = convert_to_json_schema(schema)
    return {"type": "json_schema", "json_schema": {"name": made.get("title") or "answer", "schema": made}}


def _traced(schema: Any, method: Method) -> dict[str, Any]:
    """What LangSmith is told of the form; LangChain takes it out of the options."""
    return {"kwargs": {"method": method}, "schema": schema}
