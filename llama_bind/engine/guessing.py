"""Asks whoever guesses for each sequence: once a step for all of them, or between two tokens of one that runs alone.

Three kinds guess: `PromptLookup`, whose index follows the text; a caller's function; and a drafter, which serves all
sequences of the engine in one go. Pure: a drafter is only called here. Not for: guessing itself (speculative, draft),
or checking guesses (drawing).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence as Many
from typing import Any, Protocol

from llama_bind.engine.sequence import Sequence
from llama_bind.engine.speculative import LookupIndex, PromptLookup, Tokens, most_guesses
from llama_bind.errors import TokenError

__all__ = ["Drafter", "Guesser", "Wanted"]


@dataclasses.dataclass(frozen=True)
class Wanted:
    """Guesses asked of a drafter: at most `most` tokens after `tokens` of the sequence in `slot`."""

    slot: int
    tokens: Tokens
    most: int


class Drafter(Protocol):
    """Guesses for all sequences of an engine at once, on its thread."""

    def propose(self, wanted: Many[Wanted]) -> dict[int, tuple[int, ...]]:
        """Guesses by slot; none for a slot that is not in it. Does not raise: without it all goes on as before."""


class Guesser:
    """Fills in `Sequence.draft`.

    Args:
        n_vocab: Tokens of the model; a guess outside ends its request.
        budget: Most tokens of a step (n_batch).
        drafter: Guesses for requests that bring no proposer; None: those go without.
    """

    def __init__(self, n_vocab: int, budget: int, drafter: Drafter | None = None) -> None:
        self._n_vocab = n_vocab
        self._budget = budget
        self._drafter = drafter

    @property
    def by_slots(self) -> bool:
        """Whether texts are remembered by their slots, and so have to stay in them."""
        return self._drafter is not None

    def guesses(self, sequence: Sequence) -> bool:
        """Whether anybody guesses for this sequence at all."""
        request = sequence.request
        if request.n_draft <= 0 or request.reproducible:  # checking many tokens at once rounds otherwise than one
            return False
        return request.proposer is not None or self._drafter is not None

    def propose(self, running: Many[Sequence]) -> list[tuple[Sequence, Exception]]:
        """Once for each step, before it is planned: every decoding sequence has its guesses after that.

        Gives the sequences whose proposer raised or guessed what is no token; they are to be ended.
        """
        asked: list[Sequence] = []
        for sequence in running:
            sequence.draft = ()
            if (sequence.request.proposer or self._drafter) and self.guesses(sequence) and sequence.decoding:
                asked += [] if sequence.n_forced else [sequence]  # what is forced goes before what is guessed
        if not asked:
            return []
        n_decoding = sum(s.decoding for s in running)
        wanted: list[Wanted] = []
        failed: list[tuple[Sequence, Exception]] = []
        for sequence in asked:
            room = min(self._room(sequence), most_guesses(n_decoding, self._budget, sequence.request.n_draft))
            if room <= 0:
                continue
            if sequence.request.proposer is None:
                wanted.append(Wanted(sequence.slot, sequence.view(), room))
                continue
            try:
                sequence.draft = self._ask(sequence, sequence.request.proposer, room)
            except Exception as error:  # of the caller's function: ends its own request
                failed.append((sequence, error))
        if wanted and self._drafter is not None:
            guesses = self._drafter.propose(wanted)
            for sequence in asked:
                if sequence.request.proposer is None:
                    sequence.draft = guesses.get(sequence.slot, ())
        return failed

    def wants(self, sequence: Sequence) -> bool:
        """Whether `propose` may have a guess for a sequence that runs alone: cheap, asked after every token."""
        if not self.guesses(sequence) or self._room(sequence) <= 0:
            return False
        index = self._index(sequence)
        return index is None or index.finds(sequence.view(), sequence.draft_length.least_match)

    def _ask(self, sequence: Sequence, proposer: Any, room: int) -> tuple[int, ...]:
        tokens = sequence.view()
        index = self._index(sequence)
        if index is not None:
            found = index.finds(tokens, sequence.draft_length.least_match)
            return tuple(index.guess(tokens, room).tolist()) if found else ()
        draft = tuple(int(t) for t in proposer(tokens.copy())[:room])
        for token in draft:
            if not 0 <= token < self._n_vocab:
                raise TokenError(token, self._n_vocab, param="draft_model")
        return draft

    @staticmethod
    def _room(sequence: Sequence) -> int:
        """Tokens to guess as the sequence alone would have it; the last token allowed needs no guess."""
        n = sequence.n_tokens
        return min(sequence.draft_length.allowed(n), sequence.limit - n - 1)

    @staticmethod
    def _index(sequence: Sequence) -> LookupIndex | None:
        """The index of a sequence that looks up, up to date; None for other proposers."""
        proposer = sequence.request.proposer
        if not isinstance(proposer, PromptLookup) or type(proposer).__call__ is not PromptLookup.__call__:
            return None
        if sequence.lookup is None:
            sequence.lookup = LookupIndex(proposer)
        sequence.lookup.update(sequence.view())
        return sequence.lookup
