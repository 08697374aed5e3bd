"""Holds sequences to their constraints: what is drawn in place of a refused token, and what follows by itself.

A token is drawn as always, and the constraint asked about it alone; only where it refuses are all tokens masked and
one drawn again, as ``common_sampler_sample`` of llama.cpp does. Tokens that must follow are not drawn at all: they are
added at once and computed together with the last drawn one (*ahead*), or, where something looks at each token, one
after the other. Not for: the constraints themselves (structured), or when to draw (drawing).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import numpy.typing as npt

from llama_bind.engine.constraint import Constraint
from llama_bind.engine.outcome import Sampled
from llama_bind.engine.sequence import Sequence
from llama_bind.errors import GrammarError

__all__ = ["Holding"]

Floats = npt.NDArray[np.float32]

MOST_FORCED = 512
"""Tokens that are added at once; more of them are added after these were computed."""
NOTHING_LEFT = "the grammar allows only tokens that other options ban here; allow more, or ban less"


class Holding:
    """For the sequences of one context.

    Args:
        ends: Tokens that end a text.
        window: Tokens that a sequence can hold.
    """

    def __init__(self, ends: Iterable[int], window: int) -> None:
        self._ends = frozenset(ends)
        self._most = max(1, min(MOST_FORCED, window // 4))

    def settle(self, sequence: Sequence, token: int, row: Callable[[], Floats]) -> int:
        """The token to give out for one that was drawn from what `row` gives: itself, or one that is allowed.

        The sampler must be one that remembers nothing (`Sampler.remembers`): it has accepted the first already.
        """
        constraint = sequence.constraint
        if constraint is None or not constraint.active or constraint.allows(token):
            return token
        return self._redraw(sequence, constraint, row())

    def _redraw(self, sequence: Sequence, constraint: Constraint, row: Floats) -> int:
        masked: Floats = np.where(constraint.refused(), np.float32(-np.inf), row)
        if float(masked.max()) > -np.inf:
            token: int = sequence.sampler.sample_array(masked)
            if constraint.allows(token):
                return token
        return self._end(constraint)

    def draw(self, sequence: Sequence, row: Floats) -> int:
        """A token from `row`, by the whole chain, accepted when it is allowed and not before."""
        constraint = sequence.constraint
        assert constraint is not None
        token: int | None = sequence.sampler.sample_held(row, constraint)
        return self._end(constraint) if token is None else token

    def _end(self, constraint: Constraint) -> int:
        """A grammar that is complete ends the text, whatever other options say; else it cannot go on."""
        for token in sorted(self._ends):
            if constraint.allows(token):
                return token
        raise GrammarError(NOTHING_LEFT, param=None)

    # -- what follows ----------------------------------------------------------------------------------------------

    def first(self, sequence: Sequence) -> list[Sampled]:
        """What must stand at the beginning of a text, before anything was drawn."""
        return self._forced(sequence, 0)

    def follow(self, sampled: Sampled, ahead: int = 0) -> list[Sampled]:
        """Let the constraint take note of a token; gives those that follow by themselves.

        `sampled.stop` is set where the text is complete. `ahead`: tokens before it that the sequence does not have yet.
        """
        sequence, token = sampled.sequence, sampled.token
        constraint = sequence.constraint
        if constraint is None or sampled.error is not None or token < 0 or self._is_end(sequence, token):
            return []
        try:
            constraint.accept(token)
            if constraint.finished:
                sampled.stop = True
                return []
            if sequence.coming:  # the next one is known
                return []
            return self._forced(sequence, ahead + 1)
        except Exception as error:  # of this request alone
            sampled.error = error
            return []

    def _forced(self, sequence: Sequence, ahead: int) -> list[Sampled]:
        constraint, sampler = sequence.constraint, sequence.sampler
        assert constraint is not None
        if sequence.request.logits_processors:
            return []  # they see every token drawn
        room = min(self._most, sequence.limit - sequence.n_tokens - ahead)
        forced = constraint.forced()[: max(room, 0)]
        if not forced:
            return []
        if sequence.watched or sequence.request.reproducible:
            sequence.coming = tuple(forced)
            return []
        found: list[Sampled] = []
        for token in forced:
            if self._is_end(sequence, token):
                break
            constraint.accept(token)
            if sampler.remembers:
                sampler.accept(token)
            found.append(Sampled(sequence, token, forced=True))
        if found and constraint.finished:
            found[-1].stop = True
        return found

    def _is_end(self, sequence: Sequence, token: int) -> bool:
        return token in self._ends or token in sequence.request.stop_token_ids
