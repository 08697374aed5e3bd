"""MiniMax M3: tags named after the arguments, one within the other for objects and lists, behind a mark of their own.

``<city>Paris</city>`` is an argument, ``<tags><item>a</item></tags>`` a list; the schema tells lists from objects, and
strings from the rest. Not for: M1 and M2 (``minimax.py``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llama_bind.chat.tools.arguments import STRING, as_json, json_types, property_schema
from llama_bind.chat.tools.base import OutputParser, Tool, ToolGrammar
from llama_bind.chat.tools.fits import resolved
from llama_bind.chat.tools.lark import alternatives, literal
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.minimax_m3_grammar import tool_rules
from llama_bind.chat.tools.parser import CallParser, quoted
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps

__all__ = ["FORMAT", "M3Format", "M3Parser"]

MARK = "]<]minimax[>["
OPENING = f"{MARK}<tool_call>"
CLOSING = f"{MARK}</tool_call>"
INVOKE = f'{MARK}<invoke name="'
INVOKE_END = f"{MARK}</invoke>"
TAG, END_TAG = f"{MARK}<", f"{MARK}</"
ITEM = "item"
MAX_DEPTH = 60

NAME_END = Markers(('">',))
TAG_END = Markers((">",))


class M3Parser(CallParser):
    """Reads a block of invocations."""

    def __init__(self, tools: Sequence[Tool], *, parallel: bool) -> None:
        super().__init__(tools, (OPENING,), parallel=parallel)

    def read_call(self, marker: str) -> Steps[None]:
        del marker
        yield from self.spaces()
        yield from self.expect(INVOKE)
        yield from self.calls_until(CLOSING, INVOKE, self._invocation)

    def _invocation(self) -> Steps[None]:
        name, _ = yield from self.until(NAME_END, limit=200)
        self.start_call(name)
        tool = self.tools[name]
        yield from self._members(INVOKE_END, lambda key: property_schema(tool, key), tool.parameters, 0)
        self.end_call()

    def _members(self, end: str, schema_of: Any, root: Any, depth: int) -> Steps[None]:
        """Tags up to `end`, as the members of an object."""
        count = 0
        while True:
            yield from self.spaces()
            if (yield from self.optional(end)):
                self.arguments("}" if count else "{}")
                return
            key = yield from self._tag()
            self.arguments(f'{", " if count else "{"}"{quoted(key)}": ')
            count += 1
            yield from self._value(schema_of(key), root, f"{END_TAG}{key}>", depth + 1)

    def _items(self, end: str, schema: Any, root: Any, depth: int) -> Steps[None]:
        count = 0
        while True:
            yield from self.spaces()
            if (yield from self.optional(end)):
                self.arguments("]" if count else "[]")
                return
            if (yield from self._tag()) != ITEM:
                raise NotACall
            self.arguments(", " if count else "[")
            count += 1
            yield from self._value(schema, root, f"{END_TAG}{ITEM}>", depth + 1)

    def _tag(self) -> Steps[str]:
        if (yield from self.next_is(END_TAG)):
            raise NotACall
        yield from self.expect(TAG)
        name, _ = yield from self.until(TAG_END)
        return name

    def _value(self, schema: Any, root: Any, end: str, depth: int) -> Steps[None]:
        """A value up to its end tag, by what the schema says it may be."""
        types = json_types(schema, root)
        if depth > MAX_DEPTH:
            raise NotACall
        nested = "string" not in types or (types > STRING and not schema)
        if nested and types & {"object", "array"} and (yield from self._nests(end, types)):
            items, members = _parts(schema, root)
            is_item = yield from self.next_is(f"{TAG}{ITEM}>")
            if "array" in types and (is_item or "object" not in types):
                yield from self._items(end, items, root, depth)
            else:
                yield from self._members(end, lambda key: members.get(key, {}), root, depth)
        else:
            yield from self._plain_text(end, types)

    def _nests(self, end: str, types: frozenset[str]) -> Steps[bool]:
        """Whether tags follow, or nothing where only an empty list or object can stand."""
        if (yield from self.next_is(end)):
            return not types & {"string", "null"}
        return (yield from self.next_is(TAG))

    def _plain_text(self, end: str, types: frozenset[str]) -> Steps[None]:
        streams = types == STRING
        self.arguments('"' if streams else "")
        held: list[str] = []
        ends = Markers((end,))
        while True:
            text, marker = yield from self.pieces_until(ends)
            if self.ended and not marker and end.startswith(text):
                self.arguments(f'"{quoted("".join(held))}' if "string" in types and not streams else "".join(held))
                raise EndOfText
            if streams:
                self.arguments(quoted(text))
            else:
                held.append(text)
            if marker:
                self.arguments('"' if streams else as_json("".join(held), types))
                return


def _parts(schema: Any, root: Any) -> tuple[Any, Mapping[str, Any]]:
    """The schema of the items of a list, and those of the members of an object, wherever a union has them."""
    items: Any = {}
    members: dict[str, Any] = {}
    waiting, seen = [schema], 0
    while waiting and seen < 1000:
        one = resolved(waiting.pop(0), root)
        seen += 1
        items = items or one.get("items") or {}
        if isinstance(one.get("properties"), Mapping):
            members = {**one["properties"], **members}
        for word in ("anyOf", "oneOf", "allOf"):
            waiting += one.get(word) or ()
    return items, members


class M3Format:
    """A `ToolFormat`."""

    name = "minimax_m3"
    markers = (MARK,)
    ends_reasoning = (OPENING,)
    reads_reasoning = False

    def matches(self, template: str) -> bool:
        """See `ToolFormat`."""
        return MARK in template

    def parser(self, tools: Sequence[Tool], *, parallel: bool = True) -> OutputParser:
        """See `ToolFormat`."""
        return M3Parser(tools, parallel=parallel)

    def grammar(self, tools: Sequence[Tool], *, required: bool, parallel: bool) -> ToolGrammar:
        """See `ToolFormat`."""
        rules = [
            f'start: mark "<tool_call>\\n" call{" call*" if parallel else ""} mark "</tool_call>"',
            alternatives("call", "call_", len(tools)),
        ]
        for number, tool in enumerate(tools):
            head = f"mark {literal(f'<invoke name={chr(34)}{tool.name}{chr(34)}>')}"
            rules += tool_rules(tool, f"call_{number}", head, 'mark "</invoke>\\n"', MARK)
        triggers = () if required else (OPENING,)
        return ToolGrammar("\n".join(rules) + "\n", markers={"mark": MARK}, triggers=triggers)


FORMAT = M3Format()
