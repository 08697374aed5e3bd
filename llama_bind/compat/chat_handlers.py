"""Chat handlers: the registry that programs add theirs to, handlers made of formatters, and this library's own.

A handler is called with everything that `Llama.create_chat_completion` was called with and gives a chat completion, or
an iterator of chunks. A formatter only makes a prompt. Not for: templates of models, which need neither.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from llama_bind.chat.formats import FORMATS, get_format
from llama_bind.compat._utils import Singleton
from llama_bind.errors import InputError

if TYPE_CHECKING:
    from llama_bind.session import Session

__all__ = [
    "ChatFormatterResponse",
    "LlamaChatCompletionHandlerNotFoundException",
    "LlamaChatCompletionHandlerRegistry",
    "answer",
    "chat_formatter_to_chat_completion_handler",
    "format_of",
    "native_format",
    "registered",
]

Handler = Callable[..., Any]

OWN_TEMPLATE = "chat_template.default"
"""Means the model's own template."""
_ALIASES: Mapping[str, str | None] = {
    OWN_TEMPLATE: None,
    "chatml-function-calling": "chatml",
    "functionary": None,
    "functionary-v1": None,
    "functionary-v2": None,
}
"""Names that llama-cpp-python needs for tools. Here every format takes tools, and Functionary's models bring a template
that is known."""


class LlamaChatCompletionHandlerNotFoundException(InputError):  # noqa: N818
    """There is no chat format of that name."""


class LlamaChatCompletionHandlerRegistry(Singleton):
    """Handlers by name: those that were registered, before those that are there anyway."""

    def __init__(self) -> None:
        self._chat_handlers: dict[str, Handler] = {}
        self._lock = threading.Lock()

    def register_chat_completion_handler(self, name: str, chat_handler: Handler, overwrite: bool = False) -> None:
        """Add a handler.

        Raises:
            InputError: the name is taken and `overwrite` is False.
        """
        with self._lock:
            taken = name in self._chat_handlers or name in FORMATS or name in _ALIASES
            if taken and not overwrite:
                raise InputError(f"a chat format named {name!r} is there already; pass overwrite=True", param="name")
            self._chat_handlers[name] = chat_handler

    def unregister_chat_handler(self, name: str) -> None:
        """Remove a handler that was registered.

        Raises:
            InputError: there is none of that name.
        """
        with self._lock:
            if self._chat_handlers.pop(name, None) is None:
                raise InputError(f"no chat format named {name!r} was registered", param="name")

    def get_chat_completion_handler_by_name(self, name: str) -> Handler:
        """The handler of that name.

        Raises:
            LlamaChatCompletionHandlerNotFoundException: there is none.
        """
        found = registered(name)
        if found is not None:
            return found
        if name in FORMATS or name in _ALIASES:
            return BuiltinHandler(name)
        raise _not_found(name)


