"""What runs right now: a plain value for each request that has a slot, made by any thread while the engine works.

Not for: counters over time (``stats``), or requests that wait.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import TYPE_CHECKING, Literal

from llama_bind.params import SamplingParams

if TYPE_CHECKING:
    from llama_bind.engine.sequence import Sequence

__all__ = ["SlotState", "slot_states"]


@dataclasses.dataclass(frozen=True)
class SlotState:
    """A request that runs. Its text is nobody else's business and not part of this.

    Attributes:
        id: The slot, from 0. A request that had to make room, or was moved beside others, goes on in another.
        number: Of the request, counted since the engine started.
        request_id: What its caller calls it (see `RequestParams`).
        kind: "generate" for text, "embed" for a vector.
        prompt_tokens, cached_tokens: Tokens of the prompt, and how many of them were in memory.
        prompt_computed: How many of the others are computed.
        generated_tokens: So far.
        sampling, seed, max_tokens, n_keep: As they were asked for.
        stream: Whether it is given piece by piece.
        drafts: Whether its next tokens are guessed.
    """

    id: int
    number: int
    request_id: str | None
    kind: Literal["generate", "embed"]
    prompt_tokens: int
    cached_tokens: int
    prompt_computed: int
    generated_tokens: int
    sampling: SamplingParams
    seed: int
    max_tokens: int | None
    n_keep: int
    stream: bool
    drafts: bool


def slot_states(running: Iterable[Sequence], *, drafter: bool) -> list[SlotState]:
    """The requests that run, by slot. `drafter`: whether the engine guesses for requests that bring no proposer."""
    found = [_state(sequence, drafter) for sequence in tuple(running) if sequence.slot >= 0]
    return sorted(found, key=lambda state: state.id)


def _state(sequence: Sequence, drafter: bool) -> SlotState:
    request, cached = sequence.request, sequence.n_cached
    return SlotState(
        id=sequence.slot,
        number=sequence.arrival,
        request_id=request.request_id,
        kind=request.kind,
        prompt_tokens=sequence.n_prompt,
        cached_tokens=cached,
        prompt_computed=max(min(sequence.n_computed, sequence.n_prompt) - cached, 0),
        generated_tokens=max(sequence.n_generated, 0),
        sampling=request.sampling,
        seed=request.seed,
        max_tokens=request.max_tokens,
        n_keep=request.n_keep,
        stream=not request.buffered and request.kind == "generate",
        drafts=request.kind == "generate" and request.n_draft > 0 and (drafter or request.proposer is not None),
    )
