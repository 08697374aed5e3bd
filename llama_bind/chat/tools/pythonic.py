"""Reads calls written in Python's way, ``f(a=1, b=["x", True])``, as calls whose arguments are JSON.

Only literals: nothing is evaluated. JSON's own words are understood as well. Not for: what stands around the calls
(the formats that write them so).
"""

from __future__ import annotations

import json
import re

from llama_bind.chat.tools.json_scan import NUMBER
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser, quoted
from llama_bind.chat.tools.scanner import EndOfText, NotACall, Steps

__all__ = ["MAX_DEPTH", "read_call_expression", "read_literal"]

MAX_DEPTH = 60
WORDS = {"True": "true", "False": "false", "None": "null", "true": "true", "false": "false", "null": "null"}
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0", "\n": ""}
HEXES = {"x": 2, "u": 4, "U": 8}
NAME_END = Markers(("(",))
KEY_END = Markers(("=",))
WORD = re.compile(r"[-+0-9A-Za-z_.]*")
PLAIN = {quote: re.compile(rf"[^\\{quote}]+") for quote in "'\""}
CLOSING = {"[": "]", "(": ")", "{": "}"}


def read_call_expression(parser: CallParser) -> Steps[None]:
    """Read one call, from its name to its closing parenthesis.

    Raises:
        NotACall: It is none, or calls no declared tool.
    """
    name, _ = yield from parser.until(NAME_END, limit=200)
    parser.start_call(name.strip())
    count = 0
    while True:
        yield from parser.spaces()
        if (yield from parser.optional(")")):
            break
        key, _ = yield from parser.until(KEY_END, limit=1000)
        parser.arguments(f'{", " if count else "{"}"{quoted(key.strip())}": ')
        count += 1
        yield from parser.spaces()
        yield from read_literal(parser)
        yield from parser.spaces()
        if not (yield from parser.optional(",")) and not (yield from parser.next_is(")")):
            raise EndOfText if parser.ended else NotACall
    parser.arguments("}" if count else "{}")
    parser.end_call()


def read_literal(parser: CallParser, depth: int = 0, *, key: bool = False) -> Steps[None]:
    """Read one literal and pass it on as JSON; `key`: it is one of an object, a string in any case.

    Raises:
        NotACall: Something else comes.
    """
    first = yield from parser.peek()
    if not first:
        raise EndOfText
    if first in PLAIN:
        yield from _string(parser, first)
    elif first in CLOSING and not key:
        if depth >= MAX_DEPTH:
            raise NotACall
        yield from _collection(parser, first, depth)
    else:
        word = yield from _word(parser)
        text = WORDS.get(word, word if NUMBER.fullmatch(word) else "")
        if not text:
            raise NotACall
        parser.arguments(json.dumps(text) if key else text)


def _word(parser: CallParser) -> Steps[str]:
    found = ""
    while len(found) < 400:
        match = WORD.match(parser.buffer, parser.at)
        found += parser.take(match.end() if match is not None else parser.at)
        if parser.at < len(parser.buffer):
            return found
        if not (yield from parser.more()):
            # It may go on: what there is of a number is all that can be said.
            parser.arguments(found if found[:1] in "-0123456789" else "")
            raise EndOfText
    raise NotACall


def _collection(parser: CallParser, opening: str, depth: int) -> Steps[None]:
    parser.take(parser.at + 1)
    is_object, closing = opening == "{", CLOSING[opening]
    parser.arguments("{" if is_object else "[")
    count = 0
    while True:
        yield from parser.spaces()
        if (yield from parser.optional(closing)):
            break
        if count:
            parser.arguments(", ")
        count += 1
        if is_object:
            yield from read_literal(parser, depth, key=True)
            yield from parser.spaces()
            yield from parser.expect(":")
            parser.arguments(": ")
            yield from parser.spaces()
        yield from read_literal(parser, depth + 1)
        yield from parser.spaces()
        if not (yield from parser.optional(",")) and not (yield from parser.next_is(closing)):
            raise EndOfText if parser.ended else NotACall
    parser.arguments("}" if is_object else "]")


def _string(parser: CallParser, quote: str) -> Steps[None]:
    if (yield from parser.next_is(quote * 3)):
        quote *= 3
    parser.take(parser.at + len(quote))
    parser.arguments('"')
    plain = PLAIN[quote[0]]
    while True:
        match = plain.match(parser.buffer, parser.at)
        if match is not None:
            parser.arguments(quoted(parser.take(match.end())))
        following = yield from parser.peek()
        if not following:
            raise EndOfText
        if following == "\\":
            parser.arguments(quoted((yield from _escape(parser))))
        elif following == quote[0]:
            if (yield from parser.next_is(quote)):
                parser.take(parser.at + len(quote))
                parser.arguments('"')
                return
            if parser.ended and quote.startswith(parser.buffer[parser.at :]):
                raise EndOfText
            parser.arguments(quoted(parser.take(parser.at + 1)))


def _escape(parser: CallParser) -> Steps[str]:
    """The character that an escape stands for; an unknown one stands for itself, backslash and all."""
    while len(parser.buffer) - parser.at < 2:
        yield from parser.need()
    letter = parser.buffer[parser.at + 1]
    size = HEXES.get(letter, 0)
    while len(parser.buffer) - parser.at < 2 + size:
        yield from parser.need()
    text = parser.take(parser.at + 2 + size)
    if not size:
        return ESCAPES.get(letter, letter if letter in "\\'\"/" else text)
    try:
        code = int(text[2:], 16)
    except ValueError:
        raise NotACall from None
    if 0xD800 <= code < 0xDC00:
        return (yield from _second_half(parser, code))
    return chr(code) if code < 0x110000 and not 0xDC00 <= code < 0xE000 else "\ufffd"


def _second_half(parser: CallParser, first: int) -> Steps[str]:
    """JSON writes a character beyond 16 bits as two escapes."""
    if not (yield from parser.next_is("\\u")):
        return "\ufffd"
    while len(parser.buffer) - parser.at < 6:
        yield from parser.need()
    try:
        second = int(parser.buffer[parser.at + 2 : parser.at + 6], 16)
    except ValueError:
        raise NotACall from None
    if not 0xDC00 <= second < 0xE000:
        return "\ufffd"
    parser.take(parser.at + 6)
    return chr(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
