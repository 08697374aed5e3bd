"""DeepSeek R1, V3 and V3.1: a marker, the function's name, a marker, its arguments as JSON.

R1 writes ``function``, a marker, the name, and the JSON in a code fence; V3.1 the name, a marker, and the JSON. Both
are read wherever either is asked for. Not for: V3.2 and V4, which tag every argument (``dsml.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_arguments
from llama_bind.chat.tools.lark import alternatives, json_rule, literal, parameters_of
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import Steps

__all__ = ["FENCED", "FORMAT", "DeepSeekFormat", "DeepSeekParser"]

BAR = "\uff5c"
"""A wide vertical bar."""
ALL = f"<{BAR}tool▁calls▁begin{BAR}>"
ALL_END = f"<{BAR}tool▁calls▁end{BAR}>"
CALL = f"<{BAR}tool▁call▁begin{BAR}>"
CALL_END = f"<{BAR}tool▁call▁end{BAR}>"
SEP = f"<{BAR}tool▁sep{BAR}>"
FENCE = "```"

NAME_END = Markers((SEP,))
LINE = Markers(("\n", FENCE))


class DeepSeekParser(CallParser):
    """Reads calls in either way."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (ALL, CALL), parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        if marker == ALL:
            yield from self.spaces()
            # Distilled models forget it.
            yield from self.optional(CALL)
        yield from self.calls_until(ALL_END, CALL, self._one)

    def _one(self) -> Steps[None]:
        name, _ = yield from self.until(NAME_END, limit=200)
        following = yield from self.peek()
        fenced = following != "{" and name.strip() not in self.tools
        if fenced:
            name, end = yield from self.until(LINE, limit=200)
            yield from self.spaces()
            if end == FENCE or (yield from self.optional(FENCE)):
                yield from self.optional("json")
        self.start_call(name.strip())
        yield from read_arguments(self)
        yield from self.spaces()
        yield from self.optional(FENCE)
        yield from self.spaces()
        yield from self.optional(CALL_END)
        self.end_call()


class DeepSeekFormat:
    """A `ToolFormat`.

    Args:
        name: See `ToolFormat`.
        fenced: Calls are written as R1 does.
    """

    markers = (ALL, ALL_END, CALL, CALL_END, SEP)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def __init__(self, name: str, *, fenced: bool) -> None:
        self.name = name
        self._fenced = fenced

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return ALL in template and ("```json" in template) == self._fenced

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return DeepSeekParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = f" ({literal(chr(10)) + ' ' if self._fenced else ''}one)*" if parallel else ""
        rules = [f"start: all one{more} all_end", "one: begin call end", alternatives("call", "call_", len(tools))]
        for number, tool in enumerate(tools):
            arguments = f"call_{number}_args"
            if self._fenced:
                head = f"{literal('function')} sep {literal(tool.name + chr(10) + '```json' + chr(10))}"
                rules.append(f"call_{number}: {head} {arguments} {literal(chr(10) + FENCE)}")
            else:
                rules.append(f"call_{number}: {literal(tool.name)} sep {arguments}")
            rules.append(f"{arguments}: {json_rule(parameters_of(tool))}")
        markers = {"all": ALL, "all_end": ALL_END, "begin": CALL, "end": CALL_END, "sep": SEP}
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=() if required else (ALL,))


FENCED = DeepSeekFormat("deepseek_r1", fenced=True)
FORMAT = DeepSeekFormat("deepseek", fenced=False)
