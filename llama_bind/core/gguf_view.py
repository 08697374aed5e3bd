"""One model's metadata as llama.cpp will see it: the file's values under the caller's overrides, with typed access.

Not for: rules (`gguf_vocab`, `gguf_rules`); here are only the questions they ask.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NoReturn

from llama_bind.core.gguf_reader import GGUFArray, GGUFFile, ValueType
from llama_bind.errors import ModelFormatError

__all__ = ["ModelView", "Override"]

Override = bool | int | float | str
_INTEGERS = frozenset(
    {
        ValueType.UINT8, ValueType.INT8, ValueType.UINT16, ValueType.INT16,
        ValueType.UINT32, ValueType.INT32, ValueType.UINT64, ValueType.INT64,
    }
)  # fmt: skip


class ModelView:
    """Typed questions to one file; a wrong type or value ends in `ModelFormatError`."""

    def __init__(self, file: GGUFFile, overrides: Mapping[str, Override] | None = None) -> None:
        self.file = file
        self.overrides = dict(overrides or {})
        self.arch = self.text("general.architecture") or ""

    def fail(self, reason: str) -> NoReturn:
        """Raise the error; the message says what to do."""
        advice = "the model is damaged or was made for another version of llama.cpp; get it again or convert it again"
        raise ModelFormatError(f"{self.file.path}: {reason}; {advice}", path=self.file.path, reason=reason)

    def has(self, key: str) -> bool:
        """Whether the file or the caller gives a value for ``key``."""
        return key in self.overrides or key in self.file.metadata

    def text(self, key: str, *, required: bool = False) -> str | None:
        """A string, None where there is none."""
        value = self._scalar(key, required)
        if value is not None and not isinstance(value, str):
            self.fail(f"{key} is {value!r}, not a string")
        return value

    def boolean(self, key: str) -> bool | None:
        """A boolean, None where there is none."""
        value = self._scalar(key, False)
        if value is not None and not isinstance(value, bool):
            self.fail(f"{key} is {value!r}, not a boolean")
        return value

    def integer(
        self, key: str, *, low: int | None = None, high: int | None = None, required: bool = False
    ) -> int | None:
        """An integer inside ``low`` to ``high``, None where there is none."""
        value = self._scalar(key, required)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int):
            self.fail(f"{key} is {value!r}, not an integer")
        self._in_range(key, value, low, high)
        return value

    def number(self, key: str, *, low: float | None = None, high: float | None = None) -> float | None:
        """A floating-point number that is finite and inside ``low`` to ``high``, None where there is none."""
        value = self._scalar(key, False)
        if value is None:
            return None
        if not isinstance(value, float):
            self.fail(f"{key} is {value!r}, not a floating-point number")
        if value != value or value in (float("inf"), float("-inf")):
            self.fail(f"{key} is {value!r}")
        self._in_range(key, value, low, high)
        return value

    def integers(self, key: str, n: int, *, low: int, high: int) -> list[int] | None:
        """``n`` integers, one for each layer: an array of that length, or one value for all."""
        value = self.file.get(key)
        if not isinstance(value, GGUFArray):
            one = self.integer(key, low=low, high=high)
            return None if one is None else [one] * n
        if value.item_type not in (ValueType.UINT32, ValueType.INT32, ValueType.BOOL):
            self.fail(f"{key} is {value!r}, not an array of integers")
        if len(value) != n:
            self.fail(f"{key} has {len(value)} items for {n} layers")
        items: list[int] = value.numpy().tolist()
        for item in items:
            self._in_range(key, item, low, high)
        return items

    def _in_range(self, key: str, value: float, low: float | None, high: float | None) -> None:
        if (low is not None and value < low) or (high is not None and value > high):
            limits = f"{'' if low is None else low} to {'' if high is None else high}"
            self.fail(f"{key} is {value}, outside of {limits}")

    def _scalar(self, key: str, required: bool) -> Override | None:
        if key in self.overrides:
            return self.overrides[key]
        entry = self.file.metadata.get(key)
        if entry is None:
            if required:
                self.fail(f"there is no {key}")
            return None
        value: Override | GGUFArray = entry[1]
        if isinstance(value, GGUFArray):
            self.fail(f"{key} is an array, not a single value")
        return value
