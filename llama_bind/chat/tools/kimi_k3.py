"""Kimi K3: sections between tags made of three control tokens; a call has a tag for every argument.

Not for: Kimi K2, whose arguments are JSON (``kimi_k2.py``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llama_bind.chat.tools.arguments import ArgumentWriter, json_types
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.channels import ChannelParser
from llama_bind.chat.tools.lark import alternatives, literal
from llama_bind.chat.tools.marked_grammar import argument_rules, until_rules, value_rules
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps
from llama_bind.chat.tools.tagged import read_value

__all__ = ["FORMAT", "KimiK3Format", "KimiK3Parser"]

OPEN, CLOSE, SEP = "<|open|>", "<|close|>", "<|sep|>"
SECTIONS = ("think", "response", "tools", "message")
CALL = f"{OPEN}call "
ARGUMENT = f"{OPEN}argument "
ARGUMENT_END = f"{CLOSE}argument{SEP}"
CALL_END = f"{CLOSE}call{SEP}"
ANSWER = f'{OPEN}message role="assistant"'

TAGS = Markers([*(f"{OPEN}{name}{SEP}" for name in SECTIONS), *(f"{CLOSE}{name}{SEP}" for name in SECTIONS),
                ANSWER + SEP, CALL])  # fmt: skip
TAG_END = Markers((SEP,))
FOLLOW = Markers((ARGUMENT, CALL_END))
KINDS = {name: name for name in ("string", "number", "boolean", "null", "object", "array")} | {"integer": "number"}
"""JSON type -> what the tag of an argument calls it."""
ATTRIBUTE = re.compile(r'(\w+)="([^"]*)"')


class KimiK3Parser(ChannelParser):
    """Reads sections. What stands in none is text."""

    def read_output(self) -> Steps[None]:
        section, space, loud = "", "", False
        while not self.done:
            text, marker = yield from self.pieces_until(TAGS)
            if section == "think":
                self.reason(text)
            elif section == "tools" and not loud and not text.strip():
                # White space between calls is none of the answer.
                space = "" if marker else space + text
            else:
                self.emit_text(space + text)
                space, loud = "", True
            loud = loud and not marker
            if marker == CALL:
                yield from self._call()
            elif marker:
                section = self._turn(section, marker)
            elif not text:
                return

    def _turn(self, section: str, marker: str) -> str:
        """The section after a tag. One that opens another section closes the one before."""
        name = marker.removeprefix(OPEN).removeprefix(CLOSE).removesuffix(SEP)
        if name == "think":
            self.tags(marker)
        return name if marker.startswith(OPEN) and name in SECTIONS else "" if name != "message" else section

    def _call(self) -> Steps[None]:
        self.record()
        try:
            head, _ = yield from self.until(TAG_END, limit=400)
            name = _attributes(head).get("tool", "")
            self.start_call(name)
            yield from self._arguments(ArgumentWriter(self, self.tools[name]))
            self.end_call()
        except NotACall:
            if self._in_call:
                self.calls += 1
                self._in_call = False
            else:
                self.emit_text(CALL)
                self.give_back()
        self.keep()

    def _arguments(self, writer: ArgumentWriter) -> Steps[None]:
        while True:
            yield from self.spaces()
            if (yield from self.optional(ARGUMENT)):
                head, _ = yield from self.until(TAG_END)
                attributes = _attributes(head)
                kind = attributes.get("type")
                writer.begin(attributes.get("key", ""), string=None if kind is None else kind == "string")
                yield from read_value(self, writer, ARGUMENT_END, FOLLOW, lines=False)
            elif (yield from self.optional(CALL_END)):
                writer.close()
                return
            else:
                raise EndOfText if self.ended else NotACall


def _attributes(tag: str) -> dict[str, str]:
    return {key: value.replace("&quot;", '"').replace("&amp;", "&") for key, value in ATTRIBUTE.findall(tag)}


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace('"', "&quot;")


class KimiK3Format:
    """A `ToolFormat`."""

    name = "kimi_k3"
    markers = (OPEN, CLOSE, SEP)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = True
    answers = (f"{OPEN}response{SEP}",)

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return OPEN in template and CLOSE in template and SEP in template

    def opened_by(self, prompt: str) -> str:
        """What of a prompt belongs to the answer: from where the assistant's last message begins."""
        at = prompt.rfind(ANSWER)
        return prompt[at:] if at >= 0 else ""

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return KimiK3Parser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`: before a required call stands what the model thinks, or an empty response."""
        more = " one*" if parallel else ""
        block = f'open "tools" sep one{more} close "tools" sep close "message" sep'
        # Whichever section the prompt has opened; a response may follow the thoughts.
        opened = '(opened_think | opened_response)? (open "response" sep opened_response)? '
        before = opened if required else ""
        rules = [f"start: {before}{block}", alternatives("one", "call_", len(tools))]
        for section in ("think", "response") if required else ():
            rules += until_rules(f"opened_{section}", f'close "{section}" sep', f"{CLOSE}{section}{SEP}")
        for number, tool in enumerate(tools):
            head = (
                f'open {literal(f"call tool={chr(34)}{_escaped(tool.name)}{chr(34)} index={chr(34)}")} NUMBER "\\"" sep'
            )
            rules += argument_rules(tool, f"call_{number}", head, _argument, 'close "call" sep')
        rules.append("NUMBER: /[1-9][0-9]{0,2}/")
        markers = {"open": OPEN, "close": CLOSE, "sep": SEP}
        triggers = () if required else (f"{OPEN}tools{SEP}",)
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=triggers)


def _argument(name: str, rule: str, schema: object) -> list[str]:
    types = {KINDS[name] for name in json_types(schema, schema) if name in KINDS}
    kinds = '"string"' if "string" in types else f"({' | '.join(map(literal, sorted(types)))})"
    head = f'open {literal(f"argument key={chr(34)}{_escaped(name)}{chr(34)} type=")} "\\"" {kinds} "\\"" sep'
    return value_rules(rule, head, schema, 'close "argument" sep', ARGUMENT_END)


FORMAT = KimiK3Format()
