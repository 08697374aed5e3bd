"""Prompt lookup beside the same calls without it: `Llama(draft_model="prompt-lookup")`, and `n_draft=0`.

`lookup-copy`: the prompt asks to repeat a passage that it contains, greedily; most of the text can be found in the
prompt. `lookup-plain`: stories and explanations at temperature 0.8, in which little repeats, so that only the cost of
looking and of wrong guesses shows. One stream. The prompts are computed by a call before, so that the time is that of
generating. Calls with and without take turns on one model: where a process has its weights makes more of a difference
than guessing in vain. Both generate the same tokens, or the measurement fails.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS"]

PASSAGE = (
    "The old lighthouse stood at the edge of the bay, where the wind never rested. Each evening Mara climbed the "
    "ninety-two steps with a lantern in one hand and a tin of oil in the other, counting the gulls that followed her. "
    "Nobody in the village remembered who had built the tower, but everyone knew the tale of the night when its lamp "
    "went out and eleven boats were lost on the reef. Since then the keepers had written down every ship that passed, "
    "its colour, its flag and the weather, in a book bound with fishing line. Mara was the fourth to write in it. On "
    "the first page the first keeper had drawn a map of the rocks, and beside each rock the name of a boat. She had "
    "learned those names before she learned to read, and sometimes, when the fog came in, she said them aloud."
)
COPY = (f"Repeat the following text exactly, word for word.\n\n{PASSAGE}",)
PLAIN = (
    "Tell me a story about a dragon and a baker.",
    "Explain how rain forms, in detail.",
    "Write an essay on the history of sea trade.",
)
N_COPIED = 160
N_PLAIN = 128
ROUNDS = 3
"""Rounds of calls for each inner measurement: a call takes a second or two, and machines change their speed."""


def _ratio(settings: Settings, prompts: tuple[str, ...], n_tokens: int, temperature: float) -> Measurement:
    """How many times as fast as without."""
    from benchmarks.cases.sides import check_work, open_llama
    from benchmarks.raw import cpu_variant

    options: dict[str, Any] = {"max_tokens": n_tokens, "ignore_eos": True, "temperature": temperature, "seed": 7}
    ratios: list[float] = []
    seconds = {"with": 0.0, "without": 0.0}
    with open_llama(settings, n_seq_max=len(prompts), n_ctx=1024 * len(prompts), draft_model="prompt-lookup") as llm:

        def call(prompt: str, side: str) -> tuple[float, str]:
            more: Any = {} if side == "with" else {"n_draft": 0}
            start = time.perf_counter()
            result: Any = llm.create_chat_completion([{"role": "user", "content": prompt}], **options, **more)
            wall = time.perf_counter() - start
            check_work(result, generated=n_tokens, cached=None)
            return wall, result["choices"][0]["message"]["content"]

        for prompt in prompts:  # computes it
            texts = {call(prompt, side)[1] for side in seconds}
            if len(texts) > 1:
                raise RuntimeError(f"not the same text with and without guesses: {sorted(texts)}")
        for round_ in range(ROUNDS * settings.inner):
            wall = dict.fromkeys(seconds, 0.0)
            for prompt in prompts:
                for side in sorted(wall, reverse=bool(round_ % 2)):
                    wall[side] += call(prompt, side)[0]
            ratios.append(wall["without"] / wall["with"])
            seconds = {side: seconds[side] + wall[side] for side in seconds}
        stats = llm.engine.stats
    n_all = len(ratios) * len(prompts) * n_tokens
    extras = {f"tokens/s {side}": n_all / spent for side, spent in seconds.items()}
    extras |= {"guessed": float(stats.drafted_tokens), "held": float(stats.accepted_tokens)}
    return Measurement(statistics.median(ratios), extras, {"cpu backend": cpu_variant()})


def copying(settings: Settings) -> Measurement:
    return _ratio(settings, COPY, N_COPIED, 0.0)


def plain(settings: Settings) -> Measurement:
    return _ratio(settings, PLAIN, N_PLAIN, 0.8)


BENCHMARKS = (
    Benchmark(
        "lookup-copy",
        f"a passage of the prompt repeated, {N_COPIED} tokens, with prompt lookup over without",
        "times",
        copying,
        goal=Goal("least", 1.5),
    ),
    Benchmark(
        "lookup-plain",
        f"ordinary text, {len(PLAIN)} x {N_PLAIN} tokens, with prompt lookup over without",
        "times",
        plain,
        goal=Goal("least", 0.97),
    ),
)
