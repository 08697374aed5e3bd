"""The fallback for templates that know of no tools: calls as JSON objects, ``{"name": ..., "arguments": ...}``.

The prompt has to tell the model so (see `INSTRUCTIONS`). Not for: Llama 3, which has more ways (``llama3.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.bare import read_bare_calls
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.lark import call_beginnings, json_calls
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import Steps

__all__ = ["FORMAT", "INSTRUCTIONS", "GenericFormat", "GenericParser"]

INSTRUCTIONS = (
    "To call a function, answer with one JSON object for each call and nothing else: "
    '{"name": <name of the function>, "arguments": <object of its arguments>}'
)
"""What the model must be told, behind the list of functions."""


class GenericParser(CallParser):
    """Reads bare JSON, streamed: the name of a declared tool is enough."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (), parallel=parallel)

    def read_bare(self) -> Steps[None]:
        yield from read_bare_calls(self, strict=False)


class GenericFormat:
    """A `ToolFormat`."""

    name = "generic"
    markers: tuple[str, ...] = ()
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`: every template may use it."""
        del template
        return True

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return GenericParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = ' ("\\n" call)*' if required and parallel else ""
        rules = "\n".join([f"start: call{more}", *json_calls(tools)]) + "\n"
        return ToolGrammar(rules, triggers=() if required else call_beginnings(tools))


FORMAT = GenericFormat()
