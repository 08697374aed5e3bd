"""Takes the marks off an answer that stands between them, such as ``<response>`` and ``</response>``.

Only at its beginning and its end: in the middle they are text. Not for: marks of calls or of reasoning.
"""

from __future__ import annotations

from collections.abc import Iterable

from llama_bind.chat.events import OutputEvent
from llama_bind.chat.tools.base import OutputParser
from llama_bind.chat.tools.markers import Markers

__all__ = ["FramedParser"]

MOST = 1000
"""Characters of white space behind the last mark that are waited for."""


class FramedParser:
    """An `OutputParser` before another one.

    Args:
        inner: Reads what is left.
        starts: What may stand before an answer.
        ends: What may stand behind one that had something before it.
        follow: What may come behind the ends and is no text, such as the beginning of a call.
    """

    def __init__(
        self, inner: OutputParser, starts: Iterable[str], ends: Iterable[str], follow: Iterable[str] = ()
    ) -> None:
        self._inner = inner
        self._starts = Markers(starts)
        self._ends = Markers(ends)
        self._follow = Markers(follow)
        self._held = ""
        self._begun = False
        self._framed = False

    @property
    def done(self) -> bool:
        """Whether the rest of the output is not wanted."""
        return bool(getattr(self._inner, "done", False))

    def feed(self, text: str) -> list[OutputEvent]:
        """What `text` makes certain."""
        if self._begun and not self._framed:
            return self._inner.feed(text)
        text, self._held = self._held + text, ""
        if not self._begun:
            text = self._begin(text)
            if not self._begun or not self._framed:
                return self._inner.feed(text) if self._begun else []
        events: list[OutputEvent] = []
        while True:
            index, behind = self._end(text)
            events += self._inner.feed(text[:index]) if index else []
            if behind < 0:
                self._held = text[index:]
                return events
            text = text[behind:]

    def finish(self) -> list[OutputEvent]:
        """What is left when the output has ended."""
        held, self._held = self._held, ""
        if self._framed and self._run(held, 0, final=True) == len(held):
            held = ""
        return [*self._inner.feed(held), *self._inner.finish()]

    def _begin(self, text: str) -> str:
        """Without what stands before the answer; held while that is not clear."""
        while True:
            start = text.lstrip()
            marker = self._starts.begins(start, 0) if start else None
            if marker is None:
                self._held = text
                return ""
            if not marker:
                self._begun = True
                return text
            text = start[len(marker) :]
            self._framed = True

    def _end(self, text: str) -> tuple[int, int]:
        """Index of what must wait, for it may be the end, and -1; or of marks that are taken out, and behind them."""
        at = 0
        while True:
            index, marker = self._ends.find(text, at)
            if not marker:
                return index, -1
            at = self._run(text, index, final=False)
            follows = None if at < 0 or at == len(text) else self._follow.begins(text, at)
            if follows is None:
                # Nothing but marks and white space so far.
                return (index if len(text) - index < MOST else len(text)), -1
            if follows:
                return index, at

    def _run(self, text: str, at: int, *, final: bool) -> int:
        """Index behind a run of marks and white space; -1 where it is not clear where it ends."""
        while True:
            while at < len(text) and text[at].isspace():
                at += 1
            if at == len(text):
                return at
            marker = self._ends.begins(text, at, final=final)
            if not marker:
                return -1 if marker is None else at
            at += len(marker)
