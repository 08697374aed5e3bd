"""A plugin of Simon Willison's `llm`: the models of this machine in its command line and its library.

``llm -m llama-bind "Give me a joke."`` runs the default model, ``llm models`` lists the others. Conversations, tools,
schemas (to which the answer is held), embeddings, asynchronous use. Needs the extra ``llama-bind[llm]``, which is all:
`llm` finds the plugin by its entry point. Not for: models behind a server (``extra-openai-models.yaml``).
"""

from __future__ import annotations

import json
import threading
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, get_args, get_type_hints

try:
    import llm
    from llm.parts import ReasoningPart, StreamEvent, TextPart, ToolCallPart, ToolResultPart
    from pydantic import Field, create_model
except ImportError as error:
    raise ImportError('this needs llm: pip install "llama-bind[llm]"') from error

from llama_bind import hub
from llama_bind.aio import AsyncLlama
from llama_bind.errors import UnsupportedError
from llama_bind.integrations.shared import CALL, LATER, add_calls, load, told_apart
from llama_bind.llama import Llama
from llama_bind.options import options_of
from llama_bind.params import ContextParams, LlamaParams, ModelParams

__all__ = ["AsyncLlamaBindModel", "LlamaBindEmbeddingModel", "LlamaBindModel"]

PREFIX = "llama-bind"
ALSO_LOAD = ("n_ctx", "n_gpu_layers", "n_threads", "chat_format", "draft_model", "lora_path")
"""Options of the model that a prompt may give too: with others than before it is loaded anew."""
NOT_HERE = LATER | {"echo", "suffix", "n", "best_of", "priority", "user"}


def _fields() -> dict[str, Any]:
    """Options whose values the command line can give as text, as pydantic's fields."""
    found: dict[str, Any] = {}
    for cls in (*CALL, ModelParams, ContextParams, LlamaParams):
        hints = get_type_hints(cls)
        for name, entry in options_of(cls).items():
            kinds = {kind for kind in (get_args(hints[name]) or (hints[name],)) if kind in (int, float, str, bool)}
            wanted = name in ALSO_LOAD or (cls in CALL and name not in NOT_HERE)
            if (entry.cli or name == "tool_choice") and wanted and kinds and name not in found:
                kind = next(k for k in (float, int, str, bool) if k in kinds)
                found[name] = (kind | None, Field(default=None, description=entry.doc))
    return found


Options: Any = create_model("Options", __base__=llm.Options, **_fields())


class _Loaded:
    """The model of a name, loaded when it is first needed; again when it is wanted with other options."""

    def __init__(self, name: str | None) -> None:
        self._name = name
        self._lock = threading.Lock()
        self._held: tuple[Mapping[str, Any], Llama] | None = None

    def __call__(self, options: Mapping[str, Any]) -> Llama:
        with self._lock:
            if self._held is None or self._held[0] != options:
                if self._held is not None:
                    self._held[1].close()
                    self._held = None
                self._held = dict(options), load(self._name, options, None)
            return self._held[1]


class _Model:
    """What both kinds of model have in common."""

    can_stream = True
    supports_tools = True
    supports_schema = True
    Options = Options

    def __init__(self, model_id: str, loaded: _Loaded) -> None:
        self.model_id = model_id
        self._loaded = loaded

    def _call(self, prompt: Any) -> tuple[Llama, dict[str, Any]]:
        """The model, and the arguments of the call."""
        given = {k: v for k, v in dict(prompt.options or {}).items() if v is not None}
        options = told_apart(given, self.model_id)
        arguments = {**options.chat(), "messages": _messages(prompt.messages)}
        if prompt.tools:
            arguments["tools"] = [_declared(tool) for tool in prompt.tools]
        if prompt.schema:
            arguments["json_schema"] = prompt.schema
        return self._loaded(options.load), arguments


class LlamaBindModel(_Model, llm.Model):
    """A model of this machine."""

    def execute(self, prompt: Any, stream: bool, response: Any, conversation: Any) -> Iterator[Any]:  # noqa: ARG002
        """Answer a prompt, piece by piece."""
        model, arguments = self._call(prompt)
        answer = _Answer(response)
        if stream:
            chunks: Any = model.create_chat_completion(**arguments, stream=True, stream_options={"include_usage": True})
            for chunk in chunks:
                yield from answer.events(chunk)
        else:
            yield from answer.whole(model.create_chat_completion(**arguments))
        answer.end()


class AsyncLlamaBindModel(_Model, llm.AsyncModel):
    """The same for asyncio."""

    async def execute(
        self,
        prompt: Any,
        stream: bool,
        response: Any,
        conversation: Any,  # noqa: ARG002
    ) -> AsyncGenerator[Any, None]:
        """Answer a prompt, piece by piece."""
        import asyncio

        model, arguments = await asyncio.to_thread(self._call, prompt)
        aio: Any = AsyncLlama.of(model)
        answer = _Answer(response)
        if stream:
            options = {"include_usage": True}
            async with await aio.create_chat_completion(**arguments, stream=True, stream_options=options) as chunks:
                async for chunk in chunks:
                    for event in answer.events(chunk):
                        yield event
        else:
            for event in answer.whole(await aio.create_chat_completion(**arguments)):
                yield event
        answer.end()


