"""MiniMax M1, JSON objects in one block, and M2, a tag for the function and one for every argument.

Not for: M3, whose tags carry the arguments' names (``minimax_m3.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import ObjectReader, read_calls
from llama_bind.chat.tools.lark import json_calls
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import Steps
from llama_bind.chat.tools.tagged import TaggedFormat, TagSyntax

__all__ = ["FORMAT", "M1", "M1Format", "M1Parser"]

OPENING = "<tool_calls>"
CLOSING = "</tool_calls>"


class M1Parser(CallParser):
    """Reads objects, one after the other, or an array of them."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (OPENING,), parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from read_calls(self)
        while not self.done:
            yield from self.spaces()
            if not (yield from self.next_is("{")):
                break
            yield from ObjectReader(self).read()
        yield from self.close(CLOSING)


class M1Format:
    """A `ToolFormat`."""

    name = "minimax_m1"
    markers = (OPENING, CLOSING)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return OPENING in template and "<beginning_of_sentence>" in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return M1Parser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = ' ("\\n" call)*' if parallel else ""
        rules = [f'start: opening "\\n" call{more} "\\n" closing', *json_calls(tools)]
        markers = {"opening": OPENING, "closing": CLOSING}
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=() if required else (OPENING,))


def _detect(template: str) -> bool:
    return "minimax:tool_call" in template


M1 = M1Format()

FORMAT = TaggedFormat(
    "minimax_m2",
    TagSyntax(
        "<minimax:tool_call>",
        "</minimax:tool_call>",
        function='<invoke name="',
        function_name_end='">',
        function_end="</invoke>",
        argument='<parameter name="',
        argument_name_end='">',
        argument_end="</parameter>",
        block=False,
    ),
    _detect,
    ends_reasoning=("<minimax:tool_call>",),
)
