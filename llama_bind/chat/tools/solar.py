"""Solar Open: every message says what it is: ``<|think|>``, ``<|content|>`` or ``<|tool_calls|>``.

Not for: other families' channels (``gpt_oss.py``, ``muse.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.channels import ChannelParser
from llama_bind.chat.tools.lark import alternatives, json_rule, literal, parameters_of
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.scanner import NotACall, Steps

__all__ = ["FORMAT", "SolarFormat", "SolarParser"]

BEGIN, END = "<|begin|>", "<|end|>"
ROLE = "assistant"
THINK, CONTENT, CALLS, CALLS_END = "<|think|>", "<|content|>", "<|tool_calls|>", "<|calls|>"
CALL, NAME, ARGUMENTS, CALL_END = "<|tool_call:begin|>", "<|tool_call:name|>", "<|tool_call:args|>", "<|tool_call:end|>"

PARTS = Markers((BEGIN + ROLE, THINK, CONTENT, CALLS, CALLS_END, CALL, CALL_END, END))
NAMES = Markers((NAME,))
VALUES = Markers((ARGUMENTS,))


class SolarParser(ChannelParser):
    """Reads messages. What stands in none is text."""

    def read_output(self) -> Steps[None]:
        thinks = False
        space = ""
        while not self.done:
            text, marker = yield from self.pieces_until(PARTS)
            if thinks:
                self.reason(text)
            elif text:
                self.emit_text(space + text)
                space = ""
            if not marker and not text:
                return
            if marker == THINK or (marker == END and thinks):
                self.tags(marker)
            if marker == CALL:
                yield from self._call()
                # White space behind a call belongs to what follows, if anything does.
                space = yield from self.spaces()
            elif marker:
                thinks = marker == THINK

    def _call(self) -> Steps[None]:
        self.record()
        try:
            call_id, _ = yield from self.until(NAMES, limit=200)
            name, _ = yield from self.until(VALUES, limit=200)
            yield from self.spaces()
            if (yield from self.json_call(name, call_id)):
                return
        except NotACall:
            pass
        self.emit_text(CALL)
        self.give_back()


class SolarFormat:
    """A `ToolFormat`."""

    name = "solar"
    markers = (BEGIN, END, THINK, CONTENT, CALLS, CALLS_END, CALL, NAME, ARGUMENTS, CALL_END)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = True

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return CALL in template and ARGUMENTS in template

    def opened_by(self, prompt: str) -> str:
        """What of a prompt belongs to the answer: from where the assistant's last message begins."""
        at = prompt.rfind(BEGIN + ROLE)
        return prompt[at:] if at >= 0 else ""

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return SolarParser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`: before required calls the model may think."""
        before = f"(think free? end begin {literal(ROLE)})? " if required else ""
        rules = [f"start: {before}calls call{' call*' if parallel else ''} calls_end", "ID: /[A-Za-z0-9_-]{1,40}/"]
        rules += ["free: /(?s:.*)/"] if required else []
        rules.append(alternatives("call", "call_", len(tools)))
        for number, tool in enumerate(tools):
            rules.append(f"call_{number}: one ID name {literal(tool.name)} arguments call_{number}_args one_end")
            rules.append(f"call_{number}_args: {json_rule(parameters_of(tool))}")
        markers = {"calls": CALLS, "calls_end": CALLS_END, "one": CALL, "name": NAME, "arguments": ARGUMENTS}
        markers["one_end"] = CALL_END
        if required:
            markers |= {"think": THINK, "end": END, "begin": BEGIN}
        return ToolGrammar("\n".join(rules) + "\n", markers=markers, triggers=() if required else (CALLS,))


FORMAT = SolarFormat()
