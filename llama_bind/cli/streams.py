"""Reading what calls of `Llama` stream: the pieces of text, and the figures that come with the last chunk.

Not for: showing them.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from typing import Any

__all__ = ["Figures", "read_text", "write_text"]


class Figures:
    """What the end of a stream said: why it ended, and llama-server's timings. Zeros until then."""

    def __init__(self) -> None:
        self.finish_reason: str | None = None
        self.timings: dict[str, Any] = {}

    def take(self, chunk: Any) -> None:
        """Keep what a chunk says besides text."""
        if chunk.get("timings"):
            self.timings = dict(chunk["timings"])
        for choice in chunk["choices"]:
            self.finish_reason = choice.get("finish_reason") or self.finish_reason

    def __str__(self) -> str:
        """One line: tokens and tokens per second of prompt and answer."""
        get = self.timings.get
        cached = f" ({get('cache_n')} more from the cache)" if get("cache_n") else ""
        return (
            f"prompt: {get('prompt_n', 0)} tokens{cached}, {get('prompt_per_second', 0.0):.1f} tokens/s; "
            f"answer: {get('predicted_n', 0)} tokens, {get('predicted_per_second', 0.0):.1f} tokens/s"
        )


def read_text(chunks: Iterable[Any], figures: Figures) -> Iterator[str]:
    """The pieces of text of a streamed completion or chat completion. Closing it cancels the request."""
    try:
        for chunk in chunks:
            figures.take(chunk)
            for choice in chunk["choices"]:
                piece = choice["text"] if "text" in choice else choice["delta"].get("content")
                if piece:
                    yield piece
    finally:
        close = getattr(chunks, "close", None)
        if close is not None:
            close()


def write_text(pieces: Iterable[str]) -> str:
    """Write the pieces to standard output as they come; give the whole text."""
    whole = []
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
        whole.append(piece)
    return "".join(whole)
