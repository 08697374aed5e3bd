"""JSON of clients to values: what is none is refused in the server's words, and none holds up others for long.

A parser in C keeps the interpreter for all of its work, so that while it runs no stream gets its next word, on whatever
thread it is. What it takes depends on how many values there are, far more than on bytes: their number is limited.
Large bodies are parsed by the parser of pydantic, twice to seven times as fast as Python's.

Not for: what the values mean (``body`` and the schemas).
"""

from __future__ import annotations

import contextlib
import gc
import json
import math
from collections.abc import Iterator
from typing import Any, NoReturn

from pydantic_core import from_json

from llama_bind.server.errors import INVALID, ApiError

__all__ = ["LARGE", "MOST_VALUES", "parsed"]

LARGE = 256 * 1024
"""Bytes from which on parsing would hold up everyone else's streams: worth a thread, and the faster parser."""
MOST_VALUES = 1_000_000
"""Some 50 ms of parsing, at worst 200."""
MOST_FIELDS = 1000
"""Most members of the object itself; the longest schema knows a tenth of that."""
_MARKS = (b",", b":", b"[", b"{")
_INFINITE = math.inf


def parsed(raw: bytes, most_values: int = MOST_VALUES) -> dict[str, Any]:
    """The object that a body is.

    Args:
        raw: The body.
        most_values: Most commas, colons and brackets in it, those in texts included: they are counted at once, and a
            text of so many is longer than any context.

    Raises:
        ApiError: 400; it is no JSON object, not UTF-8, has numbers that are none, or too many values.
    """
    if sum(raw.count(mark) for mark in _MARKS) > most_values:
        said = f"The body has more than {most_values} values (commas, colons and brackets count)."
        raise _refused(said, "limit_exceeded")
    value = _large(raw) if len(raw) > LARGE else _small(raw)
    if not isinstance(value, dict):
        raise _refused("The body must be a JSON object.")
    if len(value) > MOST_FIELDS:
        raise _refused(f"The body has more than {MOST_FIELDS} fields.", "limit_exceeded")
    return value


def _small(raw: bytes) -> Any:
    text = _text(raw)
    try:
        value = json.loads(text, parse_constant=_constant, parse_float=_finite)
        if "\\u" in text:
            json.dumps(value, ensure_ascii=False).encode("utf-8")
    except RecursionError:
        raise _refused("The body is nested too deeply.") from None
    except UnicodeEncodeError:
        raise _half_a_character() from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise _refused(f"The body is not JSON: {error.msg} at {where}.") from None
    except ValueError as error:
        raise _refused(f"The body is not JSON that can be used: {error}.") from None
    return value


def _large(raw: bytes) -> Any:
    try:
        with _uncollected():
            value = from_json(raw, allow_inf_nan=False, cache_strings="none")
    except ValueError as error:
        _text(raw)
        said = str(error)
        if "recursion limit" in said:
            raise _refused("The body is nested too deeply.") from None
        if "surrogate" in said:
            raise _half_a_character() from None
        raise _refused(f"The body is not JSON that can be used: {said}.") from None
    _check_finite(value)
    return value


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """No garbage collection meanwhile: it would look at all new values again and again, and find nothing."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def _check_finite(value: Any) -> None:
    """1e999 has become infinite. Every step here sees to a whole list, or it would take longer than parsing."""
    left = [[value]]
    while left:
        items = left.pop()
        if _INFINITE in items or -_INFINITE in items:
            raise _refused("The body is not JSON that can be used: a number is too large.")
        kinds = set(map(type, items))
        if list in kinds:
            left += [item for item in items if type(item) is list and item]
        if dict in kinds:
            left += [list(item.values()) for item in items if type(item) is dict and item]


def _text(raw: bytes) -> str:
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _refused(f"The body is not UTF-8: byte {error.start} is wrong.", "invalid_utf8") from None


def _half_a_character() -> ApiError:
    return _refused("The body has half of a surrogate pair, which is no character.", "invalid_utf8")


def _refused(message: str, code: str = "invalid_json") -> ApiError:
    return ApiError(400, INVALID, code, message)


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError("a number is too large")
    return value
