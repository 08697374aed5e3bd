"""16 requests whose prompts of about 448 tokens share their first 400 words, 8 at a time, 16 tokens each, greedy.

Ours: one `AsyncLlama` and 16 tasks of which 8 run at a time (`shared-prefix`), or one `Llama` and 8 threads
(`shared-prefix-threads`). Theirs: llama-server with 8 slots and its other options at their defaults, asked over
loopback by 8 threads; or llama-cpp-python (`shared-prefix-peer`), which completes one after the other and keeps what
the next prompt shares with the one before. Each takes the prompts as text. Ours and llama-server are told to ignore
the end of a text; llama-cpp-python cannot but by a slower way, and the prompts are such that it hardly matters:
`generated tokens` shows it (256 for all).

The value is the wall time of the 16. Every round has another shared text, so that nothing is left of the round before;
the first round warms up. The texts are compared: how many are the same on both sides is shown, and some of ours are
computed again alone, in an empty memory. Where such a text differs, the token that it chose must have been nearly as
likely as the best one (`benchmarks.agreement`), else the run fails: a prefix shared wrongly would be fast, too.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.cases.sides import GREEDY
from benchmarks.registry import Benchmark, Goal, Measurement, Settings

if TYPE_CHECKING:
    from llama_bind import AsyncLlama, Llama

__all__ = ["BENCHMARKS"]

N_REQUESTS = 16
AT_ONCE = 8
N_GEN = 16
N_WORDS = 400
N_CTX = 8192
LAYOUT: dict[str, Any] = {"n_ctx": N_CTX // AT_ONCE, "n_seq_max": AT_ONCE, "kv_unified": False}
"""As many cells in all as llama-server has."""
OPTIONS: dict[str, Any] = {"max_tokens": N_GEN, **GREEDY}
TIMEOUT = 400.0
N_CHECKED = 4
GAP = 0.5
"""Nats. Rounding moves log probabilities of this model by up to about 0.2; texts of a wrong prefix are nats apart."""
Round = tuple[float, list[Any]]
"""Seconds, and the results in the order of the prompts."""


def prompts(settings: Settings) -> list[list[str]]:
    from benchmarks.prompts import shared_prefix_texts

    return [shared_prefix_texts(N_REQUESTS, N_WORDS, seed) for seed in range(settings.inner + 1)]


def check(llm: Llama, texts: list[str], results: list[Any]) -> float:
    """The largest gap of some texts to the same request computed alone.

    Raises:
        RuntimeError: it is too large for rounding.
    """
    from benchmarks.agreement import gap_where_texts_part

    largest = 0.0
    for i in range(0, N_REQUESTS, N_REQUESTS // N_CHECKED):
        llm.reset()
        alone: Any = llm.create_completion(texts[i], logprobs=10, **OPTIONS)
        logprobs, text = alone["choices"][0]["logprobs"], results[i]["choices"][0]["text"]
        gap = gap_where_texts_part(text, logprobs["tokens"], logprobs["top_logprobs"])
        if alone["timings"]["cache_n"] or gap > GAP:
            raise RuntimeError(f"{gap:.3g} nats from what the model says: {text!r} or {alone['choices'][0]['text']!r}")
        largest = max(largest, gap)
    return largest


def summary(llm: Llama, texts: list[str], rounds: list[Round]) -> Measurement:
    from benchmarks.raw import cpu_variant

    last = rounds[-1][1]
    return Measurement(
        statistics.median(wall for wall, _ in rounds[1:]),
        {
            "prompt tokens": float(sum(r["usage"]["prompt_tokens"] for r in last)),
            "prompt tokens computed": float(sum(r["timings"]["prompt_n"] for r in last)),
            "generated tokens": float(sum(r["timings"]["predicted_n"] for r in last)),
            "largest gap to texts computed alone, nats": check(llm, texts, last),
        },
        {"cpu backend": cpu_variant()},
        tuple(r["choices"][0]["text"] for r in last),
    )


async def round_async(llm: AsyncLlama, texts: list[str]) -> Round:
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(text: str) -> Any:
        async with gate:
            return await llm.create_completion(text, **OPTIONS)

    start = time.perf_counter()
    results = await asyncio.wait_for(asyncio.gather(*(one(text) for text in texts)), TIMEOUT)
    return time.perf_counter() - start, list(results)


async def rounds_async(llm: AsyncLlama, texts: list[list[str]]) -> list[Round]:
    return [await round_async(llm, one) for one in texts]


def round_threads(complete: Callable[[str], Any], texts: list[str]) -> Round:
    from benchmarks.crowd import Crowd

    crowd: Crowd[Any] = Crowd([functools.partial(complete, text) for text in texts], AT_ONCE, TIMEOUT)
    return crowd.wall, crowd.values()


def tasks(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import open_llama
    from llama_bind import AsyncLlama

    texts = prompts(settings)
    with open_llama(settings, **LAYOUT) as llm:
        return summary(llm, texts[-1], asyncio.run(rounds_async(AsyncLlama.of(llm), texts)))


def threads(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import open_llama

    def complete(text: str) -> Any:
        return llm.create_completion(text, **OPTIONS)

    rounds = prompts(settings)
    llm: Llama
    with open_llama(settings, **LAYOUT) as llm:
        return summary(llm, rounds[-1], [round_threads(complete, texts) for texts in rounds])


def server(settings: Settings) -> Measurement:
    from benchmarks.server import LlamaServer

    with LlamaServer(settings, "-np", str(AT_ONCE)) as running:

        def complete(text: str) -> Any:
            return running.complete({"prompt": text, "n_predict": N_GEN, **GREEDY})

        rounds = [round_threads(complete, texts) for texts in prompts(settings)]
    last = rounds[-1][1]
    return Measurement(
        statistics.median(wall for wall, _ in rounds[1:]),
        {
            "prompt tokens computed": float(sum(r["timings"]["prompt_n"] for r in last)),
            "generated tokens": float(sum(r["timings"]["predicted_n"] for r in last)),
        },
        {"cpu backend": running.variant},
        tuple(r["content"] for r in last),
    )


def peer(settings: Settings) -> Measurement:
    from benchmarks.peer import sequentially

    return sequentially(settings, prompts(settings), N_GEN, N_CTX)


GOAL = Goal("share", 1 / 3)
BENCHMARKS = (
    Benchmark(
        "shared-prefix",
        "16 prompts sharing 400 words, 8 tasks at a time, 16 tokens each; llama-server",
        "s",
        tasks,
        server,
        GOAL,
    ),
    Benchmark("shared-prefix-threads", "the same from 8 threads; llama-server", "s", threads, server, GOAL),
    Benchmark("shared-prefix-peer", "the same from 8 tasks; llama-cpp-python, one after the other", "s", tasks, peer),
)
