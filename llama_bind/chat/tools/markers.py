"""Finds the first of several texts in text that comes in pieces. Not for: deciding what follows (scanner)."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__ = ["Markers"]


class Markers:
    """A set of texts to look for. Immutable; one may serve many parsers.

    Where one text begins with another, the longer one is waited for.
    """

    __slots__ = ("_first", "_texts", "texts")

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = tuple(dict.fromkeys(text for text in texts if text))
        self._texts = sorted(self.texts, key=len, reverse=True)
        letters = "".join(sorted({re.escape(text[0]) for text in self.texts}))
        self._first = re.compile(f"[{letters}]") if letters else None

    def may_begin(self, text: str) -> bool:
        """Whether any text may begin anywhere in `text`: False lets all of it pass."""
        return self._first is not None and self._first.search(text) is not None

    def begins(self, text: str, at: int = 0, *, final: bool = False) -> str | None:
        """The marker that stands at `at`; "" for none, None where one has begun and more text will tell."""
        rest = len(text) - at
        for marker in self._texts:
            if text.startswith(marker, at):
                return marker
            if not final and rest < len(marker) and marker.startswith(text[at:]):
                return None
        return ""

    def find(self, text: str, at: int = 0, *, final: bool = False) -> tuple[int, str]:
        """Look for the first marker.

        Args:
            text: What has come.
            at: Where to begin.
            final: Nothing more will come, so that a marker that has only begun is none.

        Returns:
            (index, marker): the marker stands at `index`; "" where none does, and a marker may have begun at `index`
            (the length of `text` if not). What stands before `index` belongs to no marker.
        """
        if self._first is None:
            return len(text), ""
        while (match := self._first.search(text, at)) is not None:
            at = match.start()
            marker = self.begins(text, at, final=final)
            if marker != "":
                return at, marker or ""
            at += 1
        return len(text), ""
