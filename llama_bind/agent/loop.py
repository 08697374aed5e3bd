"""The rounds of a run: what the model is asked next, and what its answers and the tools' results mean. Pure.

Not for: calling models or functions (``driver.py``, ``async_driver.py``).
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_bind.agent.contents import limited, result_text
from llama_bind.agent.values import Outcome, Round, ToolCall, ToolOutcome, ToolRun
from llama_bind.errors import InputError
from llama_bind.function_schema import FunctionTool
from llama_bind.params import ToolRunParams
from llama_bind.types import ChatCompletion
from llama_bind.values import Usage

__all__ = ["LEAST_CHARS", "ToolLoop", "ToolSource"]

ToolSource = Callable[..., Any] | FunctionTool | Mapping[str, Any]
"""A tool: a function, a `FunctionTool`, or a declaration in OpenAI's shape, whose calls the caller runs."""
LEAST_CHARS = 200
"""Characters that are left of a result at least."""
_WHOLE = ("stop", "tool_calls", "function_call")
"""Finish reasons of an answer that is complete."""


class ToolLoop:
    """One run.

    Args:
        messages: The conversation.
        tools: What the model may call.
        params: Limits and hooks of the run.
        options: Options of the chat completions.
        max_chars: Characters of one result where `params` does not say.

    Raises:
        InputError: Messages or tools of a wrong kind, two tools of one name, or options that make no sense here.
    """

    def __init__(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[ToolSource],
        params: ToolRunParams,
        options: Mapping[str, Any],
        max_chars: int = 20_000,
    ) -> None:
        if isinstance(messages, (str, bytes, Mapping)) or not isinstance(messages, Sequence):
            raise InputError("messages must be a list of dicts with 'role' and 'content'", param="messages")
        self.params = params
        self.messages: list[dict[str, Any]] = [dict(message) for message in messages]
        self.rounds: list[Round] = []
        self.finished = False
        self._given = len(self.messages)
        self._max_chars = max(LEAST_CHARS, params.max_result_chars or max_chars)
        self._options = _checked_options(options)
        self._functions, self._declared = _read_tools(tools)
        self._limited = False
        self._answer: ChatCompletion | None = None
        self._pending: tuple[ToolCall, ...] = ()
        self._decided: list[ToolOutcome] = []
        self._calls: list[ToolCall] = []

    def request(self) -> dict[str, Any]:
        """The next chat completion: its keyword arguments."""
        options = {**self._options, "messages": self.messages}
        if not self._declared:
            return options
        options["tools"] = self._declared
        if len(self.rounds) >= self.params.max_rounds:
            # The tools stay in the prompt, so that what was computed of it still holds.
            self._limited = True
            options["tool_choice"] = "none"
        elif self.rounds and (relaxed := _relaxed(options.get("tool_choice"))) is not None:
            options["tool_choice"] = relaxed
        return options

    def take(self, completion: ChatCompletion) -> list[ToolCall]:
        """The model's answer; gives the calls to run, after which `end_round` is due where it is not `finished`."""
        choice: Any = completion["choices"][0]
        message = dict(choice["message"])
        written = message.get("tool_calls") or []
        self.messages.append(message)
        self._answer = completion
        if not written or self._limited or choice["finish_reason"] not in _WHOLE:
            self.rounds.append(Round(completion))
            self.finished = True
            return []
        calls = [_call(call, f"call_{len(self.messages)}_{number}") for number, call in enumerate(written)]
        message["tool_calls"] = [{**one, "id": call.id} for one, call in zip(written, calls, strict=True)]
        checked = [self._checked(call) for call in calls]
        self._calls = [call for call, _ in checked]
        self._decided = [outcome for _, outcome in checked if outcome is not None]
        return [call for call in self._calls if call.values is not None]

    def timeout(self, call: ToolCall) -> float | None:
        """Seconds that the call may take."""
        own = self.function(call).timeout
        return self.params.tool_timeout if own is None else own

    def decided(self) -> list[ToolOutcome]:
        """Outcomes of calls that need not run: unknown tools, and arguments that do not fit."""
        return self._decided

    def function(self, call: ToolCall) -> FunctionTool:
        """The tool of a call that runs."""
        return self._functions[call.name]

    def end_round(self, outcomes: Sequence[ToolOutcome]) -> Round:
        """The calls that `take` gave have these outcomes, in any order."""
        assert self._answer is not None
        by_call = {id(outcome.call): outcome for outcome in (*self.decided(), *outcomes)}
        ordered = [by_call[id(call)] for call in self._calls if id(call) in by_call]
        self._pending = tuple(call for call in self._calls if id(call) not in by_call)
        self.messages += [outcome.message() for outcome in ordered]
        self.rounds.append(Round(self._answer, tuple(ordered)))
        self.finished = bool(self._pending)
        return self.rounds[-1]

    def returned(self, call: ToolCall, value: Any, seconds: float) -> ToolOutcome:
        """A function returned."""
        try:
            content = limited(result_text(value), self._max_chars)
        except Exception as error:  # classes of the caller write their values as they like
            return self.raised(call, error, seconds)
        return ToolOutcome(call, "result", content, value, seconds=seconds)

    def raised(self, call: ToolCall, error: Exception, seconds: float) -> ToolOutcome:
        """A function raised: the model is told the type and the message."""
        text = str(error)
        words = f"{type(error).__name__}: {text}" if text else type(error).__name__
        return dataclasses.replace(self._failed(call, "error", words), error=error, seconds=seconds)

    def timed_out(self, call: ToolCall, seconds: float) -> ToolOutcome:
        """A function took too long."""
        outcome = self._failed(call, "timeout", f"{call.name!r} took longer than {seconds:g} seconds")
        return dataclasses.replace(outcome, seconds=seconds)

    def refused(self, call: ToolCall, answer: Any) -> ToolOutcome | None:
        """What `approve` said: no, with a reason where it is a str; None where it said yes."""
        if answer and not isinstance(answer, str):
            return None
        reason = answer
        words = f": {reason}" if isinstance(reason, str) and reason else ""
        return self._failed(call, "refused", f"the call of {call.name!r} was not approved{words}")

    def result(self) -> ToolRun:
        """When `finished`."""
        assert self._answer is not None
        usages: list[Any] = [one.completion["usage"] for one in self.rounds]
        details = [usage.get("prompt_tokens_details") or {} for usage in usages]
        reason = self._answer["choices"][0]["finish_reason"]
        return ToolRun(
            message=dict(self._answer["choices"][0]["message"]),
            messages=self.messages,
            given=self._given,
            usage=Usage(
                sum(usage["prompt_tokens"] for usage in usages),
                sum(usage["completion_tokens"] for usage in usages),
                sum(detail.get("cached_tokens", 0) for detail in details),
            ),
            rounds=tuple(self.rounds),
            finish_reason="tool_calls" if self._pending else str(reason),
            pending=self._pending,
            limited=self._limited,
        )

    def _checked(self, call: ToolCall) -> tuple[ToolCall, ToolOutcome | None]:
        """The call with its values, or what is wrong with it; neither where the caller runs it."""
        tool = self._functions.get(call.name)
        if tool is not None:
            values, problems = tool.read(call.arguments)
            if problems:
                words = f"the arguments of {call.name!r} do not fit: {'; '.join(problems)}"
                return call, self._failed(call, "invalid", words)
            return dataclasses.replace(call, values=values), None
        names = [str(one["function"]["name"]) for one in self._declared]
        if call.name in names:
            return call, None
        near = difflib.get_close_matches(call.name, names, 1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        words = f"there is no tool {call.name!r}; {hint}the tools are: {', '.join(names) or 'none'}"
        return call, self._failed(call, "unknown", words)

    def _failed(self, call: ToolCall, kind: Outcome, words: str) -> ToolOutcome:
        return ToolOutcome(call, kind, limited(result_text(f"Error: {words}"), self._max_chars))


def _read_tools(tools: Any) -> tuple[dict[str, FunctionTool], list[dict[str, Any]]]:
    """Functions by name, and all declarations in order."""
    if isinstance(tools, (str, bytes, Mapping)) or not isinstance(tools, Sequence):
        raise InputError("tools must be a list of functions or of dicts in OpenAI's shape", param="tools")
    functions: dict[str, FunctionTool] = {}
    declared: list[dict[str, Any]] = []
    for tool in tools:
        if isinstance(tool, Mapping):
            function = tool.get("function")
            if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
                shape = "{'type': 'function', 'function': {'name': ..., 'parameters': ...}}"
                raise InputError(f"a tool is a function or a dict {shape}, not {tool!r}", param="tools")
            declared.append(dict(tool))
        else:
            made = tool if isinstance(tool, FunctionTool) else FunctionTool(tool)
            functions[made.name] = made
            declared.append(made.declaration())
    names = [str(one["function"]["name"]) for one in declared]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"two tools have the name {twice!r}; give FunctionTool(..., name=...)", param="tools")
    return functions, declared


def _checked_options(options: Mapping[str, Any]) -> dict[str, Any]:
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("n", "best_of"):
        if given.pop(name, 1) != 1:
            raise InputError(f"{name} must be 1 where tools run: there is one conversation", param=name)
    if given.pop("stream", False):
        raise InputError("stream_tools() is the streaming form of run_tools()", param="stream")
    for name in ("functions", "function_call"):
        if name in given:
            raise InputError(f"{name} is not known here; give tools and tool_choice", param=name)
    return given


def _relaxed(choice: Any) -> Any:
    """A forced call is made once: the model could never answer otherwise. None: as it is."""
    if choice == "required":
        return "auto"
    if isinstance(choice, Mapping):
        allowed = choice.get("allowed_tools")
        if isinstance(allowed, Mapping):
            return {**choice, "allowed_tools": {**allowed, "mode": "auto"}}
        return "auto"
    return None


def _call(written: Any, id_: str) -> ToolCall:
    """`id_` is for answers that name none."""
    function = written["function"]
    arguments = function.get("arguments") or ""
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    return ToolCall(str(written.get("id") or id_), str(function["name"]), text)
