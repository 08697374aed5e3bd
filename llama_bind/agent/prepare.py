"""From the arguments of `Llama.run_tools` to a run. Not for: running it (the drivers)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.agent.loop import LEAST_CHARS, ToolLoop, ToolSource
from llama_bind.errors import InputError
from llama_bind.options import options_of, refuse_unknown, validate
from llama_bind.params import ChatParams, RequestParams, SamplingParams, ToolRunParams

__all__ = ["prepare"]


def prepare(
    llm: Any, messages: Sequence[Mapping[str, Any]], tools: Sequence[ToolSource], given: Mapping[str, Any], where: str
) -> ToolLoop:
    """Check the arguments of a run.

    Args:
        llm: Has ``n_ctx()``.
        messages: The conversation.
        tools: Functions and declarations.
        given: Options of the run and of its chat completions; None stands for the default.
        where: The name of the call, for errors.

    Raises:
        UnknownOptionError, InputError: An option, a tool, or messages that are no list.
    """
    own = options_of(ToolRunParams)
    known = [name for kind in (SamplingParams, RequestParams, ChatParams) for name in options_of(kind)]
    refuse_unknown(given, [*own, *known], where)
    params = ToolRunParams(**{name: given[name] for name in own if given.get(name) is not None})
    validate(params)
    if params.approve is not None and not callable(params.approve):
        raise InputError(f"approve must be a function, not {params.approve!r}", param="approve")
    options = {name: value for name, value in given.items() if name not in own}
    return ToolLoop(messages, tools, params, options, max(LEAST_CHARS, llm.n_ctx()))
