"""Strings that know which of their characters the template wrote.

`Traced` is a ``str`` with one byte per character: 1 for text of the template itself, 0 for everything else (message
contents, tool definitions, arguments of the caller). A plain ``str`` counts as all 0, so an operation that forgets
makes text, never a control token. The functions here are the string methods that a template may call; ``templates.py``
sees to it that it calls these.

Not for: filters and operators on other values (``filters.py``), or cutting a result into segments (``segments.py``).
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, SupportsIndex

from llama_bind.chat.budget import ELEMENT, charge
from llama_bind.errors import TemplateError

__all__ = [
    "METHODS",
    "PLAIN_METHODS",
    "Traced",
    "join",
    "mask_of",
    "percent",
    "repeat",
    "replace",
    "strip",
    "to_text",
    "trusted",
]

MAX_WIDTH = 10_000
"""Largest width or precision in a format."""


class Traced(str):
    """Text with its origin. `mask` has a byte for each character: 1 when the template wrote it."""

    __slots__ = ("mask",)
    mask: bytes

    def __new__(cls, text: str, mask: bytes) -> Traced:
        self = super().__new__(cls, text)
        self.mask = mask
        return self

    def __getitem__(self, key: SupportsIndex | slice) -> str:
        mask = self.mask[key] if isinstance(key, slice) else bytes((self.mask[key],))
        return Traced(super().__getitem__(key), mask)

    def __iter__(self) -> Iterator[str]:
        charge(len(self) * ELEMENT)
        return (self[index] for index in range(len(self)))

    def __str__(self) -> str:
        return self


def trusted(text: str) -> Traced:
    """`text` as text of the template."""
    return Traced(text, b"\1" * len(text))


def mask_of(text: str) -> bytes:
    """One byte for each character of any string."""
    return text.mask if isinstance(text, Traced) else bytes(len(text))


def join(parts: Iterable[str], separator: str = "") -> str:
    """``separator.join(parts)`` with origins."""
    items = list(parts)
    charge(sum(map(len, items)) + len(separator) * max(0, len(items) - 1))
    if len(items) == 1 and isinstance(items[0], str):
        return items[0]
    return Traced(str.join(separator, items), mask_of(separator).join(map(mask_of, items)))


def to_text(value: Any) -> str:
    """``str(value)``; containers are written piece by piece, so that a small value cannot unfold into a huge text."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple, dict, set, frozenset)) or type(value).__name__ in _VIEWS:
        return join(_repr(value))
    return f"<{type(value).__name__}>" if _opaque(value) else str(value)


def repeat(text: str, times: int) -> str:
    """``text * times``."""
    charge(len(text) * max(0, times))
    return Traced(str.__mul__(text, times), mask_of(text) * times)


def _opaque(value: Any) -> bool:
    """Jinja's own objects (but for what is undefined): they may hold each other and unfold when written."""
    kind = type(value)
    return kind.__module__.startswith("jinja2") and kind.__name__ != "Undefined"


_BRACKETS = {"list": ("[", "]"), "OwnList": ("[", "]"), "tuple": ("(", ")"), "set": ("{", "}")}
_VIEWS = ("dict_keys", "dict_values", "dict_items")


def _repr(value: Any) -> Iterator[str]:
    charge()
    kind = type(value).__name__
    if isinstance(value, dict):
        yield "{"
        for number, (key, item) in enumerate(value.items()):
            yield ", " if number else ""
            yield from _repr(key)
            yield ": "
            yield from _repr(item)
        yield "}"
    elif isinstance(value, (list, tuple, set, frozenset)) or kind in _VIEWS:
        first, last = _BRACKETS.get(kind) or (kind + "([", "])")
        yield first
        for number, item in enumerate(value):
            yield ", " if number else ""
            yield from _repr(item)
        yield ("," + last) if kind == "tuple" and len(value) == 1 else last
    else:
        text = to_text(value) if _opaque(value) else repr(value)
        charge(len(text))
        yield text


