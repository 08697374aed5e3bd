"""Mistral: ``[TOOL_CALLS]`` before an array of calls (Nemo), or before each call as ``name[ARGS]{...}``, in some with
``[CALL_ID]id`` between them (Small 3.2, Devstral, Ministral).

Not for: their ``[THINK]`` (``chat/reasoning.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_arguments, read_calls
from llama_bind.chat.tools.lark import alternatives, json_calls, json_rule, literal, parameters_of
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser, new_call_id
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps

__all__ = ["FORMAT", "NEMO", "MistralFormat", "MistralParser", "mistral_id"]

CALLS = "[TOOL_CALLS]"
ID = "[CALL_ID]"
ARGUMENTS = "[ARGS]"
PARTS = Markers((ID, ARGUMENTS, "{"))


def mistral_id() -> str:
    """Nine letters and digits: the templates refuse any other id."""
    return new_call_id(9, "")


class MistralParser(CallParser):
    """Reads both ways, whichever the template's is."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (CALLS,), parallel=parallel)

    def new_id(self) -> str:
        return mistral_id()

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from self.spaces()
        if (yield from self.peek()) in ("[", "{"):
            # The id stands behind the arguments.
            yield from read_calls(self, whole=True)
            return
        name, part = yield from self.until(PARTS, limit=200)
        call_id = ""
        if part == ID:
            call_id, part = yield from self.until(PARTS, limit=200)
        name = name.strip()
        if name not in self.tools:
            raise NotACall
        if part == "{":
            self.at -= 1
        self.start_call(name, call_id.strip())
        yield from self.spaces()
        if (yield from self.peek()) == "{":
            yield from read_arguments(self)
        elif self.ended:
            raise EndOfText
        else:
            raise NotACall
        self.end_call()


@dataclasses.dataclass(frozen=True)
class MistralFormat:
    """A `ToolFormat`.

    Attributes:
        name: See `ToolFormat`.
        array: The calls are an array of JSON objects.
        needles: Texts that a template has or, behind "!", has not.
        with_id: An id stands between name and arguments.
    """

    name: str
    array: bool
    needles: tuple[str, ...]
    with_id: bool = False
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning: bool = False

    @property
    def markers(self) -> tuple[str, ...]:
        """See `ToolFormat`."""
        return (CALLS,) if self.array else (CALLS, ID, ARGUMENTS)

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return all((text.lstrip("!") in template) != text.startswith("!") for text in (CALLS, *self.needles))

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return MistralParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        triggers = () if required else (CALLS,)
        if self.array:
            more = ' (", " call)*' if parallel else ""
            rules = [f'start: calls "[" call{more} "]"', 'id: ", \\"id\\": \\"" /[a-zA-Z0-9]{9}/ "\\""']
            rules += json_calls(tools, tail='id "}"')
            return ToolGrammar("\n".join(rules) + "\n", markers={"calls": CALLS}, triggers=triggers)
        markers = {"calls": CALLS, "args": ARGUMENTS}
        between = "args"
        if self.with_id:
            markers["id"] = ID
            between = "id /[a-zA-Z0-9]{9}/ args"
        rules = [f"start: call{'+' if required and parallel else ''}", alternatives("call", "call_", len(tools))]
        for number, tool in enumerate(tools):
            rules.append(f"call_{number}: calls {literal(tool.name)} {between} call_{number}_args")
            rules.append(f"call_{number}_args: {json_rule(parameters_of(tool))}")
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=triggers)


NEMO = MistralFormat("mistral_nemo", True, (f"!{ARGUMENTS}",))
SMALL = MistralFormat("mistral_small", False, (ARGUMENTS, ID), with_id=True)
FORMAT = MistralFormat("mistral", False, (ARGUMENTS,))
