"""What a tool gave, as text for the model: strings as they are, all else as JSON, cut where it is too long.

Not for: what the text is about (``loop.py`` words errors).
"""

from __future__ import annotations

import base64
import dataclasses
import datetime
import decimal
import enum
import json
import os
import uuid
from collections.abc import Mapping, Set
from typing import Any

__all__ = ["limited", "result_text"]


def result_text(value: Any) -> str:
    """The text of a value.

    A str is given as it is. Everything else is JSON: dataclasses, named tuples and pydantic models as objects, enums
    by value, sets as lists, bytes as base64, dates, UUIDs, Decimals and paths as strings, numpy's arrays and numbers
    as lists and numbers, and what is left as ``str`` writes it.

    Raises:
        ValueError: It contains itself, or nests too deeply.
    """
    if isinstance(value, str) and not isinstance(value, enum.Enum):
        return _valid(value)
    try:
        return _valid(json.dumps(_plain(value), ensure_ascii=False, default=str))
    except RecursionError:
        raise ValueError("the result contains itself, or nests too deeply") from None


def limited(text: str, limit: int) -> str:
    """The text, or as much of it as fits in `limit` characters with a note of what is left out; at least the note."""
    if len(text) <= limit:
        return text
    note = "\n[cut: {} of {} characters are left out]"
    kept = max(0, limit - len(note.format(len(text), len(text))))
    return text[:kept] + note.format(len(text) - kept, len(text))


def _plain(value: Any) -> Any:
    """Only what JSON has."""
    if value is None or type(value) in (str, int, float, bool):
        return value
    if isinstance(value, enum.Enum):
        return _plain(value.value)
    if hasattr(value, "model_dump"):  # pydantic
        return _plain(value.model_dump(mode="json", by_alias=True))
    if hasattr(value, "_asdict"):
        value = value._asdict()
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {_key(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple, Set)):
        return [_plain(item) for item in value]
    return _other(value)


def _other(value: Any) -> Any:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (uuid.UUID, decimal.Decimal)):
        return str(value)
    if isinstance(value, os.PathLike):
        return os.fsdecode(value)
    if isinstance(value, (bytes, bytearray, memoryview)):
        return base64.b64encode(value).decode()
    if hasattr(value, "tolist"):  # numpy's arrays and numbers
        return _plain(value.tolist())
    if isinstance(value, (str, int, float)):
        return value
    return str(value)


def _key(key: Any) -> str:
    plain = _plain(key)
    return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)


def _valid(text: str) -> str:
    """Lone surrogates, which are no characters, as question marks."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()
