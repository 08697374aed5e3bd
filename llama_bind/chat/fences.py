"""Takes the code fence off an answer that is to be JSON: models wrap it although they are asked not to.

Not for: calls in code fences (``tools/bare.py``), or answers that a constraint holds to the JSON from the first token.
"""

from __future__ import annotations

__all__ = ["Unfence"]

OPENINGS = ("```json\n", "```JSON\n", "```\n")
FENCE = "```"
BEGIN, FENCED, PLAIN = range(3)


class Unfence:
    """A filter of text that comes in pieces. White space around the fence goes with it."""

    def __init__(self) -> None:
        self._state = BEGIN
        # What waits: blanks and the beginning of a fence; later what may be its end.
        self._blanks: list[str] = []
        self._held = ""

    def feed(self, text: str) -> str:
        """What of `text`, and of what waited, may go out."""
        if self._state == PLAIN:
            return text
        return self._begin(text) if self._state == BEGIN else self._inside(text)

    def finish(self) -> str:
        """What still waits and is no fence."""
        text = "".join((*self._blanks, self._held))
        self._blanks, self._held = [], ""
        return "" if self._state == FENCED and text.strip() in ("", FENCE) else text

    def _begin(self, text: str) -> str:
        if not self._held:
            solid = text.lstrip()
            self._blanks.append(text[: len(text) - len(solid)])
            text = solid
            if not text:
                return ""
        text = self._held + text
        for opening in OPENINGS:
            if text.startswith(opening):
                self._state, self._blanks, self._held = FENCED, [], ""
                return self._inside(text[len(opening) :])
        if any(opening.startswith(text) for opening in OPENINGS):
            self._held = text
            return ""
        self._state = PLAIN
        self._held = text
        return self.finish()

    def _inside(self, text: str) -> str:
        if not text.strip():
            self._blanks.append(text)
            return ""
        text = "".join((*self._blanks, text))
        body = text.rstrip()
        if not body.endswith("````"):
            body = body.rstrip("`").rstrip()
        self._blanks = [text[len(body) :]]
        return body
