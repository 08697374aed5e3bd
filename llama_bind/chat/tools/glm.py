"""GLM 4.5 to 4.7, Ling 3, Laguna, Spark 2.5: ``<tool_call>name``, then a pair of tags for every argument.

``<arg_key>city</arg_key><arg_value>Paris</arg_value>``, with line feeds between the tags or without. Not for: tags that
carry the names themselves (``tagged.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.arguments import ArgumentWriter
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_calls
from llama_bind.chat.tools.lark import alternatives, literal
from llama_bind.chat.tools.marked_grammar import argument_rules, value_rules
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps
from llama_bind.chat.tools.tagged import read_value

__all__ = ["FORMAT", "LINES", "GlmFormat", "GlmParser"]

OPENING = "<tool_call>"
CLOSING = "</tool_call>"
KEY = "<arg_key>"
KEY_END = "</arg_key>"
VALUE = "<arg_value>"
VALUE_END = "</arg_value>"

NAME_END = Markers(("\n", KEY, CLOSING))
KEY_ENDS = Markers((KEY_END,))
FOLLOW = Markers((KEY, CLOSING, OPENING))


class GlmParser(CallParser):
    """Reads calls; JSON between the outer tags is read as well."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (OPENING,), parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from self.spaces()
        if (yield from self.peek()) in ("{", "["):
            yield from read_calls(self)
            yield from self.spaces()
            if (yield from self.optional(CLOSING)) or self.ended:
                self.record()
            return
        name, end = yield from self.until(NAME_END, limit=200)
        self.start_call(name.strip())
        writer = ArgumentWriter(self, self.tools[name.strip()])
        if end == KEY:
            yield from self._argument(writer)
        if end != CLOSING:
            yield from self._arguments(writer)
        writer.close()
        self.end_call()

    def _arguments(self, writer: ArgumentWriter) -> Steps[None]:
        while True:
            yield from self.spaces()
            if (yield from self.optional(KEY)):
                yield from self._argument(writer)
            elif (yield from self.optional(CLOSING)) or (yield from self.next_is(OPENING)):
                return
            else:
                raise EndOfText if self.ended else NotACall

    def _argument(self, writer: ArgumentWriter) -> Steps[None]:
        key, _ = yield from self.until(KEY_ENDS)
        yield from self.spaces()
        yield from self.expect(VALUE)
        writer.begin(key.strip())
        yield from read_value(self, writer, VALUE_END, FOLLOW, lines=False)


class GlmFormat:
    """A `ToolFormat`.

    Args:
        name: See `ToolFormat`.
        line: What stands between the tags.
    """

    markers = (OPENING, CLOSING, KEY, KEY_END, VALUE, VALUE_END)
    ends_reasoning = (OPENING,)
    reads_reasoning = False

    def __init__(self, name: str, line: str) -> None:
        self.name = name
        self._line = line

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        lines = f"{KEY_END}\\n" in template or f"{KEY_END}\n" in template
        return OPENING in template and KEY in template and lines == bool(self._line)

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return GlmParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        line = f" {literal(self._line)} " if self._line else " "
        start = f"start: tagged{f' ({line}tagged)*' if required and parallel else ''}"
        rules = [start, "tagged: opening call closing", alternatives("call", "call_", len(tools))]
        for number, tool in enumerate(tools):
            rules += self._call(tool, f"call_{number}", line)
        markers = {
            "opening": OPENING,
            "closing": CLOSING,
            "key": KEY,
            "key_end": KEY_END,
            "value": VALUE,
            "value_end": VALUE_END,
        }
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=() if required else (OPENING,))

    def _call(self, tool: Tool, rule: str, line: str) -> list[str]:
        def pair(name: str, part: str, schema: object) -> list[str]:
            head = f"key {literal(name)} key_end{line}value"
            return value_rules(part, head, schema, "value_end", VALUE_END, line)

        return argument_rules(tool, rule, f"{literal(tool.name)}{line}".rstrip(), pair)


FORMAT = GlmFormat("glm", "")
LINES = GlmFormat("glm_lines", "\n")
