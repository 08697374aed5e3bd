"""Reads a call written as a JSON object, whatever its keys are called and in whatever order they come.

Not for: calls whose arguments are tagged one by one (``tagged.py``).
"""

from __future__ import annotations

import json
from typing import Any

from llama_bind.chat.tools.fits import fits_tool
from llama_bind.chat.tools.json_scan import JsonScan
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps

__all__ = ["ObjectReader", "read_arguments", "read_calls"]

NAMES = frozenset(("name", "tool_name", "function_name", "tool", "function", "tool_call"))
ARGUMENTS = frozenset(("arguments", "parameters", "args", "tool_arguments", "tool_parameters"))
IDS = frozenset(("id", "tool_call_id", "call_id"))
SMALL = 1000
"""Most characters of a name or id."""


class ObjectReader:
    """Reads one object, which is a call.

    The arguments are streamed from the moment when the name is known. A name may be the value of ``name``,
    ``tool_name``, ``function`` and so on; where that is an object, the call is within it.

    Args:
        parser: Where it stands, and where the events go.
        whole: Deliver the call when it is complete (its id may come last).
        strict: Deliver it only if it is complete, has no other keys and its arguments fit the tool's schema.
    """

    def __init__(self, parser: CallParser, *, whole: bool = False, strict: bool = False) -> None:
        self._parser = parser
        self._whole = whole or strict
        self._strict = strict
        self._name = ""
        self._id = ""
        self._held: list[str] = []
        self._has_arguments = False
        self._foreign = False
        self._started = False

    def read(self) -> Steps[None]:
        """Read it, from its ``{`` to its ``}``.

        Raises:
            NotACall: It is none.
        """
        try:
            yield from self._members()
        except EndOfText:
            # Cut: a call whose name is known is delivered as far as it goes.
            if not self._strict and self._name and not self._started:
                self._start()
            raise
        if not self._started:
            self._check()
            self._start()
        self._parser.end_call()

    def _check(self) -> None:
        if not self._has_arguments:
            if self._foreign:
                raise NotACall
            self._held = ["{}"]
        if self._strict:
            tool = self._parser.tools.get(self._name)
            if tool is None or not fits_tool(_loaded("".join(self._held)), tool):
                raise NotACall

    def _start(self) -> None:
        self._parser.start_call(self._name, self._id)
        self._started = True
        self._parser.arguments("".join(self._held))

    def _members(self) -> Steps[None]:
        parser = self._parser
        yield from parser.expect("{")
        yield from parser.spaces()
        if (yield from parser.peek()) == "}":
            raise NotACall
        while True:
            yield from parser.spaces()
            if (yield from parser.peek()) not in ('"', ""):
                raise NotACall
            key = _loaded((yield from self._short()))
            yield from parser.spaces()
            yield from parser.expect(":")
            yield from parser.spaces()
            yield from self._member(key)
            yield from parser.spaces()
            if not (yield from parser.next_is(",")):
                break
            parser.take(parser.at + 1)
        if self._started:
            # Small models forget the last brace.
            yield from parser.optional("}")
        else:
            yield from parser.expect("}")

    def _member(self, key: Any) -> Steps[None]:
        following = yield from self._parser.peek()
        if key in NAMES and following == "{":
            yield from self._members()
        elif key in NAMES:
            self._name = self._known(_loaded((yield from self._short())))
        elif key in ARGUMENTS and not self._has_arguments:
            self._has_arguments = True
            yield from self._arguments(following)
        elif key in IDS:
            value = _loaded((yield from self._short()))
            self._id = value if isinstance(value, str) else json.dumps(value)
        elif self._strict and key in self._parser.tools and not self._name and following == "{":
            # {"get_weather": {"city": ...}}
            self._name, self._has_arguments = key, True
            yield from self._arguments(following)
        elif self._strict and key != "type":
            raise NotACall
        else:
            self._foreign = self._foreign or key != "type"
            yield from self._parser.value()

    def _known(self, name: Any) -> str:
        if not isinstance(name, str) or name not in self._parser.tools:
            raise NotACall
        return name

    def _short(self) -> Steps[str]:
        """The text of a small JSON value."""
        scan = JsonScan()
        found = ""
        while not scan.done:
            found += yield from self._parser.value_piece(scan)
            if len(found) > SMALL:
                raise NotACall
        return found

    def _arguments(self, following: str) -> Steps[None]:
        parser = self._parser
        if following != "{":
            self._held = [_as_object((yield from parser.value()))]
            return
        if self._name and not self._whole:
            self._start()
            yield from read_arguments(parser)
            return
        scan = JsonScan()
        try:
            while not scan.done:
                self._held.append((yield from parser.value_piece(scan)))
        except EndOfText:
            self._held.append(scan.rest)
            raise


def read_arguments(parser: CallParser) -> Steps[None]:
    """Pass on a JSON value as the arguments of the call that has begun; what is there of it, if the output ends."""
    scan = JsonScan()
    try:
        while not scan.done:
            parser.arguments((yield from parser.value_piece(scan)))
    except EndOfText:
        parser.arguments(scan.rest)
        raise


def read_calls(parser: CallParser, *, whole: bool = False, strict: bool = False) -> Steps[None]:
    """One call as a JSON object, or an array of them; nothing more once the parser is done.

    Args:
        parser: Where it stands.
        whole: See `ObjectReader`.
        strict: Likewise.

    Raises:
        NotACall: What follows is none.
    """
    yield from parser.spaces()
    if not (yield from parser.next_is("[")):
        yield from ObjectReader(parser, whole=whole, strict=strict).read()
        return
    parser.take(parser.at + 1)
    while True:
        yield from parser.spaces()
        yield from ObjectReader(parser, whole=whole, strict=strict).read()
        if parser.done:
            return
        yield from parser.spaces()
        if not (yield from parser.next_is(",")):
            break
        parser.take(parser.at + 1)
    yield from parser.optional("]")
    parser.record()


def _loaded(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise NotACall from None


def _as_object(text: str) -> str:
    """Arguments that are no object: JSON within a string, or none at all."""
    value = _loaded(text)
    if isinstance(value, str):
        text = value.strip()
        value = _loaded(text) if text else None
    if isinstance(value, dict):
        return text
    if value is None or value == []:
        return "{}"
    raise NotACall
