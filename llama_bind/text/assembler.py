"""Tokens in, final text out, with the tokens that each piece of text is made of.

Joins ``detokenizer.py`` and ``stop.py`` and remembers which tokens wait for their text. Not for: deciding when a
generation ends, beyond saying that a stop string was met.
"""

from __future__ import annotations

import dataclasses
from codecs import utf_8_decode
from collections import deque
from collections.abc import Sequence

from llama_bind.text.detokenizer import Utf8Decoder
from llama_bind.text.stop import StopMatcher
from llama_bind.values import PieceEvent, TokenLogprob

__all__ = ["TextAssembler"]


@dataclasses.dataclass(slots=True)
class _Waiting:
    """A token not released yet. Its bytes end at `last_byte`, its characters are start to end (-1 until decoded)."""

    token: int
    logprob: TokenLogprob | None
    last_byte: int
    start: int
    end: int = -1


class TextAssembler:
    """Turns one sequence's tokens into `PieceEvent` values, in order.

    A token is released with the text that completes it. A token whose text lies inside a stop string is dropped; one
    that lies across the beginning of it is released with the part before.

    Args:
        stops: Stop strings.

    Raises:
        InputError: See `text.stop.check_stops`.
    """

    __slots__ = ("_bytes", "_chars", "_decoder", "_matcher", "_plain", "_released", "_waiting")

    def __init__(self, stops: str | Sequence[str] = ()) -> None:
        self._decoder = Utf8Decoder()
        self._matcher = StopMatcher(stops)
        self._plain = not stops
        self._waiting: deque[_Waiting] = deque()
        # Counted only since the last moment when nothing waited.
        self._bytes = self._chars = self._released = 0

    @property
    def matched(self) -> str | None:
        """The stop string that was met, if any: no more tokens are wanted."""
        return self._matcher.matched

    def push(self, token: int, piece: bytes, logprob: TokenLogprob | None = None) -> PieceEvent | None:
        """Take a token with its bytes; return what became final, or None when nothing did.

        The event's text may be empty (a token without text), and so may its tokens (text of a token whose rest is
        still held back). After a match everything is dropped.
        """
        waiting = self._waiting
        if self._plain and not waiting and piece.isascii():  # almost every token of almost every text
            return PieceEvent(piece.decode("ascii"), (token,), () if logprob is None else (logprob,))
        matcher = self._matcher
        if matcher.matched is not None:
            return None
        decoded = self._decoder.push(piece)
        text, stop = matcher.push(decoded)
        if not waiting and stop is None and not self._decoder.pending and not matcher.held:
            return PieceEvent(text, (token,), () if logprob is None else (logprob,))
        self._note(token, piece, logprob, len(decoded))
        return self._release(text, final=stop is not None)

    def flush(self) -> PieceEvent | None:
        """No more tokens come: return what was held back, or None. The assembler is then as new, but for `matched`."""
        if self._matcher.matched is not None:
            return None
        rest = self._decoder.flush()
        text, stop = self._matcher.push(rest)
        if stop is None:
            text += self._matcher.flush()
        for waiting in self._waiting:
            if waiting.end < 0:
                waiting.end = self._chars + len(rest)
        self._chars += len(rest)
        return self._release(text, final=True)

    def _note(self, token: int, piece: bytes, logprob: TokenLogprob | None, decoded: int) -> None:
        """Queue a token, and write down where the text of those that are now decoded lies."""
        self._bytes += len(piece)
        before, self._chars = self._chars, self._chars + decoded
        done = self._bytes - len(self._decoder.pending)
        # A piece that opens a character of its own leaves to earlier bytes only what comes before it.
        opens = bool(piece) and piece[0] & 0xC0 != 0x80
        own_start = self._chars - len(utf_8_decode(piece, "replace", False)[0]) if opens else before
        for waiting in reversed(self._waiting):
            if waiting.end >= 0:
                break
            if waiting.last_byte <= done:
                waiting.end = own_start if opens else self._chars
        complete = self._bytes <= done
        self._waiting.append(_Waiting(token, logprob, self._bytes, own_start, self._chars if complete else -1))

    def _release(self, text: str, *, final: bool) -> PieceEvent | None:
        """The event for `text`; `final` drops the tokens of which nothing was shown."""
        self._released += len(text)
        waiting = self._waiting
        ready: list[_Waiting] = []
        while waiting and 0 <= waiting[0].end <= self._released:
            ready.append(waiting.popleft())
        if final:
            ready += [w for w in waiting if w.start < self._released]
            waiting.clear()
        if not waiting:
            self._bytes = self._chars = self._released = 0
        if not text and not ready:
            return None
        logprobs = tuple(w.logprob for w in ready if w.logprob is not None)
        return PieceEvent(text, tuple(w.token for w in ready), logprobs)
