"""Chat formats under llama-cpp-python's names: registering, formatters, and the named formats as functions.

The model's own template needs none of this. Not for: images; the handlers for them say so when they are made.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from llama_bind.chat.formats import get_format
from llama_bind.chat.templates import ChatTemplate
from llama_bind.compat.chat_handlers import (
    ChatFormatterResponse,
    LlamaChatCompletionHandlerNotFoundException,
    LlamaChatCompletionHandlerRegistry,
    chat_formatter_to_chat_completion_handler,
)
from llama_bind.compat.processors import StoppingCriteriaList
from llama_bind.errors import InputError, TemplateError, UnsupportedError

CHATML_BOS_TOKEN, CHATML_EOS_TOKEN = "<s>", "<|im_end|>"
MISTRAL_INSTRUCT_BOS_TOKEN, MISTRAL_INSTRUCT_EOS_TOKEN = "<s>", "</s>"

_FUNCTIONS = {
    "format": "vicuna",
    "format_alpaca": "alpaca",
    "format_baichuan": "baichuan",
    "format_baichuan2": "baichuan-2",
    "format_chatglm3": "chatglm3",
    "format_chatml": "chatml",
    "format_gemma": "gemma",
    "format_intel": "intel",
    "format_llama2": "llama-2",
    "format_llama3": "llama-3",
    "format_mistral_instruct": "mistral-instruct",
    "format_mistrallite": "mistrallite",
    "format_oasst_llama": "oasst_llama",
    "format_open_orca": "open-orca",
    "format_openbuddy": "openbuddy",
    "format_openchat": "openchat",
    "format_phind": "phind",
    "format_pygmalion": "pygmalion",
    "format_qwen": "qwen",
    "format_redpajama_incite": "redpajama-incite",
    "format_saiga": "saiga",
    "format_snoozy": "snoozy",
    "format_zephyr": "zephyr",
}
"""Function -> the format that it writes."""
_TEMPLATES = {
    "CHATML_CHAT_TEMPLATE": "chatml",
    "LLAMA3_INSTRUCT_CHAT_TEMPLATE": "llama-3",
    "MISTRAL_INSTRUCT_CHAT_TEMPLATE": "mistral-instruct",
    "MIXTRAL_INSTRUCT_CHAT_TEMPLATE": "mistral-instruct",
}
_HANDLERS = {"chatml_function_calling": "chatml-function-calling", "functionary_chat_handler": "functionary",
             "functionary_v1_v2_chat_handler": "functionary-v2"}  # fmt: skip
_TOKENS = {"llama-3": ("<|begin_of_text|>", "<|eot_id|>"), "gemma": ("<bos>", "<eos>")}
"""BOS and EOS of formats whose models have others than ``<s>`` and ``</s>``."""
_VISION = (
    "Gemma4ChatHandler", "Llama3VisionAlphaChatHandler", "Llava15ChatHandler", "Llava16ChatHandler", "MTMDChatHandler",
    "MiniCPMv26ChatHandler", "MoondreamChatHandler", "NanoLlavaChatHandler", "ObsidianChatHandler",
    "Qwen25VLChatHandler",
)  # fmt: skip


class LlamaChatCompletionHandler(Protocol):
    """Answers conversations: gives a chat completion or, with ``stream=True``, an iterator of chunks."""

    def __call__(self, *, llama: Any, messages: Sequence[Mapping[str, Any]], **kwargs: Any) -> Any:
        """Called with everything that `Llama.create_chat_completion` was called with."""
        ...


class ChatFormatter(Protocol):
    """Makes a prompt of a conversation."""

    def __call__(self, *, messages: Sequence[Mapping[str, Any]], **kwargs: Any) -> ChatFormatterResponse:
        """Called with the messages, and tools where there are any."""
        ...


def get_chat_completion_handler(name: str) -> Callable[..., Any]:
    """The handler of a format: one that was registered, or this library's.

    Raises:
        LlamaChatCompletionHandlerNotFoundException: there is none.
    """
    return LlamaChatCompletionHandlerRegistry().get_chat_completion_handler_by_name(name)


def register_chat_completion_handler(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that registers a handler as a chat format."""

    def decorate(handler: Callable[..., Any]) -> Callable[..., Any]:
        LlamaChatCompletionHandlerRegistry().register_chat_completion_handler(name, handler)
        return handler

    return decorate


