"""One request in progress: its tokens, how far they are computed, what came out. Pure; one thread touches it."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_bind.engine.constraint import Constraint
from llama_bind.engine.pooling import Pool
from llama_bind.engine.request import Request
from llama_bind.engine.speculative import DraftLength, LookupIndex
from llama_bind.text.assembler import TextAssembler
from llama_bind.values import PieceEvent, TokenLogprob

__all__ = ["Phase", "Sequence"]


class Phase(enum.Enum):
    """WAITING for a slot, RUNNING in one, FINISHED."""

    WAITING = "waiting"
    RUNNING = "running"
    FINISHED = "finished"


class Sequence:
    """The mutable side of a request.

    Attributes:
        tokens: Prompt and generated ids, `n_tokens` of them valid (grown by doubling).
        n_computed: How many of them the memory holds.
        slot: Sequence id in the context while running.
        sampler: The runner's chain for this request, opaque here.
        lazy: Nobody looks at the text before the end, so it is made then.
        pool: Collects the rows of a text that is embedded; `result` is what it gave.
        constraint: What its text is held to; None: nothing.
        n_forced: Last tokens that were not drawn but had to follow (see `holding`); with the last drawn one before
            them they are computed in one step.
        coming: Tokens that must follow, where they are given one by one.
        draft: Guesses of the next tokens, to be checked in the next step.
        lookup: Where runs of its tokens stood before, for `PromptLookup`.
        limit: Most tokens it may hold (prompt and generated), from the context and max_tokens.
        dropped: Tokens that were shifted out of the context.
        checkpoints: Places where its state is saved, for a memory that cannot be cut.
        preempted: How often it went back to the queue.
        n_drafted, n_accepted: Tokens guessed, and guessed right.
    """

    def __init__(self, request: Request, arrival: int, now: float, *, limit: int) -> None:
        prompt = np.asarray(request.prompt, np.int32)
        self.request = request
        self.arrival = arrival
        self.phase = Phase.WAITING
        self.n_prompt = len(prompt)
        self.tokens: npt.NDArray[np.int32] = prompt
        self.n_tokens = len(prompt)
        self.n_computed = 0
        self.n_cached = 0
        self.slot = -1
        self.limit = limit
        self.sampler: Any = None
        self.lazy = request.buffered and not request.stop and request.logprobs is None and request.overflow != "shift"
        self.dropped = 0
        self.checkpoints: list[int] = []
        self.preempted = 0
        self.n_drafted = self.n_accepted = 0
        self.constraint: Constraint | None = None
        self.n_forced = 0
        self.coming: tuple[int, ...] = ()
        self.draft: tuple[int, ...] = ()
        self.draft_length = DraftLength(max(request.n_draft, 1))
        self.lookup: LookupIndex | None = None
        self.assembler = TextAssembler(request.stop)
        self.logprob = 0.0  # of all generated tokens, where the request wants log probabilities
        self.prompt_logprobs: list[TokenLogprob | None] = []
        self.finish_stop: str | None = None
        self.cancelled = False
        self.result: Any = None
        self.pool: Pool | None = None
        self.pieces: list[PieceEvent] = []
        self.emit: Callable[[PieceEvent], None] = self.pieces.append
        self.t_arrival = now
        self.t_start = 0.0
        self.t_first = 0.0

    @property
    def n_generated(self) -> int:
        return self.n_tokens + self.dropped - self.n_prompt

    @property
    def decoding(self) -> bool:
        """Whether only the last drawn token and those forced after it are left to compute (else part of the prompt is,
        or all again).
        """
        return self.n_generated > 0 and 0 < self.n_tokens - self.n_computed <= 1 + self.n_forced

    @property
    def watched(self) -> bool:
        """Whether anything but its sampler looks at the logits of its next token, or changes them."""
        request = self.request
        if request.logits_processors or request.stopping_criteria or request.logprobs is not None:
            return True
        return request.rules is not None and request.rules.acts(self.n_generated)

    @property
    def reuses(self) -> bool:
        """Whether it may take what others have computed."""
        request = self.request
        whole = request.fresh or request.reproducible or request.prompt_logprobs is not None
        return request.kind == "generate" and not whole

    @property
    def shareable(self) -> bool:
        """Whether others may take what it has computed: what the memory holds is what its tokens alone would give."""
        return self.request.kind == "generate" and not self.dropped

    @property
    def order(self) -> tuple[int, int]:
        """Sort key: priority, then arrival."""
        return (-self.request.priority, self.arrival)

    def append(self, token: int) -> None:
        """Add a generated token; it is not computed yet."""
        if self.n_tokens == len(self.tokens):
            grown = np.empty(max(64, 2 * self.n_tokens), np.int32)
            grown[: self.n_tokens] = self.tokens
            self.tokens = grown
        self.tokens[self.n_tokens] = token
        self.n_tokens += 1

    def drop(self, start: int, count: int) -> None:
        """Take tokens out of the context, from place `start`; those behind move up."""
        end = self.n_tokens - count
        self.tokens = self.tokens.copy()  # the prompt may be the caller's array
        self.tokens[start:end] = self.tokens[start + count : self.n_tokens]
        self.n_tokens = end
        self.limit -= count
        self.dropped += count

    def view(self) -> npt.NDArray[np.int32]:
        """The valid tokens, shape (n_tokens,)."""
        return self.tokens[: self.n_tokens]

    def computed(self) -> npt.NDArray[np.int32]:
        """The tokens that the memory holds, copied."""
        return np.array(self.tokens[: self.n_computed])
