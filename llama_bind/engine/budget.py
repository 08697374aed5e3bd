"""How many prompt tokens a step may compute while others wait for their next token. Pure.

Learns from the steps themselves: what one takes in which nothing but decoding happens, and what a prompt token adds.
Not for: sharing the tokens out (scheduler), or measuring (steps).
"""

from __future__ import annotations

__all__ = ["StepBudget"]

LEAST = 8
"""Prompt tokens that every step may compute, or a prompt would never end under a target that cannot be met."""
FIRST = 32
"""Prompt tokens of a step while nothing is known yet."""
SLOW, FAST = 0.1, 0.5


class StepBudget:
    """Keeps steps near `target` seconds while anything decodes.

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

    def prompt_tokens(self, n_decoding: int) -> int:
        """Prompt tokens for the next step; all that fit when nothing decodes."""
        return self._fitting(n_decoding, self._token)

    def embed_tokens(self, n_decoding: int) -> int:
        """Tokens of texts to embed, which are computed in a step of their own between two others."""
        return self._fitting(n_decoding, self._row)

    def _fitting(self, n_decoding: int, token: float | None) -> int:
        if self.target is None or n_decoding == 0:
            return self.most
        if token is None:
            return min(FIRST, self.most)
        fitting = (self.target - self._decoding(n_decoding)) / token
        return max(min(LEAST, self.most), min(int(fitting), self.most))

    def observe(self, n_decoding: int, n_prompt: int, seconds: float) -> None:
        """A step took `seconds` for the tokens of `n_decoding` sequences and `n_prompt` prompt tokens."""
        if n_prompt == 0:
            before = self._alone.get(n_decoding, seconds)
            # Other programs make a step slower, never faster: trust short ones more.
            self._alone[n_decoding] = before + (FAST if seconds < before else SLOW) * (seconds - before)
        elif n_decoding:
            added = max(seconds - self._decoding(n_decoding), 0.0) / n_prompt
            before = added if self._token is None else self._token
            self._token = max(before + FAST * (added - before), 1e-7)

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
