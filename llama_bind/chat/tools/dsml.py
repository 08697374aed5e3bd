"""DeepSeek V3.2 and V4: a block of invocations, with a tag for every argument that says whether it is a string.

Not for: R1 to V3.1, which write JSON (``deepseek.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.arguments import ArgumentWriter
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.lark import alternatives, json_rule, literal
from llama_bind.chat.tools.marked_grammar import argument_rules, string_choices, takes_string
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps
from llama_bind.chat.tools.tagged import read_value

__all__ = ["FORMAT", "V4", "DsmlFormat", "DsmlParser"]

MARK = "\uff5cDSML\uff5c"
"""Between wide vertical bars; a token of its own in DeepSeek's vocabularies."""
BLOCKS = (f"<{MARK}function_calls>", f"<{MARK}tool_calls>")
INVOKE = f'<{MARK}invoke name="'
INVOKE_END = f"</{MARK}invoke>"
PARAMETER = f'<{MARK}parameter name="'
PARAMETER_END = f"</{MARK}parameter>"

NAME_END = Markers(('">',))
STRING, OTHER = '" string="true">', '" string="false">'
PARAMETER_NAME_END = Markers((STRING, OTHER, '">'))
FOLLOW = Markers((PARAMETER, INVOKE_END))


class DsmlParser(CallParser):
    """Reads a block of calls."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, BLOCKS, parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        yield from self.spaces()
        yield from self.expect(INVOKE)
        yield from self.calls_until(marker.replace("<", "</", 1), INVOKE, self._invocation)

    def _invocation(self) -> Steps[None]:
        name, _ = yield from self.until(NAME_END, limit=200)
        self.start_call(name)
        writer = ArgumentWriter(self, self.tools[name])
        while True:
            yield from self.spaces()
            if (yield from self.optional(PARAMETER)):
                argument, end = yield from self.until(PARAMETER_NAME_END)
                writer.begin(argument, string={STRING: True, OTHER: False}.get(end))
                yield from read_value(self, writer, PARAMETER_END, FOLLOW, lines=False)
            elif (yield from self.optional(INVOKE_END)):
                writer.close()
                self.end_call()
                return
            else:
                raise EndOfText if self.ended else NotACall


class DsmlFormat:
    """A `ToolFormat`.

    Args:
        name: See `ToolFormat`.
        block: What the block of calls is named.
    """

    ends_reasoning = BLOCKS
    reads_reasoning = False
    markers = (MARK,)

    def __init__(self, name: str, block: str) -> None:
        self.name = name
        self._block = block

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return MARK in template and self._block in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return DsmlParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        begin = f'"<" mark {literal(f"{self._block}>" + chr(10))}'
        rules = [
            f'start: {begin} call{" call*" if parallel else ""} "</" mark {literal(f"{self._block}>")}',
            alternatives("call", "call_", len(tools)),
        ]
        for number, tool in enumerate(tools):
            head = f'"<" mark {literal(f"invoke name={chr(34)}{tool.name}{chr(34)}>" + chr(10))}'
            tail = f'"</" mark {literal("invoke>" + chr(10))}'
            rules += argument_rules(tool, f"call_{number}", head, _argument, tail)
        return ToolGrammar(
            "\n".join(rules) + "\n", markers={"mark": MARK}, triggers=() if required else (f"<{MARK}{self._block}>",)
        )


def _argument(name: str, rule: str, schema: object) -> list[str]:
    """Rules of one argument. A string is free text up to its end tag, in which the mark may be a control token."""

    def head(string: bool) -> str:
        return f'"<" mark {literal(f"parameter name={chr(34)}{name}{STRING if string else OTHER}")}'

    end = f"mark {literal('parameter>' + chr(10))}"
    choices = string_choices(schema)
    if choices:
        return [f'{rule}: {head(True)} ({" | ".join(map(literal, choices))}) "</" {end}']
    if takes_string(schema):
        ending = literal(PARAMETER_END)
        return [
            f"{rule}: {head(True)} ({rule}_free {end} | {rule}_text {literal(chr(10))})",
            # Greedy: a control token ends it, at whatever "</" that was.
            rf"{rule}_free: /(?s:.*)<\//",
            f"{rule}_text[suffix={ending}]: /(?s:.*)/",
        ]
    return [f'{rule}: {head(False)} {rule}_value "</" {end}', f"{rule}_value: {json_rule(schema)}"]  # type: ignore[arg-type]


FORMAT = DsmlFormat("dsml", "function_calls")
V4 = DsmlFormat("dsml_v4", "tool_calls")
