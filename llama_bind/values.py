"""Results and events as plain values, shared by the engine, the facades and whatever stands on them.

Not for: the dicts in OpenAI's shape (``results.py`` builds those from these values).
"""

from __future__ import annotations

import dataclasses
import math
from typing import Literal, NamedTuple

__all__ = [
    "Beam",
    "FinishEvent",
    "FinishReason",
    "LlamaState",
    "PieceEvent",
    "Progress",
    "Timings",
    "TokenLogprob",
    "Usage",
]

FinishReason = Literal["stop", "length", "cancelled", "deadline"]
"""Why a generation ended: its own end or a stop string, a limit of tokens or context, a cancel, or a deadline."""


@dataclasses.dataclass(frozen=True)
class TokenLogprob:
    """A token with its natural-log probability under the model, before any sampler (or after them, where asked for).

    Attributes:
        token: Token id.
        piece: The token's bytes.
        logprob: Log probability; -inf never occurs (clamped to -9999.0 as OpenAI does).
        top: The likeliest tokens at this place, best first, without their own `top`.
    """

    token: int
    piece: bytes
    logprob: float
    top: tuple[TokenLogprob, ...] = ()


@dataclasses.dataclass(frozen=True)
class Usage:
    """Counts of tokens. `cached_tokens` of the prompt were already in memory."""

    prompt_tokens: int
    completion_tokens: int
    cached_tokens: int = 0

    @property
    def total_tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


@dataclasses.dataclass(frozen=True)
class Timings:
    """Durations of one request in seconds: waiting in the queue, computing the prompt, generating.

    `prompt_tokens` are those that were computed, `drafted_tokens` were guessed and `accepted_tokens` of them held.
    """

    queued: float
    prompt: float
    generation: float
    prompt_tokens: int
    generated_tokens: int
    drafted_tokens: int = 0
    accepted_tokens: int = 0

    @property
    def tokens_per_second(self) -> float:
        """Generated tokens per second, not counting the first (it comes out of the prompt); 0 when there was one."""
        return (
            (self.generated_tokens - 1) / self.generation if self.generation > 0 and self.generated_tokens > 1 else 0.0
        )


class Progress(NamedTuple):
    """How far a prompt is: `done` of `total` tokens, of which `cached` were in memory; `seconds` since the request
    started, after it was `queued` for so many.
    """

    done: int
    total: int
    cached: int = 0
    seconds: float = 0.0
    queued: float = 0.0


class PieceEvent(NamedTuple):
    """A piece of text that is final: no stop string can take it back. `tokens` are those that it completes.

    `progress`: how far the prompt is, in events without text that come before the first with it, where asked for.
    """

    text: str
    tokens: tuple[int, ...] = ()
    logprobs: tuple[TokenLogprob, ...] = ()
    progress: Progress | None = None


@dataclasses.dataclass(frozen=True)
class FinishEvent:
    """The end of a request. `stop` is the stop string or token text that ended it, `seed` the one that was used.

    `logprob`: the sum of the log probabilities of all generated tokens, one that ended the text too; None where they
    were not asked for.
    """

    reason: FinishReason
    usage: Usage
    timings: Timings
    seed: int
    stop: str | None = None
    logprob: float | None = None

    @property
    def mean_logprob(self) -> float:
        """Per generated token; minus infinity where there is none, or nobody asked for log probabilities."""
        n = self.usage.completion_tokens
        return -math.inf if self.logprob is None or n == 0 else self.logprob / n


@dataclasses.dataclass(frozen=True)
class Beam:
    """A text that a beam search found.

    Attributes:
        text: What was generated, without a token that ended it.
        tokens: Token ids of what was generated, with it.
        logprob: Sum of the tokens' natural-log probabilities under the model.
        score: ``logprob / len(tokens) ** length_penalty``; the search gives the highest first.
        finish_reason: "stop" where the last token ends the text, else "length".
    """

    text: str
    tokens: tuple[int, ...]
    logprob: float
    score: float
    finish_reason: FinishReason


@dataclasses.dataclass(frozen=True)
class LlamaState:
    """What the memory held of a text: its tokens, and bytes that say themselves which model they belong to."""

    tokens: tuple[int, ...]
    data: bytes
