"""llama.cpp's sampling tests: ``test-sampling.cpp``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tests.vectors import LLAMA_CPP
from tests.vectors.cpp_calls import calls

SOURCE = LLAMA_CPP / "tests" / "test-sampling.cpp"
KINDS = (
    "temp", "temp_ext", "top_k", "top_p", "min_p", "xtc", "typical", "penalties", "dry", "top_n_sigma",
)  # fmt: skip


@dataclass(frozen=True)
class Case:
    """One sampler on one distribution.

    Attributes:
        kind: which sampler.
        probs, expected: probabilities before, and of what is left after, in the order left.
        last_tokens: tokens accepted before.
        args: the sampler's options as the test orders them.
    """

    kind: str
    probs: list[float]
    expected: list[float]
    last_tokens: list[int]
    args: list[Any]


@dataclass(frozen=True)
class Queue:
    """A sequence of samplers (k, p, m: top-k, top-p, min-p), a draw after each, over logits log(id)."""

    n_vocab: int
    samplers: str
    top_k: int
    top_p: float
    min_p: float


def cases() -> list[Case]:
    found = []
    for name, args in calls(SOURCE, *(f"test_{kind}" for kind in KINDS)):
        kind = name.removeprefix("test_")
        if kind in ("penalties", "dry"):
            probs, last, expected, *rest = args
        else:
            (probs, expected, *rest), last = args, []
        found.append(Case(kind, probs, expected, last, rest))
    return found


def queues() -> list[Queue]:
    return [Queue(*args) for _, args in calls(SOURCE, "test_sampler_queue")]
