"""Bytes of tokens to text, one piece at a time.

Not for: turning token ids into bytes (``core.Vocab``), nor stop strings (``stop.py``).
"""

from __future__ import annotations

from codecs import utf_8_decode

__all__ = ["Utf8Decoder"]


class Utf8Decoder:
    """Incremental UTF-8 decoder.

    A character whose bytes are not all there yet is held back (at most 3 bytes). Bytes that can never become a
    character turn into U+FFFD, as ``bytes.decode("utf-8", "replace")`` does it: all texts that `push` and `flush`
    return, joined, equal that decoding of all pieces joined, wherever the pieces were cut.
    """

    __slots__ = ("pending",)

    def __init__(self) -> None:
        self.pending = b""
        """The bytes held back: the beginning of one character, or nothing."""

    def push(self, piece: bytes) -> str:
        """Take the next bytes; return the characters that they complete. O(len(piece)), raises nothing."""
        if not self.pending:
            if piece.isascii():
                return piece.decode("ascii")
        else:
            piece = self.pending + piece
        text, used = utf_8_decode(piece, "replace", False)
        self.pending = piece[used:]
        return text

    def flush(self) -> str:
        """No more bytes come: return what the held ones decode to (U+FFFD), and be as new."""
        text = self.pending.decode("utf-8", "replace")
        self.pending = b""
        return text
