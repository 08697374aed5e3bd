"""Brings streams that run side by side, where that takes less time than it saves. Engine thread only.

The streams change places: what the free one remembers is kept. Not for: which one to move (neighbours).
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from llama_bind.engine.neighbours import Move
from llama_bind.engine.scheduler import Scheduler
from llama_bind.errors import StateError

if TYPE_CHECKING:
    from llama_bind.engine.runner import Runner

__all__ = ["Mover"]

EXPECTED = 64
"""Tokens that a text is expected to go on for, at most."""
SHARE = 0.25
"""A move may take this part of the time that it is expected to save."""
FIRST = 5e-5
"""Seconds that a token takes to be moved, until that is known: 50 KB of it, copied four times."""
LEARN = 0.5
logger = logging.getLogger("llama_bind")


class Mover:
    """Moves what runs on `scheduler`'s slots in `runner`'s memory."""

    def __init__(self, runner: Runner, scheduler: Scheduler) -> None:
        self._runner = runner
        self._scheduler = scheduler
        self._each = FIRST
        self._works = True

    def gather(self) -> Move | None:
        """Close a gap, or begin to; gives what was moved.

        Raises:
            NativeAbortError: the memory is in doubt.
        """
        move = self._scheduler.next_move() if self._works else None
        if move is None or not self._pays(move):
            return None
        n_tokens = self._tokens(move)
        began = time.perf_counter()
        self._works = False
        try:
            moved = self._runner.exchange(move.source, move.target)
        except StateError as error:
            logger.warning("streams stay where they are from now on, as one could not be moved: %s", error)
            self._scheduler.lost(move.source)
            self._scheduler.forget(move.target)
            return None
        self._works = True
        if not moved:
            return None
        each = (time.perf_counter() - began) / n_tokens
        self._each += LEARN * (each - self._each)
        self._scheduler.moved(move)
        return move

    def _tokens(self, move: Move) -> int:
        return max(self._scheduler.at(move.source).n_computed + self._scheduler.slots.count(move.target), 1)

    def _pays(self, move: Move) -> bool:
        """A pass over the weights takes about as long as a token, and one is saved with each token from now on."""
        sequence = self._scheduler.at(move.source)
        left = min(sequence.limit - sequence.n_tokens, EXPECTED)
        pays = self._each * self._tokens(move) * move.of < SHARE * left * self._runner.pace
        if not pays:
            self._scheduler.settle()  # and it will pay less and less
        return pays