def register_chat_format(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """A decorator that registers a formatter as a chat format."""

    def decorate(formatter: Callable[..., Any]) -> Callable[..., Any]:
        handler = chat_formatter_to_chat_completion_handler(formatter)
        LlamaChatCompletionHandlerRegistry().register_chat_completion_handler(name, handler)
        return formatter

    return decorate


class Jinja2ChatFormatter:
    """A formatter of a Jinja template, which runs in the sandbox that all templates run in.

    Args:
        template: Jinja text.
        eos_token: Text of the token that ends a turn, and the answer.
        bos_token: Text of the token that begins a text.
        add_generation_prompt: End with the beginning of an assistant's message.
        stop_token_ids: Tokens that end the answer.
    """

    def __init__(
        self,
        template: str,
        eos_token: str,
        bos_token: str,
        add_generation_prompt: bool = True,
        stop_token_ids: Sequence[int] | None = None,
    ) -> None:
        self.template, self.eos_token, self.bos_token = template, eos_token, bos_token
        self.add_generation_prompt = add_generation_prompt
        self.stop_token_ids = None if stop_token_ids is None else set(stop_token_ids)
        self._template = ChatTemplate(template, bos_token, eos_token)

    def __call__(
        self,
        *,
        messages: Sequence[Mapping[str, Any]],
        functions: Any = None,
        function_call: Any = None,
        tools: Any = None,
        tool_choice: Any = None,
        **kwargs: Any,
    ) -> ChatFormatterResponse:
        """The prompt; raises `TemplateError` where the template fails."""
        more = {"functions": functions, "function_call": function_call, "tool_choice": tool_choice, **kwargs}
        prompt = self._template.render(messages, tools=tools, add_generation_prompt=self.add_generation_prompt, **more)
        ends = self.stop_token_ids
        criteria = None
        if ends is not None:
            criteria = StoppingCriteriaList([lambda tokens, _logits: int(tokens[-1]) in ends])
        return ChatFormatterResponse(prompt, [self.eos_token], criteria, added_special=True)

    def to_chat_handler(self) -> Callable[..., Any]:
        """A handler that uses it."""
        return chat_formatter_to_chat_completion_handler(self)


class _Named:
    """A named format as a function of messages."""

    def __init__(self, name: str) -> None:
        chosen = get_format(name)
        bos, eos = _TOKENS.get(name, ("<s>", "</s>"))
        self._stop, self._bos = list(chosen.stop), bos
        self._template = ChatTemplate(chosen.template, bos, eos)
        self.__name__ = name

    def __call__(self, messages: Sequence[Mapping[str, Any]], **_kwargs: Any) -> ChatFormatterResponse:
        prompt = self._template.render(messages)
        return ChatFormatterResponse(prompt, self._stop or None, added_special=prompt.startswith(self._bos))


def hf_tokenizer_config_to_chat_formatter(
    tokenizer_config: Mapping[str, Any], add_generation_prompt: bool = True
) -> Callable[..., ChatFormatterResponse]:
    """A formatter of the contents of a ``tokenizer_config.json``.

    Raises:
        InputError: it has no template, or tokens that are not text.
    """
    texts = {}
    for name in ("chat_template", "bos_token", "eos_token"):
        value = tokenizer_config.get(name)
        if not isinstance(value, str):
            raise InputError(f"tokenizer_config needs {name!r} as text", param="tokenizer_config")
        texts[name] = value
    template = ChatTemplate(texts["chat_template"], texts["bos_token"], texts["eos_token"])
    stop = [texts["eos_token"], texts["bos_token"]]

    def format_tokenizer_config(*, messages: Sequence[Mapping[str, Any]], **kwargs: Any) -> ChatFormatterResponse:
        given = {name: value for name, value in kwargs.items() if name != "tools"}
        prompt = template.render(
            messages, tools=kwargs.get("tools"), add_generation_prompt=add_generation_prompt, **given
        )
        return ChatFormatterResponse(prompt, stop, added_special=True)

    return format_tokenizer_config


def hf_tokenizer_config_to_chat_completion_handler(
    tokenizer_config: Mapping[str, Any], add_generation_prompt: bool = True
) -> Callable[..., Any]:
    """The same as a handler."""
    formatter = hf_tokenizer_config_to_chat_formatter(tokenizer_config, add_generation_prompt)
    return chat_formatter_to_chat_completion_handler(formatter)


def hf_autotokenizer_to_chat_formatter(
    pretrained_model_name_or_path: str | os.PathLike[str],
) -> Callable[..., ChatFormatterResponse]:
    """A formatter that asks a tokenizer of transformers.

    Raises:
        UnsupportedError: transformers is not installed.
    """
    try:
        from transformers import AutoTokenizer  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise UnsupportedError("this needs transformers: pip install transformers") from error
    tokenizer = AutoTokenizer.from_pretrained(pretrained_model_name_or_path)

    def format_autotokenizer(*, messages: Sequence[Mapping[str, Any]], **kwargs: Any) -> ChatFormatterResponse:
        prompt = tokenizer.apply_chat_template(list(messages), tokenize=False, **kwargs)
        return ChatFormatterResponse(prompt, tokenizer.eos_token, added_special=True)

    return format_autotokenizer


def hf_autotokenizer_to_chat_completion_handler(
    pretrained_model_name_or_path: str | os.PathLike[str],
) -> Callable[..., Any]:
    """The same as a handler."""
    return chat_formatter_to_chat_completion_handler(hf_autotokenizer_to_chat_formatter(pretrained_model_name_or_path))


_PROBE = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}, {"role": "user", "content": "c"})