class LlamaBindEmbeddingModel(llm.EmbeddingModel):
    """Embeddings by a model of this machine."""

    batch_size = 256

    def __init__(self, model_id: str, name: str | None) -> None:
        self.model_id = model_id
        self._loaded = _Loaded(name)

    def embed_batch(self, items: Iterable[str | bytes], *, key: str | None = None) -> Iterator[list[float]]:  # noqa: ARG002
        """Vectors of length 1."""
        texts = list(items)
        if texts:
            for vector in self._loaded({"embedding": True}).embed(texts, normalize=True):
                yield vector.tolist()


@llm.hookimpl
def register_models(register: Callable[..., None]) -> None:
    """Called by `llm`."""
    for model_id, name, aliases in _names():
        loaded = _Loaded(name)
        register(LlamaBindModel(model_id, loaded), AsyncLlamaBindModel(model_id, loaded), aliases=aliases)


@llm.hookimpl
def register_embedding_models(register: Callable[..., None]) -> None:
    """Called by `llm`."""
    for model_id, name, aliases in _names():
        register(LlamaBindEmbeddingModel(model_id, name), aliases=aliases)


def _names() -> Iterator[tuple[str, str | None, tuple[str, ...]]]:
    """Identifiers, what `find_model` takes, aliases: the default model, and all that are on this machine."""
    yield f"{PREFIX}/{hub.DEFAULT_MODEL}", None, (PREFIX,)
    seen = {hub.DEFAULT_MODEL}
    for model in hub.cached_models():
        path = Path(model.name)
        name = path.stem if path.is_absolute() else model.name
        if name not in seen:
            seen.add(name)
            yield f"{PREFIX}/{name}", str(model.path), ()


# -- between llm's objects and OpenAI's dicts ------------------------------------------------------------------------


def _declared(tool: Any) -> dict[str, Any]:
    parameters = tool.input_schema or {"type": "object", "properties": {}}
    function = {"name": tool.name, "description": tool.description or "", "parameters": parameters}
    return {"type": "function", "function": function}


def _messages(messages: Iterable[Any]) -> list[dict[str, Any]]:
    return [shown for message in messages for shown in _shown(message)]


def _shown(message: Any) -> Iterator[dict[str, Any]]:
    """A message in OpenAI's shape; each result of a tool is one of its own there."""
    found: dict[str, Any] = {"role": message.role}
    texts: list[str] = []
    for part in message.parts:
        if isinstance(part, TextPart):
            texts.append(part.text)
        elif isinstance(part, ReasoningPart):
            found["reasoning_content"] = found.get("reasoning_content", "") + part.text
        elif isinstance(part, ToolCallPart):
            function = {"name": part.name, "arguments": json.dumps(part.arguments, ensure_ascii=False)}
            found.setdefault("tool_calls", []).append(
                {"id": part.tool_call_id, "type": "function", "function": function}
            )
        elif isinstance(part, ToolResultPart):
            yield {"role": "tool", "name": part.name, "tool_call_id": part.tool_call_id, "content": part.output}
        else:
            raise UnsupportedError(
                f"a message holds a {type(part).__name__}; only texts, thoughts and calls are supported"
            )
    if texts or "tool_calls" in found:
        yield {**found, "content": "\n".join(texts) if texts else None}


class _Answer:
    """An answer on its way to a response of `llm`."""

    def __init__(self, response: Any) -> None:
        self._response = response
        self._calls: list[dict[str, str]] = []
        self._last: dict[str, Any] = {}

    def events(self, chunk: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """What a chunk brings."""
        if chunk.get("usage"):
            self._count(chunk["usage"])
        for choice in chunk["choices"]:
            yield from self._pieces(choice["delta"])
            self._note(chunk, choice)

    def whole(self, answer: Mapping[str, Any]) -> Iterator[StreamEvent]:
        """What an answer in one piece brings."""
        self._count(answer["usage"])
        choice = answer["choices"][0]
        calls = [{**call, "index": i} for i, call in enumerate(choice["message"].get("tool_calls") or ())]
        yield from self._pieces({**choice["message"], "tool_calls": calls})
        self._note(answer, choice)

    def _pieces(self, delta: Mapping[str, Any]) -> Iterator[StreamEvent]:
        if delta.get("reasoning_content"):
            yield StreamEvent(type="reasoning", chunk=delta["reasoning_content"])
        if delta.get("content"):
            yield StreamEvent(type="text", chunk=delta["content"])
        add_calls(self._calls, delta)

    def _count(self, usage: Mapping[str, Any]) -> None:
        cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens")
        details = {"prompt_tokens_details": {"cached_tokens": cached}} if cached else None
        self._response.set_usage(input=usage["prompt_tokens"], output=usage["completion_tokens"], details=details)

    def _note(self, answer: Mapping[str, Any], choice: Mapping[str, Any]) -> None:
        if choice.get("finish_reason"):
            self._last = {"id": answer["id"], "finish_reason": choice["finish_reason"]}

    def end(self) -> None:
        """All is there: the calls are handed over. One whose arguments are cut off is none."""
        for call in self._calls:
            try:
                arguments = json.loads(call["arguments"])
            except ValueError:
                self._last.setdefault("cut_off_calls", []).append(call)
            else:
                made = llm.ToolCall(name=call["name"], arguments=arguments, tool_call_id=call["id"])
                self._response.add_tool_call(made)
        self._response.response_json = self._last
