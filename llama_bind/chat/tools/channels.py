"""What formats share whose every piece of output stands in a channel: reasoning, text, and calls are told apart there.

Not for: what the channels are called and how they are written (the formats that use this).
"""

from __future__ import annotations

import abc
from collections.abc import Sequence

from llama_bind.chat.events import OutputEvent, ReasoningDelta, TextDelta
from llama_bind.chat.tools.base import Tool
from llama_bind.chat.tools.calls import read_arguments
from llama_bind.chat.tools.parser import MOST, CallParser
from llama_bind.chat.tools.scanner import NotACall, Steps

__all__ = ["ChannelParser"]


class ChannelParser(CallParser, abc.ABC):
    """Base of parsers that read the reasoning themselves. A format gives `read_output`.

    A piece of the prompt may be fed first (`begin`): the output goes on in the channel that it has opened.

    Attributes:
        inline: Reasoning is part of the text, with what stands around it.
    """

    inline = False

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (), parallel=parallel)
        self._steps = self.read_output()
        next(self._steps, None)

    @abc.abstractmethod
    def read_output(self) -> Steps[None]:
        """Read all of it; ends only with the output."""

    def begin(self, opened: str, *, inline: bool = False) -> None:
        """Take in what of the prompt belongs to the answer.

        Args:
            opened: From the format's `opened_by`.
            inline: See the class.
        """
        self.feed(opened)
        self.inline = inline

    def feed(self, text: str) -> list[OutputEvent]:
        if self.done or not text:
            return []
        if len(text) > MOST:
            return [event for at in range(0, len(text), MOST) for event in self.feed(text[at : at + MOST])]
        self.add(text)
        return self._go_on()

    def finish(self) -> list[OutputEvent]:
        if self.ended:
            return []
        self.ended = True
        return self._go_on()

    def reason(self, text: str) -> None:
        """Some of the reasoning."""
        if text:
            self.events.append(TextDelta(text) if self.inline else ReasoningDelta(text))

    def tags(self, text: str) -> None:
        """What stands around the reasoning."""
        if self.inline:
            self.emit_text(text)

    def json_call(self, name: str, id: str = "") -> Steps[bool]:
        """A call of a declared tool whose arguments follow as JSON.

        Returns:
            Whether there was one; nothing is consumed where there was none. One that breaks off counts.
        """
        if name not in self.tools or (yield from self.peek()) != "{":
            return False
        try:
            self.start_call(name, id)
            yield from read_arguments(self)
            self.end_call()
        except NotACall:
            self.calls += 1
        self.keep()
        return True
