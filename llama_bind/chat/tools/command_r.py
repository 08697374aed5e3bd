"""Cohere's Command R+, R7B and A, and North: an action is a JSON array of calls, an answer stands between marks.

R+ writes ``Action:`` and a code fence, the later ones ``<|START_ACTION|>`` with an id in every call. Not for: citations
(they stay in the text).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_calls
from llama_bind.chat.tools.framed import FramedParser
from llama_bind.chat.tools.lark import alternatives, json_calls, json_rule, literal, parameters_of
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import Steps

__all__ = ["MARKED", "PLUS", "CommandParser", "MarkedFormat", "PlusFormat"]

ACTION, ACTION_END = "<|START_ACTION|>", "<|END_ACTION|>"
STARTS = ("<|CHATBOT_TOKEN|>", "<|START_RESPONSE|>", "<|START_TEXT|>")
ENDS = ("<|END_OF_TURN_TOKEN|>", "<|END_RESPONSE|>", "<|END_TEXT|>")
WORD = "Action:"
FENCE = "```"


class CommandParser(CallParser):
    """Reads an array of calls behind `opening`, in a code fence or without, and `closing`."""

    def __init__(self, tools: Sequence[Tool], opening: str, closing: str, *, parallel: bool) -> None:
        super().__init__(tools, (opening,), parallel=parallel)
        self._closing = closing

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from self.spaces()
        if (yield from self.optional(FENCE)):
            yield from self.optional("json")
        yield from read_calls(self)
        yield from self.close(self._closing)


class MarkedFormat:
    """A `ToolFormat`: R7B, A, North."""

    name = "command_r"
    markers = (ACTION, ACTION_END, *STARTS[1:], *ENDS[1:])
    ends_reasoning: tuple[str, ...] = (ACTION,)
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return ACTION in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        inner = CommandParser(tools, ACTION, ACTION_END, parallel=parallel)
        return FramedParser(inner, STARTS, ENDS, follow=(ACTION,))

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = ' (",\\n    " call)*' if parallel else ""
        rules = [
            f'start: opening "[\\n    " call{more} "\\n]" closing',
            "NUMBER: /[0-9]{1,3}/",
            alternatives("call", "call_", len(tools)),
        ]
        for number, tool in enumerate(tools):
            name = literal(f'", "tool_name": {json.dumps(tool.name)}, "parameters": ')
            head = literal('{"tool_call_id": "')
            rules.append(f'call_{number}: {head} NUMBER {name} call_{number}_args "}}"')
            rules.append(f"call_{number}_args: {json_rule(parameters_of(tool))}")
        triggers = () if required else (ACTION,)
        return ToolGrammar(
            "\n".join(rules) + "\n", markers={"opening": ACTION, "closing": ACTION_END}, triggers=triggers
        )


class PlusFormat:
    """A `ToolFormat`: R+."""

    name = "command_r_plus"
    markers: tuple[str, ...] = ()
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return WORD in template and FENCE in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return FramedParser(CommandParser(tools, WORD, FENCE, parallel=parallel), STARTS[:1], ENDS[:1])

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = ' (",\\n    " call)*' if parallel else ""
        start = f'start: "Action: ```json\\n[\\n    " call{more} "\\n]```"'
        rules = [start, *json_calls(tools, name="tool_name", arguments="parameters")]
        return ToolGrammar("\n".join(rules) + "\n", triggers=() if required else (f"{WORD} {FENCE}",))


MARKED = MarkedFormat()
PLUS = PlusFormat()
