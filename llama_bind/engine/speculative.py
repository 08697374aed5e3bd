"""Guesses of the next tokens, checked together in one decode. Pure.

A proposer guesses; the runner samples at every guessed place with the sequence's own sampler and keeps what agrees, so
the text is exactly what it would be without. Not for: computing (runner), or models that draft (they are proposers
of the caller's).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["DraftLength", "PromptLookup", "Proposer"]

Tokens = npt.NDArray[np.int32]

Proposer = Callable[[Tokens], Any]
"""(input_ids) -> token ids that may follow, best guess; empty for none. Called on the engine thread."""


class PromptLookup:
    """Guesses that a run of tokens seen before goes on as it did then (prompt lookup decoding, Saxena 2023).

    Args:
        max_ngram_size: Longest run of last tokens that is searched for; shorter ones are tried after it.
        num_pred_tokens: Most tokens guessed at once.
    """

    def __init__(self, max_ngram_size: int = 3, num_pred_tokens: int = 10) -> None:
        if max_ngram_size < 1 or num_pred_tokens < 1:
            raise ValueError("max_ngram_size and num_pred_tokens are at least 1")
        self.max_ngram_size = max_ngram_size
        self.num_pred_tokens = num_pred_tokens

    def __call__(self, input_ids: Tokens, /, **_options: Any) -> Tokens:
        """The tokens that followed the latest earlier place where the last tokens stood."""
        for size in range(min(self.max_ngram_size, len(input_ids) - 1), 0, -1):
            place = self._latest(input_ids, size)
            if place >= 0:
                return input_ids[place : place + self.num_pred_tokens]
        return input_ids[:0]

    @staticmethod
    def _latest(ids: Tokens, size: int) -> int:
        """Where the last `size` tokens stood before, the end of that place; -1 if nowhere."""
        last = len(ids) - size
        places = np.flatnonzero(ids[:last] == ids[last])  # starts of possible runs
        for offset in range(1, size):
            places = places[ids[places + offset] == ids[last + offset]]
        return int(places[-1]) + size if len(places) else -1


class DraftLength:
    """How many tokens to guess next: grows while guesses hold, shrinks when they fail, and pauses when they are bad.

    A wrong guess costs a place in the batch; a series of them would make generating slower than without.
    """

    def __init__(self, most: int = 16) -> None:
        self.most = most
        self.length = min(4, most)
        self._pause = 0
        self._failures = 0

    def next(self) -> int:
        """Tokens to guess now; 0 while pausing."""
        if self._pause:
            self._pause -= 1
            return 0
        return self.length

    def result(self, guessed: int, held: int) -> None:
        """`held` of `guessed` tokens were right."""
        if held == guessed:
            self.length = min(2 * self.length, self.most)
            self._failures = 0
        elif held == 0:
            self._failures += 1
            self.length = max(self.length // 2, 1)
            self._pause = min(2**self._failures, 32) if self._failures > 1 else 0
        else:
            self.length = max(held, 1)
            self._failures = 0
