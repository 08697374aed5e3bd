"""What an option is: its default, its words for people, its limits, and how a bad value is refused.

``params.py`` defines options as fields of frozen dataclasses through ``option()``; keyword arguments, the command
line, the server, the environment and the documents are all derived from those fields. Not for: the options themselves.
"""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from llama_bind.errors import InputError, UnknownOptionError

T = TypeVar("T")

__all__ = ["Option", "build", "nearest", "option", "options_of", "refuse_unknown", "validate"]

_KEY = "llama_bind.option"


@dataclasses.dataclass(frozen=True)
class Option:
    """One option as people see it.

    Attributes:
        doc: One sentence or two, with units.
        low, high: Inclusive limits of a number, None for no limit.
        above: Exclusive lower limit.
        choices: The allowed values, empty for any.
        cli: Whether a command line can set it (objects and callbacks cannot).
        check: A further test: returns what is wrong, or None.
    """

    doc: str
    low: float | None = None
    high: float | None = None
    above: float | None = None
    choices: tuple[Any, ...] = ()
    cli: bool = True
    check: Callable[[Any], str | None] | None = None


def option(default: T, doc: str, **limits: Any) -> T:
    """A dataclass field that is an option; ``limits`` are the attributes of `Option`."""
    metadata = {_KEY: Option(doc, **limits)}
    if isinstance(default, (list, dict, set)):
        raise TypeError("defaults of options are immutable")
    field: T = dataclasses.field(default=default, metadata=metadata)
    return field


def options_of(cls: type[Any]) -> dict[str, Option]:
    """The options of a dataclass by name, in order."""
    return {f.name: f.metadata[_KEY] for f in dataclasses.fields(cls) if _KEY in f.metadata}


def validate(params: Any) -> None:
    """Raise `InputError` naming the first option whose value is not allowed; None is, where it is the default."""
    for field in dataclasses.fields(params):
        entry: Option | None = field.metadata.get(_KEY)
        if entry is not None:
            _check(field.name, str(field.type), field.default, getattr(params, field.name), entry)


def _check(name: str, kind: str, default: Any, value: Any, entry: Option) -> None:
    if value is None:
        if default is not None and "None" not in kind:
            raise InputError(f"{name} must not be None", param=name)
        return
    if entry.choices and not _is_choice(value, entry.choices):
        allowed = ", ".join(repr(c) for c in entry.choices)
        raise InputError(f"{name} must be one of {allowed}, not {value!r}", param=name)
    wrong = _wrong_kind(kind, value) or _wrong_number(value, entry)
    if wrong is None and entry.check is not None:
        wrong = entry.check(value)
    if wrong is not None:
        raise InputError(f"{name} {wrong}, not {_short(value)}", param=name)


def _is_choice(value: Any, choices: tuple[Any, ...]) -> bool:
    return any(value == c and isinstance(value, bool) == isinstance(c, bool) for c in choices)


def _wrong_kind(kind: str, value: Any) -> str | None:
    """Numbers and flags are checked by the field's annotation; other kinds by the option's own check."""
    parts = {p.strip() for p in kind.split("|")} - {"None"}
    if parts == {"bool"} and not isinstance(value, bool):
        return "must be True or False"
    if parts == {"int"} and (isinstance(value, bool) or not _is_integer(value)):
        return "must be a whole number"
    if parts == {"float"} and (isinstance(value, bool) or not _is_real(value)):
        return "must be a number"
    if parts == {"str"} and not isinstance(value, str):
        return "must be a string"
    return None


def _is_integer(value: Any) -> bool:
    return hasattr(value, "__index__")


def _is_real(value: Any) -> bool:
    return isinstance(value, float) or hasattr(value, "__index__") or hasattr(value, "__float__")


def _wrong_number(value: Any, entry: Option) -> str | None:
    if isinstance(value, (str, bytes, bool)) or hasattr(value, "__iter__") or not _is_real(value):  # arrays are both
        return None
    number = float(value)
    if not math.isfinite(number):
        return "must be a finite number"
    if entry.low is not None and number < entry.low:
        return f"must be at least {entry.low:g}"
    if entry.above is not None and number <= entry.above:
        return f"must be above {entry.above:g}"
    if entry.high is not None and number > entry.high:
        return f"must be at most {entry.high:g}"
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name closest to `name`, or None when none is close."""
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.6)
    return close[0] if close else None


def refuse_unknown(given: Iterable[str], known: Iterable[str], where: str) -> None:
    """Raise `UnknownOptionError` for the first given name that is not known."""
    names = set(known)
    for name in given:
        if name not in names:
            raise UnknownOptionError(name, where=where, nearest=nearest(name, names))


def build(cls: type[T], given: Mapping[str, Any], where: str) -> T:
    """Make and validate a `cls` from keyword arguments.

    Raises:
        UnknownOptionError: a name that `cls` does not have.
        InputError: a value that is not allowed.
    """
    refuse_unknown(given, options_of(cls), where)
    params = cls(**given)
    validate(params)
    return params
