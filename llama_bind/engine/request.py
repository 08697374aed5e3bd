"""What a caller asks of the engine, checked and resolved: token ids, not text. Not for: progress (see sequence)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

from llama_bind.engine.speculative import Proposer
from llama_bind.params import SamplingParams

__all__ = ["LogitsProcessor", "Request", "StoppingCriterion"]

LogitsProcessor = Callable[[Any, Any], Any]
"""(input_ids, scores) -> scores: int32 and float32 numpy arrays, scores of shape (n_vocab,), before any sampler."""
StoppingCriterion = Callable[[Any, Any], bool]
"""(input_ids, scores) -> bool, called after each token with the scores it was drawn from."""


@dataclasses.dataclass(frozen=True)
class Request:
    """One prompt and what to do with it.

    Attributes:
        prompt: Token ids, at least one.
        kind: "generate" for text; "embed" for one pooled vector (or one per token where the context does not pool).
        sampling: Samplers; its seed is not used, `seed` is.
        seed: Seed of the draw, 0 to 2**32 - 2.
        max_tokens: Most tokens to generate; None: until the model stops or the context ends.
        stop: Stop strings, not empty ones.
        stop_token_ids: Tokens that end the text like the model's own end.
        logprobs: None for none; else how many alternatives to give beside the chosen token's.
        prompt_logprobs: None, or how many alternatives for each prompt token (the prompt is then computed whole).
        special: Whether control tokens show in the text.
        logits_processors, stopping_criteria: Python functions run on the engine thread.
        proposer: Guesses next tokens, which are checked together; the text does not depend on it.
        priority: Higher goes first.
        buffered: Deliver everything in one event at the end, for callers that do not stream.
    """

    prompt: Sequence[int]
    kind: Literal["generate", "embed"] = "generate"
    sampling: SamplingParams = dataclasses.field(default_factory=SamplingParams)
    seed: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    special: bool = False
    logits_processors: tuple[LogitsProcessor, ...] = ()
    stopping_criteria: tuple[StoppingCriterion, ...] = ()
    proposer: Proposer | None = None
    priority: int = 0
    buffered: bool = False
