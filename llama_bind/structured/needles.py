"""Finds texts in a stream of tokens: in the middle of one, split over several, or as one of their own.

Costs about a microsecond a token, however long the stream is. Not for: what follows from a find (``phases``,
``thinking``).
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

__all__ = ["Find", "Needles", "Piece"]


class Piece(NamedTuple):
    """A token and its bytes."""

    token: int
    text: bytes


class Find(NamedTuple):
    """A text was found.

    Attributes:
        pieces: The tokens in which it lies, from the one where it begins to the last of the stream.
        start: Where in the first of them it begins.
        rest: What the last token has after it.
    """

    pieces: tuple[Piece, ...]
    start: int
    rest: bytes

    @property
    def text(self) -> bytes:
        """From the beginning of the text to the end of the last token."""
        return b"".join(piece.text for piece in self.pieces)[self.start :]


class Needles:
    """Looks for the first of some texts to be complete; of those that end together, the longest.

    Args:
        texts: Not empty ones.
    """

    def __init__(self, texts: tuple[bytes, ...]) -> None:
        self._texts = texts
        self._reach = max(map(len, texts), default=1) - 1
        self._tail = b""  # the last bytes of the stream: what may begin a text
        self._recent: deque[Piece] = deque()  # the tokens in which they lie
        self._held = 0

    def clear(self) -> None:
        """The stream begins here."""
        self._tail = b""
        self._recent.clear()
        self._held = 0

    def completes(self, text: bytes) -> bool:
        """Whether one of the texts is complete after `text`."""
        joined = self._tail + text
        return any(needle in joined for needle in self._texts)

    def find(self, piece: Piece) -> Find | None:
        """What is found in the stream with one more token; changes nothing."""
        joined = self._tail + piece.text
        best: tuple[int, int] | None = None
        for needle in self._texts:
            start = joined.find(needle)
            if start >= 0 and (best is None or (start + len(needle), start) < best):
                best = (start + len(needle), start)
        if best is None:
            return None
        end, start = best
        pieces = [*self._recent, piece]
        offset = self._held - len(self._tail) + start  # from the beginning of the first recent token
        while len(pieces) > 1 and offset >= len(pieces[0].text):
            offset -= len(pieces.pop(0).text)
        return Find(tuple(pieces), offset, joined[end:])

    def push(self, piece: Piece) -> None:
        """One more token in which nothing was found."""
        if not self._reach:
            return
        self._tail = (self._tail + piece.text)[-self._reach :]
        self._recent.append(piece)
        self._held += len(piece.text)
        while self._held - len(self._recent[0].text) >= len(self._tail):
            gone = self._recent.popleft()
            self._held -= len(gone.text)
            if not self._recent:
                break