@dataclasses.dataclass(frozen=True)
class BuiltinHandler:
    """Answers in a named format as this library does."""

    name: str

    def __call__(self, *, llama: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        return answer(llama, self.name, messages, options)


def registered(name: str | None) -> Handler | None:
    """The handler that a program registered under a name."""
    return None if name is None else LlamaChatCompletionHandlerRegistry()._chat_handlers.get(name)


def native_format(name: str | None) -> str | None:
    """The format of this library that a name stands for; None for the model's own template, and for other names."""
    found = _ALIASES.get(name, name) if name is not None else None
    return found if found in FORMATS else None


def format_of(session: Session) -> str:
    """What a model's chats use where nothing was said."""
    if session.params.chat_template or session.model.chat_template():
        return OWN_TEMPLATE
    return session.params.chat_format or "chatml"


def answer(llama: Any, name: str | None, messages: Sequence[Mapping[str, Any]], options: Mapping[str, Any]) -> Any:
    """Answer in a named format.

    Args:
        llama: A `Llama` of this package.
        name: The format; None: what the model was loaded with.
        messages: Dicts with role and content.
        options: Those of `create_chat_completion`.

    Raises:
        LlamaChatCompletionHandlerNotFoundException: there is no such format.
    """
    if name is None or options.get("chat_template"):
        return llama._chat(messages, options)
    template = llama.metadata.get(f"tokenizer.{name}") if name.startswith("chat_template.") else None
    if template is not None:
        return llama._chat(messages, {**options, "chat_template": template})
    if name not in FORMATS and name not in _ALIASES:
        raise _not_found(name)
    own = native_format(name)
    if own is None or llama._is_loaded_format(name):
        return llama._chat(messages, options)
    chosen = get_format(own)
    stop = [*chosen.stop, *_as_list(options.get("stop"))]
    return llama._chat(messages, {**options, "chat_template": chosen.template, "stop": stop})


def _not_found(name: str) -> LlamaChatCompletionHandlerNotFoundException:
    known = sorted({*FORMATS, *_ALIASES, *LlamaChatCompletionHandlerRegistry()._chat_handlers})
    return LlamaChatCompletionHandlerNotFoundException(
        f"Invalid chat handler: {name} (valid formats: {', '.join(known)})", param="chat_format"
    )


def _as_list(stop: str | Sequence[str] | None) -> list[str]:
    return [] if stop is None else [stop] if isinstance(stop, str) else list(stop)


@dataclasses.dataclass
class ChatFormatterResponse:
    """What a formatter makes of a conversation.

    Attributes:
        prompt: The text.
        stop: What ends the answer.
        stopping_criteria: Functions (input_ids, scores) -> bool that end it.
        added_special: The prompt begins with BOS where the model wants it.
    """

    prompt: str
    stop: str | list[str] | None = None
    stopping_criteria: Any = None
    added_special: bool = False


_OF_MESSAGES = ("functions", "function_call", "tools", "tool_choice")
_OF_COMPLETIONS = (
    "temperature", "top_p", "top_k", "min_p", "typical_p", "stream", "seed", "max_tokens", "presence_penalty",
    "frequency_penalty", "repeat_penalty", "tfs_z", "mirostat_mode", "mirostat_tau", "mirostat_eta", "model",
    "logits_processor", "grammar", "logit_bias",
)  # fmt: skip
_DEFAULTS: Mapping[str, Any] = {"temperature": 0.2, "max_tokens": None}


def chat_formatter_to_chat_completion_handler(chat_formatter: Callable[..., ChatFormatterResponse]) -> Handler:
    """A handler that asks a formatter for the prompt and completes it."""

    def chat_completion_handler(*, llama: Any, messages: Sequence[Mapping[str, Any]], **options: Any) -> Any:
        about_messages = {name: options.pop(name, None) for name in _OF_MESSAGES}
        call = {**_DEFAULTS, **{name: options.pop(name) for name in _OF_COMPLETIONS if name in options}}
        stop, wanted = _as_list(options.pop("stop", None)), options.pop("response_format", None)
        logprobs, top_logprobs = options.pop("logprobs", None), options.pop("top_logprobs", None)
        made = chat_formatter(messages=messages, **about_messages, **options)
        prompt = llama.tokenize(made.prompt.encode("utf-8"), add_bos=not made.added_special, special=True)
        call["stop"] = [*stop, *_as_list(made.stop)]
        call["stopping_criteria"] = made.stopping_criteria
        call["logprobs"] = (top_logprobs or 0) if logprobs else None
        tool = _forced_tool(**about_messages)
        if tool is not None:
            call["json_schema"] = tool.get("parameters") or {"type": "object"}
            call.pop("grammar", None)
        elif wanted is not None:
            call["response_format"] = wanted
        completion = llama.create_completion(prompt, **call)
        if call.get("stream"):
            return _chunks(completion, tool)
        return _message(completion, tool)

    return chat_completion_handler


def _forced_tool(functions: Any, function_call: Any, tools: Any, tool_choice: Any) -> Mapping[str, Any] | None:
    """The function that must be called, if any."""
    declared = [tool["function"] for tool in tools or ()] or list(functions or ())
    wanted = tool_choice if isinstance(tool_choice, Mapping) else function_call
    if not isinstance(wanted, Mapping):
        return None
    name = wanted.get("function", wanted).get("name")
    for function in declared:
        if function["name"] == name:
            found: Mapping[str, Any] = function
            return found
    raise InputError(f"Tool choice '{name}' not found in tools.", param="tool_choice")


def _message(completion: Mapping[str, Any], tool: Mapping[str, Any] | None) -> dict[str, Any]:
    """A completion as a chat completion."""
    choices = []
    for choice in completion["choices"]:
        message: dict[str, Any] = {"role": "assistant", "content": choice["text"]}
        reason = choice["finish_reason"]
        if tool is not None:
            function = {"name": tool["name"], "arguments": choice["text"]}
            message = {"role": "assistant", "content": None, "function_call": function}
            message["tool_calls"] = [{"id": _call_id(completion, tool), "type": "function", "function": function}]
            reason = "tool_calls" if reason == "stop" else reason
        choices.append({
            "index": choice["index"], "message": message, "finish_reason": reason,
            "logprobs": _logprobs(choice["logprobs"]),
        })  # fmt: skip
    return {**completion, "id": f"chat{completion['id']}", "object": "chat.completion", "choices": choices}


def _chunks(completion: Iterator[Mapping[str, Any]], tool: Mapping[str, Any] | None) -> Iterator[dict[str, Any]]:
    """A streamed completion as a streamed chat completion."""
    opened = False
    for chunk in completion:
        if not opened:
            opened = True
            yield _chunk(chunk, {"role": "assistant", "content": None if tool else ""}, None, None)
            if tool is not None:
                call = {"index": 0, "id": _call_id(chunk, tool), "type": "function"}
                yield _chunk(chunk, {"tool_calls": [{**call, "function": {"name": tool["name"], "arguments": ""}}]})
        for choice in chunk["choices"]:
            reason, delta = choice["finish_reason"], {}
            if choice["text"] and tool is not None:
                delta = {"tool_calls": [{"index": 0, "function": {"arguments": choice["text"]}}]}
            elif choice["text"]:
                delta = {"content": choice["text"]}
            if tool is not None and reason == "stop":
                reason = "tool_calls"
            yield _chunk(chunk, delta, reason, _logprobs(choice["logprobs"]))


def _chunk(
    chunk: Mapping[str, Any], delta: Mapping[str, Any], reason: str | None = None, logprobs: Any = None
) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "logprobs": logprobs, "finish_reason": reason}
    return {**chunk, "id": f"chat{chunk['id']}", "object": "chat.completion.chunk", "choices": [choice]}


def _call_id(completion: Mapping[str, Any], tool: Mapping[str, Any]) -> str:
    return f"call__0_{tool['name']}_{completion['id']}"


def _logprobs(given: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Log probabilities of a completion in the chat's shape."""
    if given is None:
        return None
    entries = zip(given["tokens"], given["token_logprobs"], given["top_logprobs"], strict=True)
    return {
        "content": [
            {
                "token": token,
                "logprob": logprob,
                "bytes": list(token.encode()),
                "top_logprobs": [
                    {"token": other, "logprob": value, "bytes": list(other.encode())}
                    for other, value in (top or {}).items()
                ],
            }
            for token, logprob, top in entries
        ],
        "refusal": None,
    }
