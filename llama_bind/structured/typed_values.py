"""Values of Python types out of JSON: what a model wrote becomes dataclasses, enums, dates, ..., or a list of problems.

Problems are sentences for the model, with the path of what they are about. Reading is lenient where nothing can be
lost: "5" for an integer, 5.0 too, the JSON text of a list for the list. Not for: schemas (``typed.py``).
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from llama_bind.structured import shapes
from llama_bind.structured.foreign import ForeignError

__all__ = ["MAX_DEPTH", "parse_json", "read_value"]

MAX_DEPTH = 100
"""Levels of nesting that a value may have."""
_SHOWN = 80
_FAILED: Any = object()


def parse_json(text: str) -> Any:
    """JSON text to plain values; numbers and strings as `json` has them.

    Raises:
        ValueError: it is no JSON; the message says where, in words for the model.
    """
    try:
        return json.loads(text, parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise ValueError(f"not valid JSON: {error.msg} at character {error.pos}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except ValueError as error:  # a whole number of more digits than Python reads
        raise ValueError(f"not valid JSON: {error}") from None


def _no_number(word: str) -> Any:
    raise ValueError(f"{word} is no number in JSON")


def read_value(value: Any, shape: shapes.Shape) -> tuple[Any, list[str]]:
    """The value of a shape, made of plain JSON values.

    Returns:
        The value and no problems, or None and all problems, each a sentence that begins with the path.
    """
    reader = _Reader(lenient=True)
    found = reader.read(value, shape, ())
    return (None, reader.problems) if reader.problems else (found, [])


class _Reader:
    def __init__(self, *, lenient: bool, tried: dict[tuple[int, int, bool], Any] | None = None) -> None:
        self.problems: list[str] = []
        self.wanted: dict[tuple[str | int, ...], str] = {}
        self.lenient = lenient
        self._tried: dict[tuple[int, int, bool], Any] = {} if tried is None else tried

    def read(self, value: Any, shape: shapes.Shape, path: tuple[str | int, ...]) -> Any:
        if len(path) > MAX_DEPTH:
            return self._problem(path, "is nested too deeply")
        return self._READERS[type(shape)](self, value, shape, path)

    def _problem(self, path: tuple[str | int, ...], words: str) -> Any:
        self.problems.append(f"{_written(path)} {words}")
        return _FAILED

    def _wrong(self, value: Any, path: tuple[str | int, ...], wanted: str) -> Any:
        self.wanted[path] = wanted
        return self._problem(path, f"must be {wanted}, not {_shown(value)}")

    def _scalar(self, value: Any, shape: shapes.Scalar, path: tuple[str | int, ...]) -> Any:
        kind, name = type(value), shape.name
        if kind is _PYTHON[name] or (name == "number" and kind is int):
            return float(value) if name == "number" and abs(value) < 2**1000 else value
        if self.lenient:
            if name == "integer" and kind is float and value.is_integer():
                return int(value)
            if kind is str and name in _FROM_TEXT:
                try:
                    return _FROM_TEXT[name](value.strip())
                except (ValueError, KeyError):
                    pass  # it is said below
        return self._wrong(value, path, _WORDS[name])

    def _text(self, value: Any, shape: shapes.Text, path: tuple[str | int, ...]) -> Any:
        if isinstance(value, str):
            try:
                return shape.read(value)
            except ValueError as error:
                return self._problem(path, f"must be a string of the format {shape.format}: {error}")
        return self._wrong(value, path, f"a string of the format {shape.format}")

    def _number(self, value: Any, shape: shapes.Number, path: tuple[str | int, ...]) -> Any:
        if type(value) in (int, float) or (self.lenient and isinstance(value, str)):
            try:
                return shape.read(str(value))
            except (ValueError, ArithmeticError):
                pass  # it is said below
        return self._wrong(value, path, "a number")

    def _choices(self, value: Any, shape: shapes.Choices, path: tuple[str | int, ...]) -> Any:
        for plain, python, _ in shape.options:
            if type(plain) is type(value) and plain == value:
                return python
        if self.lenient:
            for plain, python, name in shape.options:
                same = str(plain) == value or value == name
                same = same or (type(value) is float and type(plain) is int and value == plain)
                if same and plain is not None and not isinstance(plain, bool):
                    return python
        return self._wrong(value, path, "one of " + ", ".join(_shown(plain) for plain, _, _ in shape.options))

    def _items(self, value: Any, shape: shapes.Items, path: tuple[str | int, ...]) -> Any:
        value = self._unpacked(value, list)
        if not isinstance(value, list):
            return self._wrong(value, path, "a list")
        before = len(self.problems)
        found = [self.read(item, shape.item, (*path, i)) for i, item in enumerate(value)]
        return found if len(self.problems) > before else self._built(shape.build, (found,), {}, path)

    def _fixed(self, value: Any, shape: shapes.Fixed, path: tuple[str | int, ...]) -> Any:
        value = self._unpacked(value, list)
        if not isinstance(value, list) or len(value) != len(shape.items):
            return self._wrong(value, path, f"a list of {len(shape.items)} items")
        return tuple(self.read(item, part, (*path, i)) for i, (item, part) in enumerate(zip(value, shape.items)))  # noqa: B905

    def _keyed(self, value: Any, shape: shapes.Keyed, path: tuple[str | int, ...]) -> Any:
        value = self._unpacked(value, dict)
        if not isinstance(value, dict):
            return self._wrong(value, path, "an object")
        found = {}
        for key, item in value.items():
            place = (*path, key)
            read_key = key if shape.key is None else self.read(key, shape.key, place)
            found[key if read_key is _FAILED else read_key] = self.read(item, shape.value, place)
        return found

    def _record(self, value: Any, shape: shapes.Record, path: tuple[str | int, ...]) -> Any:
        value = self._unpacked(value, dict)
        if not isinstance(value, dict):
            return self._wrong(value, path, "an object")
        before = len(self.problems)
        known = {field.name: field for field in shape.fields}
        given: dict[str, Any] = {}
        for name, item in value.items():
            part = known[name].shape if name in known else shape.others
            if part is None:
                self._problem((*path, name), "is not known" + _nearest(name, known))
            else:
                given[name] = self.read(item, part, (*path, name))
        for field in shape.fields:
            if field.required and field.name not in value:
                self._problem((*path, field.name), "is missing")
        return given if len(self.problems) > before else self._built(shape.build, (), given, path)

    def _built(self, build: Callable[..., Any], items: tuple[Any, ...], named: Any, path: tuple[str | int, ...]) -> Any:
        """The caller's own classes check their values as they like."""
        try:
            return build(*items, **named)
        except Exception as error:
            return self._problem(path, f"is not accepted: {type(error).__name__}: {error}")

    def _one_of(self, value: Any, shape: shapes.OneOf, path: tuple[str | int, ...]) -> Any:
        """What fits as it is comes before what fits with leniency."""
        key = (id(value), id(shape), self.lenient)
        if key in self._tried:
            found, problems, _ = self._tried[key]
        else:
            found, problems = self._any_of(value, shape, path)
            if isinstance(
                value, (dict, list)
            ):  # each has one place, and unions in unions would read it again and again
                self._tried[key] = found, problems, value
        self.problems += problems
        return found

    def _any_of(self, value: Any, shape: shapes.OneOf, path: tuple[str | int, ...]) -> tuple[Any, list[str]]:
        for lenient in (False, True) if self.lenient else (False,):
            readers = []
            for part in shape.shapes:
                reader = _Reader(lenient=lenient, tried=self._tried)
                found = reader.read(value, part, path)
                if not reader.problems:
                    return found, []
                readers.append(reader)
        within = [reader.problems for reader in readers if path not in reader.wanted]
        if within:  # the kind of value is right
            return _FAILED, min(within, key=len)
        wanted = dict.fromkeys(reader.wanted[path] for reader in readers)
        self._wrong(value, path, " or ".join(wanted))
        return _FAILED, [self.problems.pop()]

    def _foreign(self, value: Any, shape: shapes.Foreign, path: tuple[str | int, ...]) -> Any:
        try:
            return shape.read(json.dumps(value))
        except ForeignError as error:
            for place, words in error.problems:
                self._problem((*path, *place), f"is not accepted: {words}")
            return _FAILED

    def _unpacked(self, value: Any, kind: type) -> Any:
        """Models put the JSON text of a list or object where the thing itself belongs; nothing else could be meant."""
        if self.lenient and isinstance(value, str) and value.lstrip()[:1] == ("[" if kind is list else "{"):
            try:
                inner = parse_json(value)
            except ValueError:
                return value
            return inner if isinstance(inner, kind) else value
        return value

    _READERS: Mapping[type[shapes.Shape], Callable[..., Any]] = {
        shapes.Anything: lambda _self, value, *_: value,
        shapes.Scalar: _scalar,
        shapes.Text: _text,
        shapes.Number: _number,
        shapes.Choices: _choices,
        shapes.Items: _items,
        shapes.Fixed: _fixed,
        shapes.Keyed: _keyed,
        shapes.OneOf: _one_of,
        shapes.Record: _record,
        shapes.Named: lambda self, value, shape, path: self.read(value, shape.target, path),
        shapes.Described: lambda self, value, shape, path: self.read(value, shape.target, path),
        shapes.Foreign: _foreign,
    }


_PYTHON: dict[str, type] = {"string": str, "integer": int, "number": float, "boolean": bool, "null": type(None)}
_WORDS = {
    "string": "a string", "integer": "a whole number", "number": "a number", "boolean": "true or false", "null": "null",
}  # fmt: skip
_BOOLS = {"true": True, "false": False}
_FROM_TEXT: dict[str, Callable[[str], Any]] = {
    "integer": int,
    "number": float,
    "boolean": lambda text: _BOOLS[text.lower()],
}


def _written(path: Sequence[str | int]) -> str:
    """``items[2].name``; the whole value where the path is empty."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text or "the value"


def _shown(value: Any) -> str:
    """A value as JSON, cut."""
    try:
        text = json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError):
        text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1)
    if near:
        return f"; did you mean {near[0]!r}?"
    return f"; known are {', '.join(known)}" if known else "; nothing is expected here"
