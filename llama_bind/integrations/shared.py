"""What the integrations share: any options by name, told apart, and the model that they ask for.

Not for: anything of a single framework.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from llama_bind.errors import InputError
from llama_bind.llama import Llama
from llama_bind.options import options_of, refuse_unknown, validate
from llama_bind.params import ChatParams, ContextParams, LlamaParams, ModelParams, RequestParams, SamplingParams

__all__ = ["Options", "add_calls", "load", "told_apart"]

LOAD: tuple[type[Any], ...] = (ModelParams, ContextParams, LlamaParams)
CALL: tuple[type[Any], ...] = (SamplingParams, RequestParams, ChatParams)
LATER = frozenset({"stream", "stream_options", "model"})
"""Options of calls that the integrations give themselves."""
_NAMES = {cls: frozenset(options_of(cls)) for cls in (*LOAD, *CALL)}


@dataclasses.dataclass(frozen=True)
class Options:
    """Options by whom they are for.

    Attributes:
        load: Keyword arguments of `Llama`.
        call: Keyword arguments of each of its calls.
    """

    load: dict[str, Any]
    call: dict[str, Any]

    def chat(self) -> dict[str, Any]:
        """Those for `Llama.create_chat_completion`."""
        return {k: v for k, v in self.call.items() if k not in ("echo", "suffix")}

    def completion(self) -> dict[str, Any]:
        """Those for `Llama.create_completion`, which knows nothing of chats."""
        return {k: v for k, v in self.call.items() if k not in _NAMES[ChatParams]}


def told_apart(given: Mapping[str, Any], where: str, *, calls: bool = True) -> Options:
    """Options of models and of calls, by name. What both have (`seed`, `chat_template`) is for the calls.

    Args:
        given: By name; None is not given.
        where: Who got them, for errors.
        calls: Whether there are calls that take options; else all are for the model.

    Raises:
        UnknownOptionError: None has this name; names the nearest.
        InputError: A value that is not allowed.
    """
    load_names: Collection[str] = {name for cls in LOAD for name in _NAMES[cls]}
    call_names: Collection[str] = {name for cls in CALL for name in _NAMES[cls]} - LATER if calls else ()
    given = {name: value for name, value in given.items() if value is not None}
    refuse_unknown(given, {*load_names, *call_names}, where)
    options = Options(
        {name: value for name, value in given.items() if name not in call_names},
        {name: value for name, value in given.items() if name in call_names},
    )
    for cls in LOAD:
        validate(cls(**{k: v for k, v in options.load.items() if k in _NAMES[cls]}))
    for cls in CALL:
        validate(cls(**{k: v for k, v in options.call.items() if k in _NAMES[cls]}))
    return options


def add_calls(calls: list[dict[str, str]], delta: Mapping[str, Any]) -> None:
    """Put what a part of a streamed message brings of calls to those that are there: dicts of id, name, arguments."""
    for raw in delta.get("tool_calls") or ():
        if raw["index"] == len(calls):
            calls.append({"id": raw["id"], "name": raw["function"]["name"], "arguments": ""})
        calls[raw["index"]]["arguments"] += raw["function"].get("arguments") or ""


def load(model: str | None, options: Mapping[str, Any], given: Llama | None) -> Llama:
    """The model: one that is loaded already, or by path, known name or repository (None: the default model).

    Raises:
        InputError: Both a loaded model, and what to load.
        ModelNotFoundError, DownloadError, ...: As `Llama` and `llama_bind.hub`.
    """
    if given is None:
        from llama_bind.hub.find import find_model

        return Llama(find_model(model), **options)
    if model is not None or options:
        named = ", ".join(["model"] * (model is not None) + sorted(options))
        raise InputError(
            f"llm is a loaded model; {named} would say how to load one: give one or the other", param="llm"
        )
    return given
