"""Arrays of many strings in a GGUF header: their places found without a loop over the strings.

A string is an 8-byte length and its bytes, so each place depends on the one before. But nearly all strings of a
vocabulary are shorter than 256 bytes: their lengths are one byte and seven zeros, which numpy finds all at once, and
the chain of places is then only compared. What does not fit (long strings, text with zeros) is walked one by one.

Not for: decoding text.
"""

from __future__ import annotations

import struct
from mmap import mmap

import numpy as np
import numpy.typing as npt

__all__ = ["find_strings"]

WINDOW = 1 << 20  # bytes looked at together
STRIDE = 1024  # strings walked one by one before the fast way is tried again

_LENGTH = struct.Struct("<Q")


def find_strings(view: mmap | bytes, at: int, n: int, end: int) -> tuple[npt.NDArray[np.int64], int] | None:
    """Places of `n` strings from `at` on, with the place after the last one appended; and that place once more.

    None when the strings do not end before `end`.
    """
    parts: list[npt.NDArray[np.int64]] = []
    left = n
    while left:
        places, at = _fast(view, at, left, end)
        left -= len(places)
        parts.append(places)
        if left:
            walked = _walk(view, at, min(left, STRIDE), end)
            if walked is None:
                return None
            parts.append(walked[:-1])
            left -= len(walked) - 1
            at = int(walked[-1])
    if at > end:
        return None
    return np.concatenate([*parts, np.array([at], np.int64)]), at


def _fast(view: mmap | bytes, at: int, n: int, end: int) -> tuple[npt.NDArray[np.int64], int]:
    """As many places as one window shows to be a chain of short strings, and where the chain goes on."""
    window = np.frombuffer(view[at : min(at + WINDOW, end)], np.uint8)
    none = np.empty(0, np.int64), at
    if len(window) < 9:
        return none
    zero = window == 0
    two = zero[:-1] & zero[1:]
    four = two[:-2] & two[2:]
    seven = four[:-3] & four[3:]  # seven[i]: bytes i to i + 6 are zero
    places = np.flatnonzero(seven[1:])[:n]  # a length byte is followed by seven zeros
    if not len(places) or places[0]:
        return none
    following = places + 8 + window[places]
    broken = np.flatnonzero(following[:-1] != places[1:])
    count = int(broken[0]) + 1 if len(broken) else len(places)
    return places[:count].astype(np.int64) + at, at + int(following[count - 1])


def _walk(view: mmap | bytes, at: int, n: int, end: int) -> npt.NDArray[np.int64] | None:
    places = [at]
    read = _LENGTH.unpack_from
    for _ in range(n):
        if at + 8 > end:
            return None
        at += 8 + read(view, at)[0]
        if at > end:
            return None
        places.append(at)
    return np.array(places, np.int64)
