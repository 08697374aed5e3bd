"""GPT-OSS: OpenAI's harmony, in which every message says its channel and, if it is a call, its recipient.

``<|channel|>analysis<|message|>`` is reasoning, ``final`` the answer, ``commentary`` what is said beside calls;
``to=functions.name`` makes a message a call, whatever its channel. Source: OpenAI's harmony format guide. Not for:
channels of other families.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.channels import ChannelParser
from llama_bind.chat.tools.lark import alternatives, json_rule, literal, parameters_of
from llama_bind.chat.tools.marked_grammar import until_rules
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps

__all__ = ["FORMAT", "GptOssFormat", "GptOssParser"]

START = "<|start|>"
CHANNEL = "<|channel|>"
CONSTRAIN = "<|constrain|>"
MESSAGE = "<|message|>"
ENDS = ("<|end|>", "<|return|>", "<|call|>")
ROLE = "assistant"

HEADER = Markers((" to=", CHANNEL, f" {CONSTRAIN}", MESSAGE))
HEADER_END = Markers((MESSAGE,))
BODY_END = Markers((*ENDS, START + ROLE))
RECIPIENT = re.compile(r"\bto=([^\s<]+)")
CHANNELS = re.compile(re.escape(CHANNEL) + r"(\w*)")


class GptOssParser(ChannelParser):
    """Reads messages. An output that begins like none is text."""

    def read_output(self) -> Steps[None]:
        started = False
        while not self.done:
            header = yield from self._header(started)
            started = False
            if header is None:
                if not (yield from self.peek()):
                    return
                started = yield from self._said("")
                continue
            recipients = [name for name in RECIPIENT.findall(header) if name != ROLE]
            channels = CHANNELS.findall(header)
            if recipients and (yield from self._call(recipients[-1])):
                started = yield from self._after_call()
            elif channels[-1:] == ["analysis"] and not recipients:
                started = yield from self._reasoning(header)
            else:
                started = yield from self._said("")

    def _header(self, started: bool) -> Steps[str | None]:
        """What stands before a message's text; None where no message begins. A header that is cut is dropped."""
        if not started and (yield from self.optional(START)):
            yield from self.optional(ROLE)
        if not (yield from self.next_is_one_of(HEADER)):
            return None
        self.record()
        try:
            header, _ = yield from self.until(HEADER_END, limit=400)
        except EndOfText:
            return None
        except NotACall:
            self.give_back()
            return None
        self.keep()
        return header

    def _call(self, recipient: str) -> Steps[bool]:
        yield from self.spaces()
        return (yield from self.json_call(recipient.removeprefix("functions.")))

    def _after_call(self) -> Steps[bool]:
        if self.done:
            return False
        return (yield from self._said((yield from self.spaces()), drop=True))

    def _said(self, before: str, *, drop: bool = False) -> Steps[bool]:
        """The text of a message; whether the next one has begun. `drop`: without `before` where nothing follows it."""
        while True:
            text, marker = yield from self.pieces_until(BODY_END)
            self.emit_text(before + text if text or not drop else "")
            before = before if drop and not text else ""
            if marker or not text:
                return marker == START + ROLE

    def _reasoning(self, header: str) -> Steps[bool]:
        self.tags(header + MESSAGE)
        while True:
            text, marker = yield from self.pieces_until(BODY_END)
            self.reason(text)
            if marker or not text:
                self.tags(marker if marker in ENDS else "")
                return marker == START + ROLE


class GptOssFormat:
    """A `ToolFormat`."""

    name = "gpt_oss"
    markers = (START, CHANNEL, CONSTRAIN, MESSAGE, *ENDS)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = True
    answers = (f"final{MESSAGE}", f"{CONSTRAIN}json{MESSAGE}")

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return CHANNEL in template and MESSAGE in template

    def opened_by(self, prompt: str) -> str:
        """What of a prompt belongs to the answer: from where the assistant's last message begins."""
        at = prompt.rfind(START + ROLE)
        return prompt[at:] if at >= 0 else ""

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return GptOssParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`: one call ends the output; before a required one the model may think."""
        del parallel
        calls = alternatives("call", "call_", len(tools))
        if not required:
            # A call is known by its recipient, which is plain text in every vocabulary.
            rules = ["start: call", calls]
            head = "to=functions."
        else:
            rules = ['start: (analysis next)? channel "commentary to=functions." call', calls]
            rules += ['analysis: channel "analysis" message thoughts', f"next: start_ {literal(ROLE)}"]
            rules += until_rules("thoughts", "end", ENDS[0])
            head = ""
        for number, tool in enumerate(tools):
            rules.append(f"call_{number}: {literal(head + tool.name)} how message call_{number}_args")
            rules.append(f"call_{number}_args: {json_rule(parameters_of(tool))}")
        rules.append('how: (channel "commentary")? (" " constrain "json" | " json")?')
        markers = {"channel": CHANNEL, "constrain": CONSTRAIN, "message": MESSAGE, "end": ENDS[0], "start_": START}
        triggers = () if required else tuple(f"to=functions.{tool.name}" for tool in tools)
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=triggers)


FORMAT = GptOssFormat()
