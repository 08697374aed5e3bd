"""Llama 3.1 to 3.3: calls as JSON objects with ``parameters``, ``<|python_tag|>`` before code or built-in tools.

A call may be bare, in a code fence, or behind the tag; built-in tools are called as ``name.call(query="...")``, and
plain code behind the tag is a call of the declared tool that runs code. Not for: templates without tools
(``generic.py``).
"""

from __future__ import annotations

import ast
import json
from collections.abc import Sequence

from llama_bind.chat.tools.bare import read_bare_calls
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.calls import read_calls
from llama_bind.chat.tools.lark import call_beginnings, json_calls
from llama_bind.chat.tools.parser import CallParser, quoted
from llama_bind.chat.tools.scanner import NotACall, Steps

__all__ = ["FORMAT", "Llama3Format", "Llama3Parser"]

TAG = "<|python_tag|>"
RUNNERS = ("python", "ipython", "code_interpreter", "code_execution")
"""Names under which a tool that runs code may be declared."""
LONGEST = 100_000
"""Most characters of a call of a built-in tool."""


class Llama3Parser(CallParser):
    """See the module."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (TAG,), parallel=parallel)

    def read_bare(self) -> Steps[None]:
        yield from read_bare_calls(self, strict=False)

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from self.spaces()
        if (yield from self.peek()) in ("{", "["):
            yield from read_calls(self)
            return
        for name in self.tools:
            if (yield from self.next_is(f"{name}.call(")):
                yield from self._builtin(name)
                return
        yield from self._code()

    def _builtin(self, name: str) -> Steps[None]:
        """``name.call(key="value")``, to the end of the output: its brackets are Python's."""
        found: list[str] = []
        size = 0
        while True:
            found.append(self.take(len(self.buffer)))
            size += len(found[-1])
            if size > LONGEST:
                raise NotACall
            if not (yield from self.more()):
                break
        arguments = _keywords("".join(found))
        self.start_call(name)
        self.arguments(json.dumps(arguments, ensure_ascii=False))
        self.end_call()

    def _code(self) -> Steps[None]:
        name = next((name for name in RUNNERS if name in self.tools), None)
        if name is None:
            raise NotACall
        properties = self.tools[name].parameters.get("properties") or {"code": {}}
        key = "code" if "code" in properties else next(iter(properties))
        self.start_call(name)
        self.arguments(f'{{"{quoted(key)}": "')
        while True:
            self.arguments(quoted(self.take(len(self.buffer))))
            if not (yield from self.more()):
                break
        self.arguments('"}')
        self.end_call()


def _keywords(text: str) -> dict[str, object]:
    """The keyword arguments of a call in Python's syntax.

    Raises:
        NotACall: It is none, or its arguments are no constants.
    """
    try:
        call = ast.parse(text.strip(), mode="eval").body
        if not isinstance(call, ast.Call) or call.args:
            raise NotACall
        found = {word.arg: ast.literal_eval(word.value) for word in call.keywords if word.arg is not None}
        json.dumps(found)
    except (SyntaxError, ValueError, TypeError, MemoryError, RecursionError):
        raise NotACall from None
    return dict(found)


class Llama3Format:
    """A `ToolFormat`."""

    name = "llama3"
    markers: tuple[str, ...] = (TAG,)
    ends_reasoning: tuple[str, ...] = ()
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return "<|start_header_id|>" in template and '"parameters": ' in template and "ipython" in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return Llama3Parser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`: one call, as the templates refuse more."""
        del parallel
        rules = "\n".join(["start: call", *json_calls(tools, arguments="parameters")]) + "\n"
        return ToolGrammar(rules, triggers=() if required else call_beginnings(tools))


FORMAT = Llama3Format()