def strip(text: str, chars: str | None = None, sides: str = "lr") -> str:
    """``text.strip(chars)``, or one side of it."""
    start, end = 0, len(text)
    if "l" in sides:
        start = end - len(str.lstrip(text, chars))
    if "r" in sides:
        end = max(start, len(str.rstrip(text, chars)))
    return text[start:end]


def _at(text: str, parts: list[str], gap: int | None) -> list[str]:
    """The same parts, cut out of `text`; `gap` characters between them, or white space."""
    charge(len(text))
    if not isinstance(text, Traced):
        return parts
    charge(len(parts) * ELEMENT)
    found: list[str] = []
    position = 0
    for part in parts:
        start = text.find(part, position) if gap is None else position
        found.append(text[start : start + len(part)])
        position = start + len(part) + (gap or 0)
    return found


def split(text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    """``str.split``."""
    return _at(text, str.split(text, sep, maxsplit), None if sep is None else len(sep))


def rsplit(text: str, sep: str | None = None, maxsplit: int = -1) -> list[str]:
    """``str.rsplit``."""
    return _at(text, str.rsplit(text, sep, maxsplit), None if sep is None else len(sep))


def splitlines(text: str, keepends: bool = False) -> list[str]:
    """``str.splitlines``."""
    lines = _at(text, str.splitlines(text, True), 0)
    return lines if keepends else [line[: len(bare)] for line, bare in zip(lines, str.splitlines(text), strict=True)]


def partition(text: str, sep: str) -> tuple[str, ...]:
    """``str.partition``."""
    return tuple(_at(text, list(str.partition(text, sep)), 0))


def rpartition(text: str, sep: str) -> tuple[str, ...]:
    """``str.rpartition``."""
    return tuple(_at(text, list(str.rpartition(text, sep)), 0))


def replace(text: str, old: str, new: str, count: int = -1) -> str:
    """``str.replace``: what is put in keeps its own origin."""
    times = str.count(text, old) if count < 0 else min(count, str.count(text, old))
    charge(len(text) + times * max(0, len(new) - len(old)))
    if not times:
        return text
    if not old:
        parts = [*text]
        return join([piece for char in parts[:times] for piece in (new, char)] + ([new] if times > len(parts) else [])
                    + parts[times:])  # fmt: skip
    return join(_at(text, str.split(text, old, times), len(old)), new)


def _mapped(function: Callable[[str], str]) -> Callable[[str], str]:
    """A method that changes characters in place: upper and its kind."""

    def method(text: str) -> str:
        result = function(text)
        charge(len(result))
        if not isinstance(text, Traced):
            return result
        if len(result) == len(text):
            return Traced(result, text.mask)
        # A few characters become two or three ("ß" becomes "SS"): the origin is then that of the whole, if it has one.
        return Traced(result, (b"\1" if all(text.mask) else b"\0") * len(result))

    return method


def _padded(function: Callable[..., str]) -> Callable[..., str]:
    """A method that fills up to a width."""

    def method(text: str, width: int, *fill: str) -> str:
        charge(max(len(text), int(width)))
        result = function(text, width, *fill)
        start = max(0, result.find(text))
        return join([result[:start], text, result[start + len(text) :]]) if isinstance(text, Traced) else result

    return method


def _zfill(text: str, width: int) -> str:
    charge(max(len(text), int(width)))
    return str.zfill(text, width)


def _expandtabs(text: str, tabsize: int = 8) -> str:
    charge(len(text) + text.count("\t") * max(0, int(tabsize)))
    return str.expandtabs(text, tabsize)


def _check_spec(spec: str) -> None:
    if any(int(number[:9]) > MAX_WIDTH for number in re.findall(r"\d+", spec)):
        raise TemplateError(f"the chat template formats to a width over {MAX_WIDTH}")


def format_text(text: str, *args: Any, **kwargs: Any) -> str:
    """``str.format`` without attributes and subscripts of the arguments, which reach where a template must not."""
    own = trusted if all(mask_of(text)) else str
    parts: list[str] = []
    arguments = iter(range(len(args)))
    for literal, name, spec, conversion in string.Formatter().parse(str(text)):
        parts.append(own(literal))
        if name is None:
            continue
        if "{" in (spec or "") or not re.fullmatch(r"\w*", name):
            raise TemplateError(f"the chat template formats with {{{name}:{spec}}}; only plain fields are allowed")
        spec = spec or ""
        _check_spec(spec)
        value = kwargs[name] if name and not name.isdigit() else args[int(name) if name else next(arguments)]
        if conversion in ("r", "a"):
            value = join(_repr(value))
        shown = to_text(value) if conversion == "s" or not isinstance(value, (int, float)) else value
        parts.append(format(shown, spec) if spec or not isinstance(shown, str) else shown)
    return join(parts)


def format_map(text: str, values: Mapping[str, Any]) -> str:
    """``str.format_map``, as `format_text`."""
    return format_text(text, **values)


_PERCENT = re.compile(
    r"%(?:\((?P<key>[^)]*)\))?(?P<flags>[#0\- +]*)(?P<width>\d*)(?:\.(?P<digits>\d*))?(?P<kind>[a-zA-Z%])"
)


def percent(text: str, values: Any) -> str:
    """``text % values``; a width that comes out of the values is refused."""
    own = trusted if all(mask_of(text)) else str
    items = values if isinstance(values, tuple) else (values,)
    parts: list[str] = []
    position = used = 0
    for match in _PERCENT.finditer(text):
        parts.append(own(text[position : match.start()]))
        position = match.end()
        if match["kind"] == "%":
            parts.append(own("%"))
            continue
        _check_spec(match[0].replace(match["key"] or "", ""))
        if match["key"] is not None:
            value = values[match["key"]]
        else:
            if used == len(items):
                raise TypeError("not enough arguments for format string")
            value, used = items[used], used + 1
        if match["kind"] in "sra":
            value = to_text(value) if match["kind"] == "s" else join(_repr(value))
        spec = match["flags"] + match["width"] + ("." + match["digits"] if match["digits"] is not None else "")
        kind = "s" if match["kind"] in "ra" else match["kind"]
        parts.append(value if kind == "s" and not spec else f"%{spec}{kind}" % (value,))
    parts.append(own(text[position:]))
    if "%" in _PERCENT.sub("", text):
        raise ValueError("incomplete or unsupported format: a '%' that begins no field")
    if used < len(items) and not isinstance(values, dict):
        raise TypeError("not all arguments converted during string formatting")
    return join(parts)


METHODS: dict[str, Callable[..., Any]] = {
    "capitalize": _mapped(str.capitalize),
    "casefold": _mapped(str.casefold),
    "center": _padded(str.center),
    "expandtabs": _expandtabs,
    "format": format_text,
    "format_map": format_map,
    "join": lambda text, parts: join(parts, text),
    "ljust": _padded(str.ljust),
    "lower": _mapped(str.lower),
    "lstrip": lambda text, chars=None: strip(text, chars, "l"),
    "partition": partition,
    "removeprefix": lambda text, prefix: text[len(prefix) :] if text.startswith(prefix) else text,
    "removesuffix": lambda text, suffix: text[: -len(suffix)] if suffix and text.endswith(suffix) else text,
    "replace": replace,
    "rjust": _padded(str.rjust),
    "rpartition": rpartition,
    "rsplit": rsplit,
    "rstrip": lambda text, chars=None: strip(text, chars, "r"),
    "split": split,
    "splitlines": splitlines,
    "strip": strip,
    "swapcase": _mapped(str.swapcase),
    "title": _mapped(str.title),
    "upper": _mapped(str.upper),
    "zfill": _zfill,
}
"""String methods that make strings."""

PLAIN_METHODS = frozenset(
    (
        "count",
        "endswith",
        "find",
        "index",
        "isalnum",
        "isalpha",
        "isascii",
        "isdecimal",
        "isdigit",
        "isidentifier",
        "islower",
        "isnumeric",
        "isprintable",
        "isspace",
        "istitle",
        "isupper",
        "rfind",
        "rindex",
        "startswith",
    )
)
"""String methods that make no strings."""
