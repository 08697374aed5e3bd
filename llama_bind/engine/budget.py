"""How many prompt tokens a step may compute while others wait for their next token. Pure.

Learns from the steps themselves: what one takes in which nothing but decoding happens, and what a prompt token adds.
Not for: sharing the tokens out (scheduler), or measuring (steps).
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["StepBudget"]

LEAST = 8
"""Tokens of texts to embed that every step may compute, or they would never end under a target that cannot be met."""
FIRST = 32
"""Tokens of a step while nothing is known yet."""
STEADY = 8
"""Prompt tokens that are computed step by step where every step pays for so many: gaps are then all alike."""
WORTH = 65
"""Prompt tokens for which time is saved up where no step pays for `STEADY`: few steps are long, and most undisturbed.

Every computation of prompt tokens beside decoding ones passes over all weights once more. Where every text has memory
of its own llama.cpp computes the first of them together with the decoding ones, and ggml's own attention, for 64 tokens
at once, takes up to three times as long for each of fewer.
"""
LEAST_SHARE = 0.25
"""Prompts get at least so much time for every second of decoding, whatever the target."""
MANY = 4
"""Where prompts go before texts, a step's prompts take at least so many times the time of its next tokens."""
SLOW, FAST = 0.1, 0.5


class StepBudget:
    """Keeps steps near `target` seconds, on the average, while anything decodes.

    What a step leaves of its target goes to prompts at once where it pays for `STEADY` of their tokens (or for all that
    are wanted); else it is saved up until it pays for `WORTH`.
    Where more texts wait for their prompts than for their next token, the many go before the few: the prompts get
    most of the time. They get it one after another, the first ones whole: computed all at once they would all be as
    late as the last.

    Args:
        target: Seconds; None for no limit.
        most: Tokens of the largest step (n_batch).
    """

    def __init__(self, target: float | None, most: int) -> None:
        self.target = target
        self.most = most
        self._alone: dict[int, float] = {}  # seconds of a step by how many decode, where nothing else is computed
        self._token: float | None = None  # seconds that a prompt token adds
        self._row: float | None = None  # seconds that a token of a text to embed takes
        self._saved = 0.0  # seconds that prompts may take of the next step; negative: they took too much
        self._crowd = 0.0  # seconds that they were given because they are so many, which are not owed

    def prompt_tokens(self, n_decoding: int, wanted: Sequence[int]) -> int:
        """Prompt tokens for the next step; all that fit when a single text has all the time.

        Args:
            n_decoding: Sequences that get their next token in it.
            wanted: Prompt tokens that are left to compute, for each text, in the order in which they are computed.
        """
        self._crowd = 0.0
        total = sum(wanted)
        if self.target is None or (n_decoding == 0 and len(wanted) < 2):
            return self.most
        if n_decoding == 0:
            turn = WORTH * MANY if self._token is None else self.target / self._token
            return min(whole(int(max(turn, WORTH, wanted[0])), wanted), self.most)
        if len(wanted) > n_decoding:
            self._crowd = max(self.target, MANY * self._decoding(n_decoding))
        if self._token is None:
            return min(FIRST * max(len(wanted) // n_decoding, 1), self.most)
        fitting = min(int(max(self._saved, self._crowd) / self._token), self.most, total)
        return whole(fitting, wanted) if fitting >= min(self._least(n_decoding), total, self.most) else 0

    def embed_tokens(self, n_decoding: int) -> int:
        """Tokens of texts to embed, which are computed in a step of their own between two others."""
        if self.target is None or n_decoding == 0:
            return self.most
        if self._row is None:
            return min(FIRST, self.most)
        fitting = (self.target - self._decoding(n_decoding)) / self._row
        return max(min(LEAST, self.most), min(int(fitting), self.most))

    def observe(self, n_decoding: int, n_prompt: int, seconds: float) -> None:
        """A step took `seconds` for the tokens of `n_decoding` sequences and `n_prompt` prompt tokens."""
        added = 0.0
        if n_prompt == 0:
            before = self._alone.get(n_decoding, seconds)
            # Other programs make a step slower, never faster: trust short ones more.
            self._alone[n_decoding] = before + (FAST if seconds < before else SLOW) * (seconds - before)
        else:
            added = max(seconds - self._decoding(n_decoding), 0.0) if n_decoding else seconds
            each = added / n_prompt
            before = each if self._token is None else self._token
            self._token = max(before + FAST * (each - before), 1e-7)
        if n_decoding and self.target is not None:
            self._save(self._decoding(n_decoding), max(added - self._crowd, 0.0))

    def _least(self, n_decoding: int) -> int:
        """Prompt tokens that a step computes at least, if any."""
        return STEADY if self._left(self._decoding(n_decoding)) >= STEADY * (self._token or 0.0) else WORTH

    def _left(self, decoding: float) -> float:
        """Seconds that a step which takes `decoding` by itself leaves to prompts."""
        return max((self.target or 0.0) - decoding, LEAST_SHARE * decoding)

    def _save(self, decoding: float, added: float) -> None:
        left = self._left(decoding)
        chunk = WORTH * (self._token or 0.0)
        # No more is kept, or owed, than one step uses: a long pause is no reason for a burst.
        most = left + chunk
        self._saved = min(max(self._saved + left - added, -most), most)

    def observe_embed(self, n_tokens: int, seconds: float) -> None:
        """A step took `seconds` for `n_tokens` of texts to embed."""
        each = seconds / max(n_tokens, 1)
        before = each if self._row is None else self._row
        self._row = max(before + FAST * (each - before), 1e-7)

    def _decoding(self, n: int) -> float:
        """Seconds of a step in which `n` sequences decode, from the nearest number that is known."""
        if not self._alone:
            return 0.0
        known = self._alone.get(n)
        return known if known is not None else self._alone[min(self._alone, key=lambda k: abs(k - n))]


def whole(most: int, wanted: Sequence[int]) -> int:
    """As many of `most` tokens as end with the end of a prompt; all of them where not even the first one ends.

    llama.cpp computes sequences of different lengths in parts of equal length: what is cut off costs a pass of its own.
    """
    taken = 0
    for count in wanted:
        if taken + count > most:
            break
        taken += count
    return taken or most
