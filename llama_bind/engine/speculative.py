"""Guesses of the next tokens by looking back, and how many to make. Pure.

What is guessed is checked in one decode: the engine samples at every guessed place with the sequence's own sampler and
keeps what agrees, so the text is exactly what it would be without. Not for: when to ask whom (guessing), models that
draft (draft), or checking (drawing).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["MOST_GUESSES", "DraftLength", "LookupIndex", "PromptLookup", "Proposer", "most_guesses"]

Tokens = npt.NDArray[np.int32]

Proposer = Callable[[Tokens], Any]
"""(input_ids) -> token ids that may follow, best guess; empty for none. Called on the engine thread."""

MOST_GUESSES = 16
"""Most tokens guessed at once where nobody says otherwise."""
SHARED_TOKENS = 32
"""Tokens, guesses among them, that the decoding sequences of a step share."""
_REACH = 64  # how far back a match is followed: longer ones are as sure as they can be


class PromptLookup:
    """Guesses that a run of tokens seen before goes on as it did then (prompt lookup decoding, Saxena 2023).

    Args:
        max_ngram_size: Longest run of last tokens that is searched for; shorter ones are tried after it.
        num_pred_tokens: Most tokens guessed at once.
        min_ngram_size: Shortest run that counts. Runs of one token are rarely followed by the same again.

    Raises:
        ValueError: a size below 1, or a shortest run that is longer than the longest.
    """

    def __init__(self, max_ngram_size: int = 3, num_pred_tokens: int = 15, min_ngram_size: int | None = None) -> None:
        if max_ngram_size < 1 or num_pred_tokens < 1:
            raise ValueError("max_ngram_size and num_pred_tokens are at least 1")
        self.max_ngram_size = max_ngram_size
        self.num_pred_tokens = num_pred_tokens
        self.min_ngram_size = min(2, max_ngram_size) if min_ngram_size is None else min_ngram_size
        if not 1 <= self.min_ngram_size <= max_ngram_size:
            raise ValueError("min_ngram_size is at least 1 and at most max_ngram_size")

    def __call__(self, input_ids: Tokens, /, **_options: Any) -> Tokens:
        """The tokens that followed the latest earlier place where the last tokens stood."""
        index = LookupIndex(self)
        index.update(input_ids)
        return index.guess(input_ids, self.num_pred_tokens)


class LookupIndex:
    """What `PromptLookup` knows of one sequence, brought up to date token by token.

    For each run of tokens it remembers where its latest follower stands, so a look costs the same however long the
    text is: well under a microsecond for each size of run.
    """

    def __init__(self, lookup: PromptLookup) -> None:
        sizes = range(lookup.max_ngram_size, lookup.min_ngram_size - 1, -1)
        self._places: list[tuple[int, dict[bytes, int]]] = [(size, {}) for size in sizes]
        self._most = lookup.num_pred_tokens
        self._n = 0
        self._found = -1
        self._size = 0

    def update(self, tokens: Tokens) -> None:
        """Take note of tokens that are new since the last call."""
        n = len(tokens)
        if n == self._n:
            return
        if n < self._n:  # the text lost its beginning to make room
            self._n = 0
            for _, places in self._places:
                places.clear()
        if n > self._n + 1:
            self._learn(tokens, n - 1)
        self._found = -1
        for size, places in self._places:
            if n > size:
                places[tokens[n - 1 - size : n - 1].tobytes()] = n - 1
                if self._found < 0:
                    self._found = places.get(tokens[n - size : n].tobytes(), -1)
                    self._size = size
        self._n = n

    def _learn(self, tokens: Tokens, end: int) -> None:
        """Runs followed by one of the tokens before `end`."""
        raw = tokens[:end].tobytes()
        for size, places in self._places:
            first = max(self._n - size, 0)
            width = 4 * size
            places.update({raw[4 * i : 4 * i + width]: i + size for i in range(first, end - size)})

    def match(self, tokens: Tokens) -> int:
        """How many last tokens stood in the same order at the place found; 0 where there is none."""
        place = self._found
        if place < 0:
            return 0
        reach = min(place, _REACH)
        differ = np.flatnonzero(tokens[place - reach : place] != tokens[self._n - reach : self._n])
        return reach - 1 - int(differ[-1]) if len(differ) else reach

    def finds(self, tokens: Tokens, least: int) -> bool:
        """Whether the last tokens, at least `least` of them, stood somewhere before."""
        return self._found >= 0 and (self._size >= least or self.match(tokens) >= least)

    def guess(self, tokens: Tokens, most: int) -> Tokens:
        """What followed there, at most `most` tokens; a view of `tokens`."""
        if self._found < 0:
            return tokens[:0]
        return tokens[self._found : self._found + min(most, self._most)]


class DraftLength:
    """How many tokens to guess next, from what became of the guesses before.

    A wrong guess costs a place in the batch: on a CPU about half the time of a token, on an accelerator less. So
    guesses are paid from a credit: each costs 1, each that holds earns 2, and every token of the text adds a little,
    which bounds what a text can lose on which guessing is no use. The length doubles while all guesses hold and falls
    to what held when they do not.

    Attributes:
        length: Tokens to guess when the credit allows it.
        least_match: Tokens that must agree before a place found by lookup counts: more after failures.
    """

    START, EARN, DRIP, CAP = 8.0, 2.0, 0.03, 64.0
    FIRST = 3

    def __init__(self, most: int = MOST_GUESSES) -> None:
        self.most = most
        self.length = min(self.FIRST, most)
        self.least_match = 1
        self._credit = self.START
        self._at: int | None = None

    def allowed(self, n_tokens: int) -> int:
        """Tokens to guess after a text of `n_tokens`; asking twice changes nothing."""
        if self._at is not None:
            self._credit = min(self._credit + self.DRIP * max(n_tokens - self._at, 0), self.CAP)
        self._at = n_tokens
        return min(self.length, int(self._credit))

    def result(self, guessed: int, held: int) -> None:
        """`held` of `guessed` tokens were right."""
        self._credit = min(self._credit - guessed + self.EARN * held, self.CAP)
        if held == guessed:
            self.length = min(2 * self.length, self.most)
            self.least_match = max(self.least_match // 2, 1)
            return
        self.length = min(max(held, 2), self.most) if held else max(self.length // 2, 1)
        if 2 * held < guessed:
            self.least_match = min(max(2 * self.least_match, 4), 32)


def most_guesses(n_decoding: int, budget: int, most: int) -> int:
    """Most tokens that each sequence guesses when `n_decoding` of them share a step of at most `budget` tokens.

    The fuller the batch, the more of a guess's work is work that other sequences wait for, and the less of the
    hardware is idle otherwise: with more than half of `SHARED_TOKENS` sequences nobody guesses.
    """
    share = min(budget, SHARED_TOKENS) // max(n_decoding, 1) - 1
    return max(0, min(most, share))
