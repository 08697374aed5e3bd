"""What a caller asks of the engine, checked and resolved: token ids, not text. Not for: progress (see sequence)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Hashable, Sequence
from typing import Any, Literal

from llama_bind.engine.pooling import PoolingKind
from llama_bind.engine.rules import TokenRules
from llama_bind.engine.speculative import MOST_GUESSES, Proposer
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
        kind: "generate" for text; "embed" for a vector.
        pooling: Of an embedding: how its rows become one vector ("none": not at all), or "rank" for scores.
        sampling: Samplers; its seed is not used, `seed` is.
        seed: Seed of the draw, 0 to 2**32 - 2.
        max_tokens: Most tokens to generate; None: until the model stops or the context ends.
        stop: Stop strings, not empty ones.
        stop_token_ids: Tokens that end the text like the model's own end.
        logprobs: None for none; else how many alternatives to give beside the chosen token's.
        after_samplers: The log probabilities are those among the tokens that the samplers left.
        prompt_logprobs: None, or how many alternatives for each prompt token (the prompt is then computed whole).
        special: Whether control tokens show in the text.
        visible: Control tokens that show in any case.
        logits_processors, stopping_criteria: Python functions run on the engine thread.
        constraint: A demand on the output (a `Spec` of ``structured``), which the engine knows how to hold it to.
        rules: Tokens that must not be chosen; applied after `logits_processors` and before the samplers.
        proposer: Guesses next tokens, which are checked together; the text does not depend on it. None: the engine's
            own drafter, where it has one.
        n_draft: Most tokens guessed at once; 0: none.
        priority: Higher goes first.
        buffered: Deliver everything in one event at the end, for callers that do not stream.
        progress: Tell how far the prompt is computed, where the request is not buffered.
        fresh: Compute all of the prompt, whatever is in memory.
        key: Who asks; keys that wait take turns by the tokens they were served.
        request_id: What the caller calls it, for those who look at what runs.
        salt: Prefixes are shared only between requests of equal salt.
        queue_timeout, first_token_timeout, timeout: Seconds from now to the start, the first token and the end;
            what is there by then is the result.
        reproducible: Compute it apart from all others, so that nothing else that runs can change its text.
        overflow: What to do where the context ends (see `RequestParams.context_overflow`).
        n_keep: Tokens at the start that truncating and shifting leave alone.
        on_start: Called on the engine's thread when the request gets its slot, before anything is computed for it; it
            must be quick and must not raise.
    """

    prompt: Sequence[int]
    kind: Literal["generate", "embed"] = "generate"
    pooling: PoolingKind = "mean"
    sampling: SamplingParams = dataclasses.field(default_factory=SamplingParams)
    seed: int = 0
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    stop_token_ids: frozenset[int] = frozenset()
    logprobs: int | None = None
    after_samplers: bool = False
    prompt_logprobs: int | None = None
    special: bool = False
    visible: frozenset[int] = frozenset()
    logits_processors: tuple[LogitsProcessor, ...] = ()
    stopping_criteria: tuple[StoppingCriterion, ...] = ()
    constraint: Hashable | None = None
    rules: TokenRules | None = None
    proposer: Proposer | None = None
    n_draft: int = MOST_GUESSES
    priority: int = 0
    buffered: bool = False
    progress: bool = False
    fresh: bool = False
    key: str | None = None
    request_id: str | None = None
    salt: bytes = b""
    queue_timeout: float | None = None
    first_token_timeout: float | None = None
    timeout: float | None = None
    reproducible: bool = False
    overflow: Literal["error", "stop", "truncate", "shift"] = "error"
    n_keep: int = 0
    on_start: Callable[[], None] | None = None
