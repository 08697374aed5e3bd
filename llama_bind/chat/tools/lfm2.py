"""LFM2 and LFM2.5: a list of calls in Python's way between two markers, ``[get_time(city="Paris")]``.

JSON between the markers is read as well. Not for: the same list without markers.
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import ObjectReader, read_calls
from llama_bind.chat.tools.lark import alternatives
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.pythonic import read_call_expression
from llama_bind.chat.tools.pythonic_grammar import call_rules
from llama_bind.chat.tools.scanner import Steps
from llama_bind.chat.traced import join, trusted

__all__ = ["FORMAT", "Lfm2Format", "Lfm2Parser"]

OPENING = "<|tool_call_start|>"
CLOSING = "<|tool_call_end|>"


class Lfm2Parser(CallParser):
    """Reads a list of calls."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (OPENING,), parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from self.spaces()
        if (yield from self.next_is("{")):
            yield from read_calls(self)
        else:
            yield from self._list()
        yield from self.close(CLOSING)

    def _list(self) -> Steps[None]:
        yield from self.expect("[")
        while True:
            yield from self.spaces()
            if (yield from self.peek()) == "{":
                yield from ObjectReader(self).read()
            else:
                yield from read_call_expression(self)
            if self.done:
                return
            yield from self.spaces()
            if not (yield from self.optional(",")):
                break
        if (yield from self.optional("]")) or self.ended:
            self.record()


class Lfm2Format:
    """A `ToolFormat`."""

    name = "lfm2"
    markers = (OPENING, CLOSING)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`: the markers themselves are not in every template of the family."""
        return "List of tools: " in template and "<|im_start|>" in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return Lfm2Parser(tools, parallel=parallel)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """See `CallWriter`."""
        written = []
        for name, arguments in calls:
            values = json.loads(arguments)
            written.append(f"{name}({', '.join(f'{key}={value!r}' for key, value in values.items())})")
        return join([trusted(f"{OPENING}["), ", ".join(written), trusted(f"]{CLOSING}")])

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = ' (", " call)*' if parallel else ""
        rules = [f'start: opening "[" call{more} "]" closing', alternatives("call", "call_", len(tools))]
        for number, tool in enumerate(tools):
            rules += call_rules(tool, f"call_{number}")
        markers = {"opening": OPENING, "closing": CLOSING}
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=() if required else (OPENING,))


FORMAT = Lfm2Format()
