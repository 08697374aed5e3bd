"""Prompts for benchmarks: reproducible, and sharing exactly what they should. Pure. Not for: tokenizing."""

from __future__ import annotations

import random
from collections.abc import Sequence

__all__ = ["WORDS", "distinct_ids", "distinct_texts", "shared_prefix_texts"]

WORDS = (
    *("apple", "bread", "castle", "desert", "eagle", "forest", "glass", "honey", "iron", "jungle", "kitchen", "lemon"),
    *("mountain", "needle", "otter", "pepper", "queen", "rabbit", "silver", "table", "uncle", "valley", "water"),
)
_TASKS = ("Tell a tale about", "Describe how people lived with", "Give a short history of", "Write a poem about")


def shared_prefix_texts(count: int, words: int, seed: int) -> list[str]:
    """`count` prompts that begin with the same `words` words, followed by a task of each one's own.

    With 400 words and the default model's vocabulary a prompt has about 448 tokens, and the model goes on for long.
    """
    numbers = random.Random(seed)
    shared = " ".join(numbers.choices(WORDS, k=words))
    return [f"{shared}\n\n{_task(i, numbers)}" for i in range(count)]


def _task(index: int, numbers: random.Random) -> str:
    what, first, second = numbers.choice(_TASKS), numbers.choice(WORDS), numbers.choice(WORDS)
    return f"{what} the {first} and the {second}, in ten sentences (request {index}).\n\nOne day the {first}"


def distinct_texts(count: int, words: int, seed: int) -> list[str]:
    """`count` texts of `words` words, no two of which begin with the same word.

    Raises:
        ValueError: there are not that many words to begin with.
    """
    numbers = random.Random(seed)
    firsts = numbers.sample(WORDS, count)
    return [" ".join([first.capitalize(), *numbers.choices(WORDS, k=words - 1)]) for first in firsts]


def distinct_ids(count: int, length: int, known: Sequence[int], seed: int) -> list[list[int]]:
    """`count` prompts of `length` token ids out of `known`, no two of which begin with the same id.

    Raises:
        ValueError: `known` has fewer than `count` ids.
    """
    numbers = random.Random(seed)
    return [[first, *numbers.choices(known, k=length - 1)] for first in numbers.sample(known, count)]
