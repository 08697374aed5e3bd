"""MiniCPM 5: ``<function name="f"><param name="a">1</param></function>``; CDATA around values with markup in them.

Not for: families with an outer tag around the function's (``tagged.py`` and those who use it).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.arguments import ArgumentWriter
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.lark import alternatives, literal
from llama_bind.chat.tools.marked_grammar import argument_rules, takes_string, value_rules
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps
from llama_bind.chat.tools.tagged import read_value

__all__ = ["FORMAT", "MiniCpmFormat", "MiniCpmParser"]

FUNCTION, FUNCTION_END = '<function name="', "</function>"
PARAMETER, PARAMETER_END = '<param name="', "</param>"
CDATA, CDATA_END = "<![CDATA[", "]]>"

NAME_END = Markers(('">',))
FOLLOW = Markers((PARAMETER, FUNCTION_END))
CDATA_FOLLOW = Markers((PARAMETER_END,))


class MiniCpmParser(CallParser):
    """Reads calls; only the names of declared tools begin one."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, [f'{FUNCTION}{tool.name}">' for tool in tools], parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        name = marker[len(FUNCTION) : -2]
        self.start_call(name)
        writer = ArgumentWriter(self, self.tools[name])
        while True:
            yield from self.spaces()
            if (yield from self.optional(PARAMETER)):
                argument, _ = yield from self.until(NAME_END)
                yield from self._value(writer, argument)
            elif (yield from self.optional(FUNCTION_END)):
                writer.close()
                self.end_call()
                return
            else:
                raise EndOfText if self.ended else NotACall

    def _value(self, writer: ArgumentWriter, argument: str) -> Steps[None]:
        if not (yield from self.next_is(CDATA)):
            writer.begin(argument)
            yield from read_value(self, writer, PARAMETER_END, FOLLOW, lines=False)
            return
        self.take(self.at + len(CDATA))
        writer.begin(argument, string=True)
        yield from read_value(self, writer, CDATA_END, CDATA_FOLLOW, lines=False)
        yield from self.optional(PARAMETER_END)


class MiniCpmFormat:
    """A `ToolFormat`."""

    name = "minicpm"
    markers: tuple[str, ...] = ()
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return FUNCTION in template and PARAMETER in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return MiniCpmParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        more = ' ("\\n"? call)*' if required and parallel else ""
        rules = [f"start: call{more}", alternatives("call", "call_", len(tools))]
        for number, tool in enumerate(tools):
            head = literal(f'{FUNCTION}{tool.name}">')
            rules += argument_rules(tool, f"call_{number}", head, _argument, literal(FUNCTION_END))
        triggers = () if required else tuple(f'{FUNCTION}{tool.name}">' for tool in tools)
        return ToolGrammar("\n".join(rules) + "\n", triggers=triggers)


def _argument(name: str, rule: str, schema: object) -> list[str]:
    """Rules of one argument. Text that begins like CDATA is CDATA; there is no other way to write such a text."""
    head = literal(f'{PARAMETER}{name}">')
    if not takes_string(schema):
        return value_rules(rule, head, schema, literal(PARAMETER_END), PARAMETER_END)
    plain = value_rules(f"{rule}_plain", "", schema, literal(PARAMETER_END), PARAMETER_END)
    return [
        f"{rule}: {head} ({literal(CDATA)} {rule}_cdata | {rule}_plain)",
        f"{rule}_cdata[suffix={literal(CDATA_END + PARAMETER_END)}]: /(?s:.*)/",
        *plain,
    ]


FORMAT = MiniCpmFormat()
