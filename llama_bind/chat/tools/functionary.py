"""Functionary: 3.1 writes ``<function=name>{...}</function>``, 3.2 a recipient, a line feed, and what it gets.

In 3.2 the recipient ``all`` is the user, every other one a function; the prompt ends with the first ``>>>``. Not for:
Qwen3-Coder, whose functions have tagged arguments (``qwen3_coder.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.events import OutputEvent
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_arguments
from llama_bind.chat.tools.lark import alternatives, json_rule, literal, parameters_of
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import Steps

__all__ = ["FORMAT", "V31", "V31Format", "V31Parser", "V32Format", "V32Parser"]

FUNCTION = "<function="
FUNCTION_END = "</function>"
RECIPIENT = ">>>"
ALL = "all\n"


class V31Parser(CallParser):
    """Reads calls; only the names of declared tools begin one."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, [f"{FUNCTION}{tool.name}>" for tool in tools], parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        self.start_call(marker[len(FUNCTION) : -1])
        yield from read_arguments(self)
        yield from self.spaces()
        yield from self.optional(FUNCTION_END)
        self.end_call()


class V31Format:
    """A `ToolFormat`."""

    name = "functionary_v3.1"
    markers: tuple[str, ...] = ()
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return FUNCTION in template and "<parameter=" not in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return V31Parser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        rules = [f"start: call{' call*' if required and parallel else ''}", alternatives("call", "call_", len(tools))]
        for number, tool in enumerate(tools):
            head = literal(f"{FUNCTION}{tool.name}>")
            rules.append(f"call_{number}: {head} call_{number}_args {literal(FUNCTION_END)}")
            rules.append(f"call_{number}_args: {json_rule(parameters_of(tool))}")
        triggers = () if required else tuple(f"{FUNCTION}{tool.name}>" for tool in tools)
        return ToolGrammar("\n".join(rules) + "\n", triggers=triggers)


class V32Parser(CallParser):
    """Reads messages to recipients. A first line that names none is text."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        names = [ALL, *(f"{tool.name}\n" for tool in tools)]
        super().__init__(tools, [RECIPIENT + name for name in names], parallel=parallel)
        # The prompt has written the first marker; where there are no tools too, the line "all" is no text.
        self._first: str | None = ""
        self._names = tuple(names)

    def feed(self, text: str) -> list[OutputEvent]:
        if self._first is None:
            return super().feed(text)
        begun = self._first = self._first + text
        if any(name.startswith(begun) and name != begun for name in self._names):
            return []
        return self._begin(begun)

    def finish(self) -> list[OutputEvent]:
        events = self._begin(self._first) if self._first else []
        return events + super().finish()

    def _begin(self, begun: str) -> list[OutputEvent]:
        self._first = None
        if begun.startswith(ALL):
            return super().feed(begun[len(ALL) :])
        return super().feed(RECIPIENT + begun if begun.startswith(self._names) else begun)

    def read_call(self, marker: str) -> Steps[None]:
        if marker == RECIPIENT + ALL:
            # What follows is text, and the marker is none.
            self.record()
            return
        self.start_call(marker[len(RECIPIENT) : -1])
        yield from read_arguments(self)
        self.end_call()


class V32Format:
    """A `ToolFormat`."""

    name = "functionary_v3.2"
    markers: tuple[str, ...] = ()
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return ">>>${recipient}" in template or ">>>all" in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return V32Parser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`: the first call follows the prompt's marker, the others bring their own."""
        more = f" ({literal(RECIPIENT)} call)*" if required and parallel else ""
        first = "call" if required else f"{literal(RECIPIENT)} call"
        rules = [f"start: {first}{more}", alternatives("call", "call_", len(tools))]
        for number, tool in enumerate(tools):
            rules.append(f"call_{number}: {literal(tool.name + chr(10))} call_{number}_args")
            rules.append(f"call_{number}_args: {json_rule(parameters_of(tool))}")
        triggers = () if required else tuple(f"{RECIPIENT}{tool.name}\n" for tool in tools)
        return ToolGrammar("\n".join(rules) + "\n", triggers=triggers)


V31 = V31Format()
FORMAT = V32Format()
