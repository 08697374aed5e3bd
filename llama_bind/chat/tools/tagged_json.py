"""Calls as JSON between two tags, such as ``<tool_call>{"name": ..., "arguments": ...}</tool_call>``.

One class for all families that do so; each makes its own `TaggedJsonFormat`. Not for: arguments tagged one by one
(``tagged.py``).
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence

from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_calls
from llama_bind.chat.tools.lark import json_calls, literal
from llama_bind.chat.tools.parser import CallParser, new_call_id
from llama_bind.chat.tools.scanner import Steps
from llama_bind.chat.traced import join, trusted

__all__ = ["TaggedJsonFormat", "TaggedJsonParser"]


class TaggedJsonParser(CallParser):
    """Reads one object or an array of them after an opening tag, and the closing tag if it is there."""

    def __init__(self, form: TaggedJsonFormat, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, form.openings, parallel=parallel)
        self._form = form

    def new_id(self) -> str:
        return self._form.make_id()

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from read_calls(self, whole=self._form.id_last)
        if self.done or not self._form.closing:
            return
        yield from self.spaces()
        # A brace too many is common.
        if (yield from self.optional("}")):
            yield from self.spaces()
        yield from self.close(self._form.closing)


@dataclasses.dataclass(frozen=True)
class TaggedJsonFormat:
    """A `ToolFormat`.

    Attributes:
        name: See `ToolFormat`.
        opening: Text that begins a call (or all of them, where they are an array).
        closing: Text that ends it; "" for none.
        detect: Whether a template asks for it.
        between: What the model writes between a tag and the JSON.
        array: The JSON is an array of calls.
        name_key: Key of the name, as the model writes it (every usual one is read).
        arguments_key: Key of the arguments, likewise.
        id_last: The id comes after the arguments: calls are delivered when they are complete.
        make_id: Makes ids for calls that have none.
        more_openings: Other texts that begin a call.
        control: The tags are control tokens in most vocabularies.
        ends_reasoning: See `ToolFormat`.
    """

    name: str
    opening: str
    closing: str
    detect: Callable[[str], bool]
    between: str = ""
    array: bool = False
    name_key: str = "name"
    arguments_key: str = "arguments"
    id_last: bool = False
    make_id: Callable[[], str] = new_call_id
    more_openings: tuple[str, ...] = ()
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning: bool = False

    @property
    def openings(self) -> tuple[str, ...]:
        """All texts that begin a call."""
        return (self.opening, *self.more_openings)

    @property
    def markers(self) -> tuple[str, ...]:
        """See `ToolFormat`."""
        return tuple(text for text in (*self.openings, self.closing) if text)

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return self.detect(template)

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return TaggedJsonParser(self, tools, parallel=parallel)

    def write_calls(self, calls: Sequence[tuple[str, str]]) -> str:
        """See `CallWriter`."""
        objects = [
            f"{{{json.dumps(self.name_key)}: {json.dumps(name)}, {json.dumps(self.arguments_key)}: {arguments}}}"
            for name, arguments in calls
        ]
        opening, closing = trusted(self.opening + self.between), trusted(self.between + self.closing)
        if self.array:
            return join([opening, f"[{', '.join(objects)}]", closing])
        return join([join([opening, one, closing]) for one in objects], "\n")

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        between = f" {literal(self.between)} " if self.between else " "
        closing = f"{between}closing" if self.closing else ""
        markers = {"opening": self.opening, **({"closing": self.closing} if self.closing else {})}
        several = parallel and required
        if self.array:
            more = ' (", " call)*' if parallel else ""
            body = f'"[" call{more} "]"'
            start = f"start: opening{between}{body}{closing}"
        else:
            start = f"start: tagged{' (NEWLINES tagged)*' if several else ''}\ntagged: opening{between}call{closing}"
            start += "\nNEWLINES: /\\n?/" if several else ""
        calls = json_calls(tools, name=self.name_key, arguments=self.arguments_key)
        return ToolGrammar(
            "\n".join([start, *calls]) + "\n", "start", markers, triggers=() if required else (self.opening,)
        )
