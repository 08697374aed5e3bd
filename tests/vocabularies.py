"""A small made-up vocabulary for tests of constraints: every byte, some words, some control tokens."""

from __future__ import annotations

from collections.abc import Sequence

from llama_bind.structured.tokenizer import Vocabulary

WORDS = (
    "hello", "hell", " world", "he", '{"', '":', '",', '"}', "}}", "name", "true", "false", "null", ": ", ", ", "12",
    "123", "<tool", "_call>", "x<tool", "_call>{", "_call>[", "</think>", ">\n\n", "think", "yes", "no", " yes", "aaa",
    "</", "STOP", "é", "abc", "ab",
)  # fmt: skip
CONTROL = ("<end>", "<eot>", "<call>", "<think>")
EMPTY = 256 + len(WORDS) + len(CONTROL)
"""A token that stands for nothing."""


class Tiny:
    """Bytes have their own ids, then `WORDS`, then `CONTROL`, of which the first two end the text."""

    def __init__(self, prefix: bytes = b"") -> None:
        self.prefix = prefix  # what the tokenizer puts before a text
        self.pieces = [bytes([i]) for i in range(256)] + [w.encode() for w in (*WORDS, *CONTROL)] + [b""]
        self.calls = 0
        first = 256 + len(WORDS)
        self.end, self.eot, self.call, self.think = range(first, first + len(CONTROL))
        self.vocabulary = Vocabulary(
            n_tokens=len(self.pieces),
            pieces=self._pieces,
            control=frozenset(range(first, first + len(CONTROL))),
            ends=frozenset({self.end, self.eot}),
            tokenize=self.tokenize,
        )

    def _pieces(self) -> Sequence[bytes]:
        self.calls += 1
        return self.pieces

    def tokenize(self, text: str, special: bool = False) -> list[int]:
        """The longest word at each place."""
        left, found = self.prefix + text.encode(), []
        words = {w.encode(): 256 + i for i, w in enumerate((*WORDS, *(CONTROL if special else ())))}
        while left:
            word = max((w for w in words if left.startswith(w)), key=len, default=left[:1])
            found.append(words.get(word, word[0]))
            left = left[len(word) :]
        return found

    def id(self, piece: str) -> int:
        """The token of a piece."""
        return self.pieces.index(piece.encode())
