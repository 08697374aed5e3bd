"""Beam search told plainly, and without a beam: what the real one is compared with."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Model = Callable[[tuple[int, ...]], "np.ndarray[Any, np.dtype[np.float64]]"]
"""Tokens (the prompt is the first, 0) -> log probabilities of the next, shape (n_vocab,)."""


def every_text(logprobs: Model, n_vocab: int, ends: set[int], most: int, penalty: float) -> list[tuple[Any, float]]:
    """All texts that end, or have `most` tokens, best first: by trying them all."""
    found = []
    for length in range(1, most + 1):
        for tokens in itertools.product(range(n_vocab), repeat=length):
            whole = not ends & set(tokens[:-1]) and (tokens[-1] in ends or length == most)
            if whole:
                total = sum(float(logprobs((0, *tokens[:i]))[tokens[i]]) for i in range(length))
                found.append((tokens, total / length**penalty))
    return sorted(found, key=lambda f: (-f[1], f[0]))


def plain_search(logprobs: Model, width: int, most: int, penalty: float, ends: set[int]) -> list[tuple[int, ...]]:
    """The same search told plainly, without stopping early."""

    def score(found: tuple[tuple[int, ...], float]) -> tuple[float, tuple[int, ...]]:
        return -found[1] / max(len(found[0]), 1) ** penalty, found[0]

    live: list[tuple[tuple[int, ...], float]] = [((), 0.0)]
    finished: list[tuple[tuple[int, ...], float]] = []
    for _ in range(most):
        following: list[tuple[tuple[int, ...], float]] = []
        for tokens, total in live:
            after = logprobs((0, *tokens))
            for t in sorted(range(len(after)), key=lambda t: -after[t])[: max(2 * width, width + len(ends))]:
                (finished if t in ends else following).append(((*tokens, t), total + float(after[t])))
        live = sorted(following, key=score)[:width]
    return [tokens for tokens, _ in sorted(finished + live, key=score)[:width]]
