"""Text that C functions write into a buffer, whatever its length. Not for: anything about tokens."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import Any

__all__ = ["read_text"]


def read_text(function: Callable[..., int], *args: Any) -> str:
    """What ``function(*args, buffer, size)`` writes with snprintf: called again with the length that it answers. An
    empty string when it answers less than 0. Invalid UTF-8 becomes U+FFFD.
    """
    size = 256
    while True:
        buffer = ctypes.create_string_buffer(size)
        length = function(*args, buffer, size)
        if length < 0:
            return ""
        if length < size:
            return buffer.raw[:length].decode("utf-8", "replace")
        size = length + 1