def guess_chat_format_from_gguf_metadata(metadata: Mapping[str, str]) -> str | None:
    """The named format that writes what a file's template writes: "chatml", "llama-3", "mistral-instruct" or None."""
    source = metadata.get("tokenizer.chat_template")
    if source is None:
        return None
    for name in ("chatml", "llama-3", "mistral-instruct"):
        bos, eos = _TOKENS.get(name, ("<s>", "</s>"))
        try:
            wanted = ChatTemplate(get_format(name).template, bos, eos).render(_PROBE)
            if ChatTemplate(source, bos, eos).render(_PROBE) == wanted:
                return name
        except TemplateError:
            continue
    return None


class _NoImages:
    """What llama-cpp-python has for images.

    Raises:
        UnsupportedError: whenever one is made: images are not supported yet.
    """

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        raise UnsupportedError(
            f"{type(self).__name__} is for images, which are not supported yet; text works without a chat_handler"
        )

    @classmethod
    def from_pretrained(cls, *args: Any, **kwargs: Any) -> Any:
        """Raises as the class does, before anything is fetched."""
        return cls(*args, **kwargs)


class Llava15ChatHandler(_NoImages):
    """Base of the handlers for images of LLaVA's kind."""


class MTMDChatHandler(_NoImages):
    """Base of the handlers for images and audio."""


def __getattr__(name: str) -> Any:
    if name in _FUNCTIONS:
        made: Any = _Named(_FUNCTIONS[name])
    elif name in _HANDLERS:
        made = get_chat_completion_handler(_HANDLERS[name])
    elif name in _TEMPLATES:
        made = get_format(_TEMPLATES[name]).template
    elif name in _VISION:
        base = MTMDChatHandler if name.startswith("Gemma") else Llava15ChatHandler
        made = type(name, (base,), {"__doc__": base.__doc__, "__module__": __name__})
    elif name == "Llama3VisionAlpha":
        made = __getattr__("Llama3VisionAlphaChatHandler")
    else:
        raise AttributeError(f"module 'llama_cpp.llama_chat_format' has no attribute {name!r}")
    globals()[name] = made
    return made


__all__ = [  # noqa: F822  # half of them are made by __getattr__
    "CHATML_BOS_TOKEN",
    "CHATML_CHAT_TEMPLATE",
    "CHATML_EOS_TOKEN",
    "LLAMA3_INSTRUCT_CHAT_TEMPLATE",
    "MISTRAL_INSTRUCT_BOS_TOKEN",
    "MISTRAL_INSTRUCT_CHAT_TEMPLATE",
    "MISTRAL_INSTRUCT_EOS_TOKEN",
    "MIXTRAL_INSTRUCT_CHAT_TEMPLATE",
    "ChatFormatter",
    "ChatFormatterResponse",
    "Gemma4ChatHandler",
    "Jinja2ChatFormatter",
    "Llama3VisionAlphaChatHandler",
    "LlamaChatCompletionHandler",
    "LlamaChatCompletionHandlerNotFoundException",
    "LlamaChatCompletionHandlerRegistry",
    "Llava15ChatHandler",
    "Llava16ChatHandler",
    "MTMDChatHandler",
    "MiniCPMv26ChatHandler",
    "MoondreamChatHandler",
    "NanoLlavaChatHandler",
    "ObsidianChatHandler",
    "Qwen25VLChatHandler",
    "chat_formatter_to_chat_completion_handler",
    "chatml_function_calling",
    "format",
    "format_alpaca",
    "format_baichuan",
    "format_baichuan2",
    "format_chatglm3",
    "format_chatml",
    "format_gemma",
    "format_intel",
    "format_llama2",
    "format_llama3",
    "format_mistral_instruct",
    "format_mistrallite",
    "format_oasst_llama",
    "format_open_orca",
    "format_openbuddy",
    "format_openchat",
    "format_phind",
    "format_pygmalion",
    "format_qwen",
    "format_redpajama_incite",
    "format_saiga",
    "format_snoozy",
    "format_zephyr",
    "functionary_chat_handler",
    "functionary_v1_v2_chat_handler",
    "get_chat_completion_handler",
    "guess_chat_format_from_gguf_metadata",
    "hf_autotokenizer_to_chat_completion_handler",
    "hf_autotokenizer_to_chat_formatter",
    "hf_tokenizer_config_to_chat_completion_handler",
    "hf_tokenizer_config_to_chat_formatter",
    "register_chat_completion_handler",
    "register_chat_format",
]  # fmt: skip


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
