"""16 questions through LangChain: `ChatLlamaBind.ainvoke` for all at once, beside `LlamaCpp.invoke` of
langchain-community over llama-cpp-python, one after the other; 64 tokens each at most, greedy.

`LlamaCpp` completes texts, so its prompts are written in the model's chat form by hand. Each side runs in an
environment of its own (`make judges`, `python -m benchmarks build`). The first round warms up.
"""

from __future__ import annotations

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS"]

AT_ONCE = 16
N_GEN = 64


def _measure(settings: Settings, *, ours: bool) -> Measurement:
    from benchmarks.peer import langchain
    from benchmarks.prompts import shared_prefix_texts

    rounds = [[text.strip() for text in shared_prefix_texts(AT_ONCE, 0, seed)] for seed in range(settings.inner + 1)]
    return langchain(settings, rounds, N_GEN, ours=ours)


def together(settings: Settings) -> Measurement:
    return _measure(settings, ours=True)


def one_by_one(settings: Settings) -> Measurement:
    return _measure(settings, ours=False)


BENCHMARKS = (
    Benchmark(
        "langchain16",
        "16 questions through LangChain, at once; llama-cpp-python, one after the other",
        "s",
        together,
        one_by_one,
        Goal("share", 1 / 3),
        warm=False,
    ),
)
