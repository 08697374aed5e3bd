"""What a finished sequence has to show: its text, its times. Pure functions for the worker."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Sequence as Many

from llama_bind.engine.sequence import Sequence
from llama_bind.values import PieceEvent, Timings

__all__ = ["merged_pieces", "text_of", "timings_of"]


def text_of(sequence: Sequence, end: int, piece: Callable[[int, bool], bytes]) -> list[PieceEvent]:
    """The pieces of the generated tokens up to place `end`, where none were made while they came."""
    special, visible, push = sequence.request.special, sequence.request.visible, sequence.assembler.push
    tokens = sequence.view()[sequence.n_prompt : end].tolist()
    events = (push(token, piece(token, special or token in visible)) for token in tokens)
    return [event for event in events if event is not None]


def timings_of(sequence: Sequence, now: float) -> Timings:
    """Durations of a sequence that ends `now`."""
    start = sequence.t_start or now
    first = sequence.t_first or now
    return Timings(
        queued=start - sequence.t_arrival,
        prompt=first - start,
        generation=now - first,
        prompt_tokens=sequence.n_prompt - sequence.n_cached,
        generated_tokens=sequence.n_generated,
        drafted_tokens=sequence.n_drafted,
        accepted_tokens=sequence.n_accepted,
    )


def merged_pieces(pieces: Many[PieceEvent]) -> PieceEvent:
    """One event in place of many."""
    text = "".join(p.text for p in pieces)
    tokens = tuple(t for p in pieces for t in p.tokens)
    return PieceEvent(text, tokens, tuple(e for p in pieces for e in p.logprobs))
