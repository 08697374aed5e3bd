"""A prompt as segments, and which of them may hold control tokens.

A rendered prompt is cut where its origin changes: text that the template wrote, and text that came from outside. Only
the former may become control tokens. Tokenizing each segment on its own would be safe but wrong: tokenizers merge
across such borders, and some put a space before each piece of text. So `protect` joins everything again and cuts out
only what would become a control token though it (or a part of it) came from outside. An ordinary prompt stays in one
piece and tokenizes exactly as llama.cpp does it; a hostile one is cut around the hostile words.

Not for: tokenizing (``core.Vocab``).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator

from llama_bind.chat.traced import mask_of

__all__ = ["ControlTexts", "Segment", "protect", "segments_of", "text_of"]


@dataclasses.dataclass(frozen=True)
class Segment:
    """A part of a prompt. `special`: it may hold control tokens (tokenize with ``parse_special``)."""

    text: str
    special: bool


def segments_of(text: str) -> list[Segment]:
    """Cut a traced string by origin. The segments' texts, joined, are `text`; none is empty; neighbours differ."""
    mask, plain = mask_of(text), str.__str__(text)
    return [
        Segment(plain[run.start() : run.end()], run[0][0] == 1) for run in re.finditer(rb"\x01+|\x00+", mask) if run[0]
    ]


def text_of(segments: Iterable[Segment]) -> str:
    """The segments' texts joined."""
    return "".join(segment.text for segment in segments)


class ControlTexts:
    """The texts of a vocabulary's control tokens, ready for searching. Make one for each model and keep it.

    Args:
        texts: For each control token its text; empty ones are left out.
    """

    def __init__(self, texts: Iterable[str]) -> None:
        self.texts = frozenset(filter(None, texts))
        self._lengths = sorted({len(text) for text in self.texts})
        first = "".join(sorted({re.escape(text[0]) for text in self.texts}))
        self._first = re.compile(f"[{first}]") if first else None

    def spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Every place of every control text, overlapping ones too, in order of their start."""
        if self._first is None:
            return
        for candidate in self._first.finditer(text):
            start = candidate.start()
            for length in self._lengths:
                if text[start : start + length] in self.texts and start + length <= len(text):
                    yield start, start + length


def protect(segments: Iterable[Segment], controls: ControlTexts) -> list[Segment]:
    """Cut a prompt so that no control token can come from outside the template, and no more than that.

    Args:
        segments: From `segments_of`: `special` says that the template wrote the text.
        controls: The vocabulary's control tokens.

    Returns:
        Segments with the same text: those with `special` are to be tokenized with ``parse_special``, the others
        without. Neighbours differ.
    """
    origin = list(segments)
    text = text_of(origin)
    mask = b"".join((b"\1" if segment.special else b"\0") * len(segment.text) for segment in origin)
    safe = bytearray(b"\1") * len(text)
    for start, end in controls.spans(text):
        if 0 in mask[start:end]:
            safe[start:end] = mask[start:end]
    return [Segment(text[run.start() : run.end()], run[0][0] == 1) for run in re.finditer(rb"\x01+|\x00+", bytes(safe))]
