"""Compares what a C compiler says about types (``codegen.probe``) with ctypes."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from enum import IntEnum
from typing import Any

_SIGNED = {ctypes.c_int8, ctypes.c_int16, ctypes.c_int32, ctypes.c_int64, ctypes.c_int, ctypes.c_ssize_t}


def differences(values: Mapping[str, int | float | str], names: Mapping[str, Any]) -> list[str]:
    """One line for each value of the compiler that ctypes does not share; ``names`` are the generated module's."""
    found = []
    for key, wanted in values.items():
        question, subject = key.split(" ")
        got = _answer(question, subject, names)
        if got != wanted:
            found.append(f"{key}: C says {wanted!r}, Python says {got!r}")
    return found


def _answer(question: str, subject: str, names: Mapping[str, Any]) -> int | float | str:
    name, _, path = subject.partition(".")
    thing = names[name]
    if question == "value":
        value: int | float | str = thing.decode() if isinstance(thing, bytes) else thing
        return value
    if path:
        return _member(question, thing, path)
    if isinstance(thing, type) and issubclass(thing, IntEnum):
        return ctypes.sizeof(ctypes.c_int)
    return ctypes.alignment(thing) if question == "alignof" else ctypes.sizeof(thing)


def _member(question: str, record: Any, path: str) -> int:
    offset = 0
    descriptor: Any = None
    kind: Any = record
    for part in path.split("."):
        descriptor = getattr(kind, part)
        offset += descriptor.offset
        kind = _type_of(kind, part)
    if question == "offsetof":
        return offset
    return int(descriptor.size) if question == "sizeof" else int(kind in _SIGNED)


def _type_of(record: Any, name: str) -> Any:
    for field in record._fields_:
        if field[0] == name:
            return field[1]
        if field[0] in getattr(record, "_anonymous_", ()) and hasattr(field[1], name):
            return _type_of(field[1], name)
    raise AssertionError(f"{record.__name__} has no field {name}")
