"""What a tool format is: how it is recognized, read, demanded. Not for: any one format (the modules beside)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

from llama_bind.chat.events import OutputEvent

__all__ = ["CallWriter", "ChannelFormat", "ChannelOutputParser", "OutputParser", "Tool", "ToolFormat", "ToolGrammar"]


@dataclasses.dataclass(frozen=True)
class Tool:
    """A declared function, checked.

    Attributes:
        name: Its name.
        parameters: JSON Schema of its arguments, always of an object.
        description: For the model; "" for none.
        strict: Whether the caller asked that the arguments follow the schema in any case.
    """

    name: str
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    description: str = ""
    strict: bool = False


@dataclasses.dataclass(frozen=True)
class ToolGrammar:
    """What the output must look like, as text in llguidance's dialect of Lark.

    Attributes:
        rules: Lark rules; `start` is the first one's name. Arguments appear as ``%json {...}``.
        start: Name of the rule that the output, or what follows a trigger, must match.
        markers: Rule name -> text that may be one control token or plain text in the vocabulary: whoever compiles
            the grammar defines these rules accordingly.
        triggers: Empty: the output follows the grammar from its first token. Else: it is free until one of these
            texts appears; the grammar then covers what comes from the beginning of that text on.
    """

    rules: str
    start: str = "start"
    markers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    triggers: tuple[str, ...] = ()


class OutputParser(Protocol):
    """Reads one output as it comes. Linear: no piece is looked at again but for a marker that may still be partial."""

    def feed(self, text: str) -> list[OutputEvent]:
        """What `text` makes certain."""
        ...

    def finish(self) -> list[OutputEvent]:
        """What is left when the output has ended; what did not parse comes as text."""
        ...


class ToolFormat(Protocol):
    """One family's way to write tool calls (and, where it belongs to that, reasoning).

    Attributes:
        name: Such as "hermes".
        markers: Texts that structure the output; control tokens of these texts must be shown to the parser.
        ends_reasoning: Texts that begin a call and so end the reasoning where they appear in it; none for most, whose
            models may think about such a text.
        reads_reasoning: The parser finds the reasoning itself, because it is interleaved with other channels; the
            router then leaves it alone.
    """

    name: str
    markers: tuple[str, ...]
    ends_reasoning: tuple[str, ...]
    reads_reasoning: bool

    def matches(self, template: str) -> bool:
        """Whether a chat template (its Jinja source) asks for this format."""
        ...

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """A parser for one output in which `tools` may be called. Reasoning has been taken out before (see router),
        unless the format itself interleaves it.
        """
        ...

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """What holds the output to the tools: from the first token (`required`), or from the start of a call on."""
        ...


@runtime_checkable
class CallWriter(Protocol):
    """A format that can write calls of before, for templates that show none."""

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """The text of calls, each a name and the JSON text of its arguments; markers as text of a template."""
        ...


class ChannelOutputParser(OutputParser, Protocol):
    """The parser of a format that reads the reasoning itself."""

    def begin(self, opened: str, *, inline: bool = False) -> None:
        """Before any output: `opened` of the prompt belongs to the answer; `inline`: reasoning stays in the text."""
        ...


class ChannelFormat(ToolFormat, Protocol):
    """A format that reads the reasoning itself (`reads_reasoning`).

    Attributes:
        answers: Texts of which one stands before the answer.
    """

    answers: tuple[str, ...]

    def opened_by(self, prompt: str) -> str:
        """What of the end of a prompt belongs to the answer, for `ChannelOutputParser.begin`."""
        ...
