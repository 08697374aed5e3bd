"""Which tokens a request must not choose next: allowed tokens, bad words, a least number of tokens. Pure.

A mask is an index into a row of logits, shape (n_vocab,): token ids, or one bool for each token. What it names is set
to minus infinity before any sampler, and set back after the draw, so that log probabilities stay the model's own.

Not for: reading options or the tokens of words (``restrictions``), or grammars and biases (the sampler has those).
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from llama_bind.errors import InputError

__all__ = ["Mask", "TokenRules", "check_left", "masking"]

Floats = npt.NDArray[np.float32]
Tokens = npt.NDArray[np.int32]
Mask = npt.NDArray[Any]

NOTHING_LEFT = "allowed_token_ids, bad_words and min_tokens leave no token to choose{}; allow more or ban less"


@dataclasses.dataclass(frozen=True)
class TokenRules:
    """Made once for a request; holds no state of its progress.

    Attributes:
        n_vocab: Tokens in the vocabulary; all ids below are smaller.
        ends: Tokens that end the text (the model's own and those of the request).
        min_tokens: So many tokens are generated before one of `ends`.
        bad_words: The last token of each is not chosen after the others, wherever those came from.
        allowed: The only tokens that may be chosen, ends included; None for all.
        never: Tokens that the samplers ban in any case, so that what is left is known.

    Raises:
        InputError: no token could be chosen at the start.
    """

    n_vocab: int
    ends: frozenset[int] = frozenset()
    min_tokens: int = 0
    bad_words: tuple[tuple[int, ...], ...] = ()
    allowed: frozenset[int] | None = None
    never: frozenset[int] = frozenset()
    reach: int = dataclasses.field(init=False)
    _early: Mask | None = dataclasses.field(init=False, repr=False, compare=False)
    _always: Mask | None = dataclasses.field(init=False, repr=False, compare=False)
    _words: dict[int, list[tuple[int, ...]]] = dataclasses.field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        words: dict[int, list[tuple[int, ...]]] = {}
        for word in self.bad_words:
            if len(word) > 1:
                words.setdefault(word[-2], []).append(word)
        single = frozenset(word[0] for word in self.bad_words if len(word) == 1)
        always = self._mask(single) if single or self.allowed is not None else None
        early = self._mask(single | self.ends) if self.min_tokens else always
        made = {"reach": max(map(len, self.bad_words), default=1) - 1, "_early": early, "_always": always}
        for name, value in {**made, "_words": words}.items():
            object.__setattr__(self, name, value)  # frozen from here on

    def _mask(self, banned: frozenset[int]) -> Mask:
        refused = np.zeros(self.n_vocab, np.bool_)
        if self.allowed is not None:
            refused[:] = True
            refused[list(self.allowed)] = False
        refused[list(banned | self.never)] = True
        if refused.all():
            raise InputError(
                NOTHING_LEFT.format(""), param="bad_words" if self.allowed is None else "allowed_token_ids"
            )
        ids = np.flatnonzero(refused)
        return ids if len(ids) <= self.n_vocab // 16 else refused  # few ids are faster, many are five times slower

    def acts(self, n_generated: int) -> bool:
        """Whether anything may be masked after so many generated tokens. Once False, it stays so."""
        return self._always is not None or bool(self._words) or n_generated < self.min_tokens

    def masked(self, before: Tokens, n_generated: int) -> Mask | None:
        """What must not follow.

        Args:
            before: The tokens so far, prompt included; the last `reach` of them are enough.
            n_generated: How many were generated.
        """
        mask = self._early if n_generated < self.min_tokens else self._always
        if not self._words or not len(before):
            return mask
        banned = [word[-1] for word in self._words.get(int(before[-1]), ()) if _ends_with(before, word[:-1])]
        if not banned:
            return mask
        if mask is None:
            return np.array(banned)
        if mask.dtype != np.bool_:
            return np.append(mask, banned)
        both: Mask = mask.copy()
        both[banned] = True
        return both


def _ends_with(tokens: Tokens, end: tuple[int, ...]) -> bool:
    return len(tokens) >= len(end) and tuple(tokens[-len(end) :].tolist()) == end


@contextlib.contextmanager
def masking(row: Floats, mask: Mask) -> Iterator[None]:
    """Within the block the masked logits of `row` are minus infinity; then they are what they were.

    Raises:
        InputError: that leaves nothing.
    """
    whole = mask.dtype == np.bool_
    saved = row.copy() if whole else row[mask]
    row[mask] = -np.inf
    try:
        check_left(row)
        yield
    finally:
        row[slice(None) if whole else mask] = saved


def check_left(row: Floats) -> None:
    """Raise `InputError` where every logit is minus infinity: samplers would choose anything."""
    if float(row.max()) == -np.inf:
        raise InputError(NOTHING_LEFT.format(" at this place"), param="bad_words")
