"""Muse Glimmer: messages with recipients, ``self`` for thoughts, ``user`` for the answer, a tool for a call.

A call is an ``<atem:function_calls>`` block with a tag for every argument; what looks like one in a message to the user
is text. Not for: harmony, whose calls are JSON (``gpt_oss.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.arguments import ArgumentWriter
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.channels import ChannelParser
from llama_bind.chat.tools.lark import alternatives, literal
from llama_bind.chat.tools.marked_grammar import argument_rules, until_rules, value_rules
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps
from llama_bind.chat.tools.tagged import read_value

__all__ = ["FORMAT", "MuseFormat", "MuseParser"]

START, MESSAGE = "<|start|>", "<|message|>"
ENDS = ("<|eom|>", "<|eot|>")
ROLE = "assistant"
TO = " to="
BLOCK, BLOCK_END = "<atem:function_calls>", "</atem:function_calls>"
INVOKE, INVOKE_END = '<atem:invoke name="', "</atem:invoke>"
PARAMETER, PARAMETER_END = '<atem:parameter name="', "</atem:parameter>"

HEADER_END = Markers((MESSAGE,))
BODY_END = Markers((*ENDS, START + ROLE))
NAME_END = Markers(('">',))
FOLLOW = Markers((PARAMETER, INVOKE_END))


class MuseParser(ChannelParser):
    """Reads messages. An output that begins like none is text."""

    def read_output(self) -> Steps[None]:
        started = False
        while not self.done:
            if not started and (yield from self.optional(START)):
                yield from self.optional(ROLE)
            started = False
            recipient = yield from self._recipient()
            if not recipient and not (yield from self.peek()):
                return
            if recipient == "self":
                self.tags(TO + recipient + MESSAGE)
                started = yield from self._body(self.reason)
            elif recipient in ("", "user") or not (yield from self._calls()):
                started = yield from self._body(self.emit_text)
            elif not self.done:
                yield from self.spaces()
                started = yield from self._body(self.emit_text)

    def _recipient(self) -> Steps[str]:
        """Whom a message is for; "" where none begins. A header that is cut is dropped."""
        if not (yield from self.next_is(TO)):
            yield from self.optional(MESSAGE)
            return ""
        self.record()
        try:
            header, _ = yield from self.until(HEADER_END, limit=300)
        except EndOfText:
            return ""
        except NotACall:
            self.give_back()
            return ""
        finally:
            self.keep()
        return header[len(TO) :].strip()

    def _body(self, say: object) -> Steps[bool]:
        """The text of a message, to where it goes; whether the next message has begun."""
        while True:
            text, marker = yield from self.pieces_until(BODY_END)
            assert callable(say)
            say(text)
            if marker or not text:
                if say == self.reason:
                    self.tags(marker if marker in ENDS else "")
                return marker == START + ROLE

    def _calls(self) -> Steps[bool]:
        """A block of calls; whether there was any, or at least the beginning of one."""
        before = self.calls
        self.record()
        try:
            yield from self.spaces()
            yield from self.expect(BLOCK)
            while not self.done:
                yield from self.spaces()
                if self.calls > before and (yield from self.optional(BLOCK_END)):
                    break
                yield from self.expect(INVOKE)
                yield from self._invocation()
        except NotACall:
            if self._in_call:
                self.calls += 1
                self._in_call = False
            elif self.calls == before:
                self.give_back()
        self.keep()
        return self.calls > before

    def _invocation(self) -> Steps[None]:
        name, _ = yield from self.until(NAME_END, limit=200)
        self.start_call(name)
        writer = ArgumentWriter(self, self.tools[name])
        while True:
            yield from self.spaces()
            if (yield from self.optional(PARAMETER)):
                argument, _ = yield from self.until(NAME_END)
                writer.begin(argument)
                yield from read_value(self, writer, PARAMETER_END, FOLLOW, lines=False)
            elif (yield from self.optional(INVOKE_END)):
                writer.close()
                self.end_call()
                return
            else:
                raise EndOfText if self.ended else NotACall


class MuseFormat:
    """A `ToolFormat`."""

    name = "muse"
    markers = (START, MESSAGE, *ENDS)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = True
    answers = (f"to=user{MESSAGE}",)

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return BLOCK in template and MESSAGE in template

    def opened_by(self, prompt: str) -> str:
        """What of a prompt belongs to the answer: from where the assistant's last message begins."""
        at = prompt.rfind(START + ROLE)
        return prompt[at:] if at >= 0 else ""

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return MuseParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`: a message to a tool, from its recipient on; before a required one the model may think."""
        del parallel
        calls = alternatives("call", "call_", len(tools))
        if required:
            rules = ['start: (" to=self" message thoughts next)? " " call', calls, f"next: begin {literal(ROLE)}"]
            rules += until_rules("thoughts", "eom", ENDS[0])
        else:
            rules = ["start: call", calls]
        for number, tool in enumerate(tools):
            rule = f"call_{number}"
            invoke = literal(f'{BLOCK}\n{INVOKE}{tool.name}">\n')
            head = f"{literal(f'to={tool.name}')} message {invoke}"
            rules += argument_rules(tool, rule, head, _argument, literal(f"{INVOKE_END}\n{BLOCK_END}"))
        markers = {"message": MESSAGE, "eom": ENDS[0], "begin": START}
        triggers = () if required else tuple(f"to={tool.name}" for tool in tools)
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=triggers)


def _argument(name: str, rule: str, schema: object) -> list[str]:
    head = literal(f'{PARAMETER}{name}">')
    return value_rules(rule, head, schema, literal(PARAMETER_END), PARAMETER_END, literal("\n"))


FORMAT = MuseFormat()
