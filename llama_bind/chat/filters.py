"""Filters and operators for chat templates that keep the origin of text and pay for what they make.

Not for: wiring them into Jinja (``templates.py``), or string methods (``traced.py``).
"""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from llama_bind.chat.budget import ELEMENT, charge
from llama_bind.chat.traced import METHODS, join, percent, repeat, replace, strip, to_text
from llama_bind.errors import TemplateError

__all__ = ["FILTERS", "OPERATORS", "OwnList", "change", "check_built", "check_numbers"]

MAX_BITS = 20_000
"""Bits of a whole number."""
MAX_NODES = 200_000
"""Values that a list or dict may hold, with everything inside them, however often it is shared."""
MAX_COUNT = 100_000
"""Largest number for filters that make as many things as they are told."""


class OwnList(list[Any]):
    """A list that the template itself wrote down, so that it may add to it."""


def change(own: OwnList, method: str, *args: Any) -> Any:
    """``own.append(item)`` or ``own.pop(index)``."""
    if method == "pop":
        return own.pop(*args)
    own.append(*args)
    if isinstance(args[0], (list, tuple, dict)):
        check_built(own)
    return None


def check_built(value: Any) -> Any:
    """Pay for a new container. Shared parts count each time: a few doublings would unfold into gigabytes."""
    nodes, stack = 0, [value]
    while stack:
        top = stack.pop()
        items = top.values() if isinstance(top, dict) else top
        nodes += len(items)
        if nodes > MAX_NODES:
            raise TemplateError(f"the chat template builds a value of more than {MAX_NODES} elements")
        stack.extend(item for item in items if isinstance(item, (list, tuple, dict)))
    charge(nodes * ELEMENT)
    return OwnList(value) if type(value) is list else value


def check_numbers(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    """Refuse numbers that make a filter work for ever, and texts too long to be numbers."""
    limit = 300 if name == "round" else MAX_COUNT
    numbers = [*args[1:], *kwargs.values()]
    if any(isinstance(number, (int, float)) and not -limit <= number <= limit for number in numbers):
        raise TemplateError(f"the chat template calls {name} with a number over {limit}")
    if name in ("int", "float") and args and isinstance(args[0], str) and len(args[0]) > 4000:
        raise TemplateError("the chat template makes a number of more than 4000 digits")
    if name == "wordwrap" and args:
        charge(len(to_text(args[0])) * (1 + max((len(n) for n in numbers if isinstance(n, str)), default=1)))


def _tojson(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | str | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """JSON as Hugging Face's templates expect it: no escapes for HTML, nor for letters beyond ASCII."""
    if isinstance(indent, int) and indent > 64:
        raise TemplateError("the chat template indents JSON by more than 64")
    encoder = json.JSONEncoder(ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)
    chunks = []
    for chunk in encoder.iterencode(_list(value) if isinstance(value, Iterator) else value):
        charge(len(chunk))
        chunks.append(chunk)
    return "".join(chunks)


def _indent(value: Any, width: int | str = 4, first: bool = False, blank: bool = False) -> str:
    text = to_text(value)
    margin = width if isinstance(width, str) else METHODS["ljust"]("", width)
    lines: list[str] = METHODS["splitlines"](join([text, "\n"]))
    charge(len(text) + len(margin) * len(lines))
    head, rest = lines[0], [line if not (line or blank) else join([margin, line]) for line in lines[1:]]
    return join([join([margin, head]) if first else head, *rest], "\n")


def _escape(value: Any) -> str:
    text = to_text(value)
    for char, entity in (("&", "&amp;"), (">", "&gt;"), ("<", "&lt;"), ("'", "&#39;"), ('"', "&#34;")):
        text = replace(text, char, entity)
    return text


def _title(value: Any) -> str:
    text = to_text(value)
    parts = [part for part in re.split(r"([-\s({\[<]+)", text) if part]
    pieces, position = [], 0
    for part in parts:
        piece = text[position : position + len(part)]
        pieces += [METHODS["upper"](piece[:1]), METHODS["lower"](piece[1:])]
        position += len(part)
    return join(pieces)


def _list(value: Any) -> list[Any]:
    if isinstance(value, str):
        charge(len(value) * ELEMENT)
    items = list(value)
    charge(len(items) * ELEMENT)
    return items


def flat_sum(items: list[Any], start: Any) -> Any:
    """The ``sum`` filter without its quadratic way with lists."""
    if isinstance(start, list):
        charge(sum(map(len, items)) * ELEMENT)
        return list(itertools.chain(start, *items))
    for item in items:
        start = _add(start, item)
    return start


def _safe(value: Any) -> Any:
    """Nothing is escaped here, so nothing need be marked as safe."""
    return to_text(value)


def _method(name: str) -> Callable[..., str]:
    return lambda value, *args: METHODS[name](to_text(value), *args)


FILTERS: dict[str, Callable[..., Any]] = {
    "capitalize": _method("capitalize"),
    "center": lambda value, width=80: METHODS["center"](to_text(value), width),
    "e": _escape,
    "escape": _escape,
    "forceescape": _escape,
    "format": lambda value, *args, **kwargs: percent(to_text(value), kwargs or args),
    "indent": _indent,
    "list": _list,
    "lower": _method("lower"),
    "replace": lambda value, old, new, count=None: replace(
        to_text(value), to_text(old), to_text(new), -1 if count is None else count
    ),
    "safe": _safe,
    "string": to_text,
    "title": _title,
    "tojson": _tojson,
    "trim": lambda value, chars=None: strip(to_text(value), chars),
    "upper": _method("upper"),
}
"""Filters that replace Jinja's own of the same name."""


def _big(bits: float) -> None:
    if bits > MAX_BITS:
        raise TemplateError(f"the chat template makes a number of more than {MAX_BITS} bits")


def _add(left: Any, right: Any) -> Any:
    if isinstance(left, str) and isinstance(right, str):
        return join([left, right])
    if isinstance(left, (list, tuple)) and isinstance(right, (list, tuple)):
        charge((len(left) + len(right)) * ELEMENT)
    return left + right


def _multiply(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _big(left.bit_length() + right.bit_length())
    for one, other in ((left, right), (right, left)):
        if isinstance(one, str) and isinstance(other, int):
            return repeat(one, other)
        if isinstance(one, (list, tuple)) and isinstance(other, int):
            charge(len(one) * max(0, other) * ELEMENT)
            return check_built(one * other)
    return left * right


def _power(left: Any, right: Any) -> Any:
    if isinstance(left, int) and isinstance(right, int):
        _big(left.bit_length() * max(0, right))
    return left**right


def _modulo(left: Any, right: Any) -> Any:
    return percent(left, right) if isinstance(left, str) else left % right


OPERATORS: dict[str, Callable[[Any, Any], Any]] = {"+": _add, "*": _multiply, "**": _power, "%": _modulo}
"""Operators that can make much out of little."""


def join_items(items: Iterable[Any], separator: Any) -> str:
    """The ``join`` filter."""
    return join([to_text(item) for item in items], to_text(separator))
