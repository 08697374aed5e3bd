"""Calls written as JSON alone: one object, several, an array, or in a code fence.

Where the template asks for tags they count only if they name a declared tool and their arguments fit its schema; all
else stays text. Formats whose calls are bare JSON by rule read them here as well, streamed and without that check.
Not for: JSON between tags (``tagged_json.py``).
"""

from __future__ import annotations

from llama_bind.chat.tools.calls import read_calls
from llama_bind.chat.tools.markers import Markers
from llama_bind.chat.tools.parser import CallParser
from llama_bind.chat.tools.scanner import Steps

__all__ = ["read_bare_calls"]

LINE = Markers(("\n",))
FENCE = "```"


def read_bare_calls(parser: CallParser, *, strict: bool = True) -> Steps[None]:
    """Read one object or one array of calls, with the code fence around it.

    Args:
        parser: Where it stands.
        strict: See `ObjectReader`.

    Raises:
        NotACall: What follows is none.
    """
    fenced = yield from _fence(parser)
    yield from read_calls(parser, strict=strict)
    if parser.done:
        return
    yield from parser.spaces()
    if fenced:
        yield from parser.optional(FENCE)
        parser.record()
        return
    if (yield from parser.peek()) in (";", ","):
        parser.take(parser.at + 1)
        yield from parser.spaces()
        if (yield from parser.peek()) == "{":
            parser.record()
            return
    # What follows belongs to the text.
    parser.give_back()
    parser.record()


def _fence(parser: CallParser) -> Steps[bool]:
    """Consume the first line of a code fence, if one comes next."""
    if not (yield from parser.next_is(FENCE)):
        return False
    parser.take(parser.at + len(FENCE))
    # Its line holds no more than the name of a language.
    yield from parser.until(LINE, limit=20)
    return True
