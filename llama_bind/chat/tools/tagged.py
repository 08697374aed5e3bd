"""Calls with a tag for the function and one for every argument, such as ``<function=f><parameter=a>1</parameter>``.

One class for all families that do so; each makes its own `TaggedFormat`. Not for: JSON between tags
(``tagged_json.py``).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

from llama_bind.chat.tools.arguments import ArgumentWriter
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_calls
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps
from llama_bind.chat.tools.tagged_grammar import tagged_rules

__all__ = ["TagSyntax", "TaggedFormat", "TaggedParser", "read_value"]


@dataclasses.dataclass(frozen=True)
class TagSyntax:
    """How the tags are written, from the outside in: ``opening function name function_name_end`` and so on.

    Attributes:
        opening: Begins a call or several; "" for none.
        closing: Ends them.
        function: Stands before a function's name.
        function_name_end: Behind it.
        function_end: Ends the function.
        argument: Stands before an argument's name.
        argument_name_end: Behind it.
        argument_end: Ends the argument.
        line: What stands between the tags and, where `block` is set, around a value.
        block: Values stand on lines of their own.
    """

    opening: str
    closing: str
    function: str = "<function="
    function_name_end: str = ">"
    function_end: str = "</function>"
    argument: str = "<parameter="
    argument_name_end: str = ">"
    argument_end: str = "</parameter>"
    line: str = "\n"
    block: bool = True


def read_value(
    parser: CallParser, writer: ArgumentWriter, end: str, follow: Markers, *, lines: bool = True
) -> Steps[None]:
    """Read an argument's value up to `end`; `lines`: it may stand on lines of its own.

    `end` counts only where one of `follow` comes next (or nothing): a value may contain such a text.
    """
    block = lines and (yield from parser.optional("\n"))
    ends = Markers((f"\n{end}", end)) if block else Markers((end,))
    try:
        while True:
            text, marker = yield from parser.pieces_until(ends)
            if parser.ended and not marker and ends.begins(text) is None:
                # The output was cut within what ends the value (or there was nothing left).
                raise EndOfText
            writer.text(text)
            if marker:
                space = yield from parser.spaces()
                follows = (yield from parser.next_is_one_of(follow)) or not (yield from parser.peek())
                if follows or (parser.ended and follow.begins(parser.buffer, parser.at) is None):
                    writer.end()
                    return
                writer.text(marker + space)
    except EndOfText:
        writer.cut()
        raise


class TaggedParser(CallParser):
    """Reads them. JSON where the function's tag should be is read as well."""

    def __init__(self, form: TaggedFormat, tools: Sequence[Tool], *, parallel: bool) -> None:
        syntax = self._syntax = form.syntax
        openings = [syntax.opening] if syntax.opening else []
        if form.bare_function or not openings:
            # Complete with the name: the beginning alone may well be text.
            openings += [syntax.function + tool.name + syntax.function_name_end for tool in tools]
        super().__init__(tools, openings, parallel=parallel)
        self._follow = Markers((syntax.argument, syntax.function_end, syntax.closing))

    def read_call(self, marker: str) -> Steps[None]:
        syntax = self._syntax
        if marker != syntax.opening:
            yield from self._function(marker[len(syntax.function) : -len(syntax.function_name_end)])
        else:
            yield from self.spaces()
            if (yield from self.peek()) in ("{", "["):
                yield from read_calls(self)
            else:
                yield from self._named()
        while not self.done:
            yield from self.spaces()
            if not (yield from self.next_is(syntax.function)):
                break
            yield from self._named()
        yield from self.close(syntax.closing)

    def _named(self) -> Steps[None]:
        yield from self.expect(self._syntax.function)
        name, _ = yield from self.until(Markers((self._syntax.function_name_end,)), limit=200)
        yield from self._function(name.strip())

    def _function(self, name: str) -> Steps[None]:
        syntax = self._syntax
        self.start_call(name)
        writer = ArgumentWriter(self, self.tools[name])
        while True:
            yield from self.spaces()
            if (yield from self.optional(syntax.argument)):
                argument, _ = yield from self.until(Markers((syntax.argument_name_end,)), limit=1000)
                writer.begin(argument.strip())
                yield from read_value(self, writer, syntax.argument_end, self._follow)
                continue
            if (yield from self.optional(syntax.function_end)) or (yield from self.next_is(syntax.closing)):
                writer.close()
                self.end_call()
                return
            raise EndOfText if self.ended else NotACall


@dataclasses.dataclass(frozen=True)
class TaggedFormat:
    """A `ToolFormat`.

    Attributes:
        name: See `ToolFormat`.
        syntax: How the tags are written.
        detect: Whether a template asks for it.
        bare_function: The function's tag begins a call too, without the opening one.
        ends_reasoning: See `ToolFormat`.
    """

    name: str
    syntax: TagSyntax
    detect: Callable[[str], bool]
    bare_function: bool = False
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning: bool = False

    @property
    def markers(self) -> tuple[str, ...]:
        """See `ToolFormat`."""
        return tuple(text for text in (self.syntax.opening, self.syntax.closing) if text)

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return self.detect(template)

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return TaggedParser(self, tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        syntax = self.syntax
        return ToolGrammar(
            tagged_rules(syntax, tools, several=required and parallel),
            markers={"opening": syntax.opening, "closing": syntax.closing} if syntax.opening else {},
            triggers=() if required else (syntax.opening or syntax.function,),
        )
