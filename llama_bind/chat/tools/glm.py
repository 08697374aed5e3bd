"""GLM 4.5 to 4.7, Ling 3, Laguna, Spark 2.5: ``<tool_call>name``, then a pair of tags for every argument.

``<arg_key>city</arg_key><arg_value>Paris</arg_value>``, with line feeds between the tags or without. Hunyuan 3 writes
the same with a suffix in every tag, a tag behind the name, and a block around the calls. Not for: tags that carry the
names themselves (``tagged.py``).
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

__all__ = ["FORMAT", "HUNYUAN", "LINES", "GlmFormat", "GlmParser", "GlmTags"]


class GlmTags:
    """The tags; `suffix` stands in every one of them, and `block`: a block is around the calls."""

    def __init__(self, suffix: str = "", *, block: bool = False) -> None:
        self.opening, self.closing = f"<tool_call{suffix}>", f"</tool_call{suffix}>"
        self.key, self.key_end = f"<arg_key{suffix}>", f"</arg_key{suffix}>"
        self.value, self.value_end = f"<arg_value{suffix}>", f"</arg_value{suffix}>"
        self.separator = f"<tool_sep{suffix}>" if block else ""
        self.block, self.block_end = (f"<tool_calls{suffix}>", f"</tool_calls{suffix}>") if block else ("", "")
        self.name_ends = Markers(("\n", self.key, self.closing, self.separator))
        self.key_ends = Markers((self.key_end,))
        self.follow = Markers((self.key, self.closing, self.opening))
        one = (self.opening, self.closing, self.key, self.key_end, self.value, self.value_end)
        self.all = (*one, *((self.block, self.block_end, self.separator) if block else ()))


class GlmParser(CallParser):
    """Reads calls; JSON between the outer tags is read as well."""

    def __init__(self, tags: GlmTags, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (tags.opening, tags.block), parallel=parallel)
        self._tags = tags

    def read_call(self, marker: str) -> Steps[None]:
        if not self._tags.block or marker == self._tags.opening:
            yield from self._one()
            return
        while not self.done:
            yield from self.spaces()
            if not (yield from self.next_is(self._tags.opening)):
                break
            self.take(self.at + len(self._tags.opening))
            yield from self._one()
        if self.done:
            return
        if (yield from self.optional(self._tags.block_end)) or (self.ended and self.calls):
            self.record()
        else:
            raise EndOfText if self.ended else NotACall

    def _one(self) -> Steps[None]:
        tags = self._tags
        yield from self.spaces()
        if (yield from self.peek()) in ("{", "["):
            yield from read_calls(self)
            if not self.done:
                yield from self.spaces()
                if (yield from self.optional(tags.closing)) or self.ended:
                    self.record()
            return
        name, end = yield from self.until(tags.name_ends, limit=200)
        self.start_call(name.strip())
        writer = ArgumentWriter(self, self.tools[name.strip()])
        if end == tags.key:
            yield from self._argument(writer)
        if end != tags.closing:
            yield from self._arguments(writer)
        writer.close()
        self.end_call()

    def _arguments(self, writer: ArgumentWriter) -> Steps[None]:
        tags = self._tags
        while True:
            yield from self.spaces()
            if (yield from self.optional(tags.key)):
                yield from self._argument(writer)
            elif (yield from self.optional(tags.closing)) or (yield from self.next_is(tags.opening)):
                return
            else:
                raise EndOfText if self.ended else NotACall

    def _argument(self, writer: ArgumentWriter) -> Steps[None]:
        tags = self._tags
        key, _ = yield from self.until(tags.key_ends)
        yield from self.spaces()
        yield from self.expect(tags.value)
        writer.begin(key.strip())
        yield from read_value(self, writer, tags.value_end, tags.follow, lines=False)


class GlmFormat:
    """A `ToolFormat`.

    Args:
        name: See `ToolFormat`.
        tags: How the tags are written.
        line: What stands between them.
        needle: What is in its templates, besides ``<tool_call``.
    """

    reads_reasoning = False

    def __init__(self, name: str, tags: GlmTags, line: str, needle: str = "<arg_key>") -> None:
        self.name = name
        self.markers = tags.all
        self.ends_reasoning = tuple(text for text in (tags.block, tags.opening) if text)
        self._tags = tags
        self._line = line
        self._needle = needle

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        if self._needle not in template or "<tool_call" not in template:
            return False
        lines = any(
            f"{end}{feed}" in template for end in ("</arg_key>", "argkey_end_token + '") for feed in ("\\n", "\n")
        )
        return lines == bool(self._line)

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return GlmParser(self._tags, tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        tags = self._tags
        line = f" {literal(self._line)} " if self._line else " "
        rules = [alternatives("call", "call_", len(tools)), "tagged: opening call closing"]
        if tags.block:
            more = f" (tagged{line.rstrip()})*" if parallel else ""
            rules.insert(0, f"start: block{line}tagged{line}{more} block_end")
        else:
            rules.insert(0, f"start: tagged{f' ({line}tagged)*' if required and parallel else ''}")
        for number, tool in enumerate(tools):
            rules += self._call(tool, f"call_{number}", line)
        names = ("opening", "closing", "key", "key_end", "value", "value_end", "block", "block_end", "sep")
        trigger = tags.block or tags.opening
        return ToolGrammar(
            "\n".join(rules) + "\n",
            markers=dict(zip(names, tags.all, strict=False)),
            triggers=() if required else (trigger,),
        )

    def _call(self, tool: Tool, rule: str, line: str) -> list[str]:
        def pair(name: str, part: str, schema: object) -> list[str]:
            head = f"key {literal(name)} key_end{line}value"
            return value_rules(part, head, schema, "value_end", self._tags.value_end, line)

        separator = " sep" if self._tags.block else ""
        return argument_rules(tool, rule, f"{literal(tool.name)}{separator}{line}".rstrip(), pair)


FORMAT = GlmFormat("glm", GlmTags(), "")
LINES = GlmFormat("glm_lines", GlmTags(), "\n")
HUNYUAN = GlmFormat("hunyuan", GlmTags(":opensource", block=True), "\n", needle=":opensource")
