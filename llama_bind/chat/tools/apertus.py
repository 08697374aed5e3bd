"""Apertus: an array of objects between marks, each with one key, the function's name, whose value is the arguments.

Not for: objects with keys for the name and the arguments (``tagged_json.py``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_arguments
from llama_bind.chat.tools.lark import alternatives, json_rule, literal, parameters_of
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import NotACall, Steps

__all__ = ["FORMAT", "ApertusFormat", "ApertusParser"]

OPENING, CLOSING = "<|tools_prefix|>", "<|tools_suffix|>"


class ApertusParser(CallParser):
    """Reads ``[{"name": {...}}, ...]``."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (OPENING,), parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from self.spaces()
        yield from self.expect("[")
        while True:
            yield from self._one()
            if self.done:
                return
            yield from self.spaces()
            if not (yield from self.next_is(",")):
                break
            self.take(self.at + 1)
        yield from self.optional("]")
        self.record()
        yield from self.close(CLOSING)

    def _one(self) -> Steps[None]:
        yield from self.spaces()
        yield from self.expect("{")
        yield from self.spaces()
        if (yield from self.peek()) != '"':
            raise NotACall
        name: str = json.loads((yield from self.value()))
        yield from self.spaces()
        yield from self.expect(":")
        yield from self.spaces()
        if (yield from self.peek()) != "{":
            raise NotACall
        self.start_call(name)
        yield from read_arguments(self)
        yield from self.spaces()
        yield from self.optional("}")
        self.end_call()


class ApertusFormat:
    """A `ToolFormat`."""

    name = "apertus"
    markers = (OPENING, CLOSING)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return OPENING in template and CLOSING in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return ApertusParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = ' (", " call)*' if parallel else ""
        rules = [f'start: opening "[" call{more} "]" closing', alternatives("call", "call_", len(tools))]
        for number, tool in enumerate(tools):
            head = literal(f"{{{json.dumps(tool.name)}: ")
            rules.append(f'call_{number}: {head} call_{number}_args "}}"')
            rules.append(f"call_{number}_args: {json_rule(parameters_of(tool))}")
        triggers = () if required else (OPENING,)
        return ToolGrammar("\n".join(rules) + "\n", markers={"opening": OPENING, "closing": CLOSING}, triggers=triggers)


FORMAT = ApertusFormat()
