"""Kimi K2: a section of calls, each with an id that holds the function's name, and its arguments as JSON.

Not for: Kimi K3, whose arguments have a tag each (``kimi_k3.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_arguments
from llama_bind.chat.tools.lark import alternatives, json_rule, literal, parameters_of
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import Steps

__all__ = ["FORMAT", "KimiFormat", "KimiParser"]

SECTION = "<|tool_calls_section_begin|>"
SECTION_END = "<|tool_calls_section_end|>"
CALL = "<|tool_call_begin|>"
ARGUMENTS = "<|tool_call_argument_begin|>"
CALL_END = "<|tool_call_end|>"

ID_END = Markers((ARGUMENTS,))
NAMED = re.compile(r"(?:functions\.)?(.+?)(?::\d+)?")


class KimiParser(CallParser):
    """Reads calls; the section's markers and the end of a call may be missing."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (SECTION, CALL), parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        if marker == SECTION:
            yield from self.spaces()
            yield from self.expect(CALL)
        yield from self.calls_until(SECTION_END, CALL, self._one)

    def _one(self) -> Steps[None]:
        call_id, _ = yield from self.until(ID_END, limit=300)
        call_id = call_id.strip()
        match = NAMED.fullmatch(call_id)
        # The number is part of the name where a tool is called so.
        name = call_id if match is None or call_id in self.tools else match[1]
        self.start_call(name, call_id)
        yield from read_arguments(self)
        yield from self.spaces()
        yield from self.optional(CALL_END)
        self.end_call()


class KimiFormat:
    """A `ToolFormat`."""

    name = "kimi_k2"
    markers = (SECTION, SECTION_END, CALL, ARGUMENTS, CALL_END)
    ends_reasoning = (SECTION, CALL)
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return SECTION in template and ARGUMENTS in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return KimiParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = " one*" if parallel else ""
        rules = [f"start: section one{more} section_end", "one: begin call end"]
        rules += [alternatives("call", "call_", len(tools)), "NUMBER: /0|[1-9][0-9]{0,3}/"]
        for number, tool in enumerate(tools):
            rules.append(f"call_{number}: {literal(f'functions.{tool.name}:')} NUMBER arguments call_{number}_args")
            rules.append(f"call_{number}_args: {json_rule(parameters_of(tool))}")
        markers = {"section": SECTION, "section_end": SECTION_END, "begin": CALL, "arguments": ARGUMENTS}
        return ToolGrammar(
            "\n".join(rules) + "\n", markers={**markers, "end": CALL_END}, triggers=() if required else (SECTION,)
        )


FORMAT = KimiFormat()
