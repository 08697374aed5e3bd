"""16 generations at once, 64 tokens of prompt and 64 generated each, beside ``llama-batched-bench -npp 64 -ntg 64
-npl 16``.

llama-batched-bench computes all prompts in one batch, then decodes 64 random tokens in each of 16 sequences and samples
nothing; its rate S_TG is 1024 tokens over the time of those decodes. Ours are 16 threads that call one `Llama`
(`batched16`), or 16 tasks that read streams of one `AsyncLlama` (`batched16-async`), all greedy. The prompts differ
from the first token on, and that nothing of them came from a cache is checked.

The 16 arrive together, as they do there: the engine is held until all have asked. The value is the rate while all 16
decode: from the moment when the last of them has its first token to the moment when the first has its last. In that
window every step gives each sequence one token, so the tokens are counted from one
stream's pieces: in `batched16` one of the 16 threads streams, the others wait for their results, whose timings say when
their first token was there. A piece of two tokens counts once, so the rate is never too high. `wall s` is the time of
all of it, from letting the engine go to the last token: prompts included.

Both sides use partitioned memory: each sequence has its own part of the cache (``--no-kv-unified`` there,
``kv_unified=False`` here), with room for 256 tokens.
"""

from __future__ import annotations

import asyncio
import functools
import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.registry import Benchmark, Goal, Measurement, Settings
from benchmarks.windows import common_window, count_within

if TYPE_CHECKING:
    from llama_bind import AsyncLlama, Llama

__all__ = ["BENCHMARKS"]

N_PARALLEL = 16
N_PROMPT = 64
N_GEN = 64
LAYOUT: dict[str, Any] = {"n_seq_max": N_PARALLEL, "kv_unified": False}
TIMEOUT = 120.0
ASKING = 0.2
"""Seconds until all have surely asked; they take some milliseconds."""
Span = tuple[float, float, list[float]]
"""When a request's first token was there, when its last, and when each piece came (none where nobody streamed)."""
Round = tuple[float, float, float]
"""Tokens per second, seconds of all of it, steps in which all decoded."""


def prompts(llm: Llama, seed: int) -> list[list[int]]:
    """Token ids of texts that differ from their first word on."""
    from benchmarks.prompts import distinct_texts

    texts = distinct_texts(N_PARALLEL, N_PROMPT, seed)
    return [llm.tokenize(text, add_bos=False)[:N_PROMPT] for text in texts]


def round_of(spans: list[Span], released: float) -> Round:
    """Tokens per second of all together while all of them decode, and what else a round shows.

    Raises:
        RuntimeError: that was less than a quarter of the time, and says nothing.
    """
    window = common_window([start for start, _, _ in spans], [end for _, end, _ in spans])
    counts = [count_within(times, window) for _, _, times in spans if times]
    tokens = statistics.mean(counts) * len(spans)
    if tokens < len(spans) * N_GEN / 4:
        raise RuntimeError(f"all decoded at the same time for {window[1] - window[0]:.2f} s only: {counts} steps")
    wall = max(end for _, end, _ in spans) - released
    return tokens / (window[1] - window[0]), wall, tokens / len(spans)


def measurement(rounds: list[Round]) -> Measurement:
    """Medians of the rounds after the first, which warms up."""
    from benchmarks.raw import cpu_variant

    value, wall, steps = (statistics.median(column) for column in zip(*rounds[1:], strict=True))
    return Measurement(value, {"wall s": wall, "steps in which all decode": steps}, {"cpu backend": cpu_variant()})


def one(llm: Llama, prompt: list[int], gate: threading.Barrier, *, stream: bool) -> Span:
    from benchmarks.cases.sides import GREEDY, check_work

    gate.wait(TIMEOUT)
    times: list[float] = []
    result: Any = None
    if stream:
        for result in llm.create_completion(prompt, max_tokens=N_GEN, stream=True, **GREEDY):
            if result["choices"][0]["text"]:
                times.append(time.perf_counter())
    else:
        result = llm.create_completion(prompt, max_tokens=N_GEN, **GREEDY)
    end = time.perf_counter()
    check_work(result, generated=N_GEN)
    return end - result["timings"]["predicted_ms"] / 1e3, end, times


def threads(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import Hold, open_llama
    from benchmarks.crowd import Crowd

    found: list[Round] = []
    with open_llama(settings, **LAYOUT) as llm:
        for round_ in range(settings.inner + 1):
            llm.reset()
            hold = Hold(llm)
            gate = threading.Barrier(N_PARALLEL, threading.Timer(ASKING, hold.release).start)
            jobs = [
                functools.partial(one, llm, prompt, gate, stream=i == 0)
                for i, prompt in enumerate(prompts(llm, round_))
            ]
            crowd: Crowd[Span] = Crowd(jobs, N_PARALLEL, TIMEOUT)
            found.append(round_of(crowd.values(), hold.released))
    return measurement(found)


async def one_async(llm: AsyncLlama, prompt: list[int]) -> Span:
    from benchmarks.cases.sides import GREEDY, check_work

    times: list[float] = []
    last: Any = None
    async for last in await llm.create_completion(prompt, max_tokens=N_GEN, stream=True, **GREEDY):
        if last["choices"][0]["text"]:
            times.append(time.perf_counter())
    check_work(last, generated=N_GEN)
    return times[0], times[-1], times


async def rounds_async(settings: Settings, llm: Llama) -> list[Round]:
    from benchmarks.cases.sides import Hold
    from llama_bind import AsyncLlama

    shared = AsyncLlama.of(llm)
    found: list[Round] = []
    for round_ in range(settings.inner + 1):
        await shared.reset()
        texts = prompts(llm, round_)
        hold = Hold(llm)
        asked = asyncio.gather(*(one_async(shared, text) for text in texts))
        await asyncio.sleep(ASKING)
        hold.release()
        spans = await asyncio.wait_for(asked, TIMEOUT)
        found.append(round_of(list(spans), hold.released))
    return found


def tasks(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import open_llama

    with open_llama(settings, **LAYOUT) as llm:
        return measurement(asyncio.run(rounds_async(settings, llm)))


def batched_bench(settings: Settings) -> Measurement:
    from benchmarks.programs import BatchedBench

    done = BatchedBench(settings, n_prompt=N_PROMPT, n_gen=N_GEN, n_parallel=N_PARALLEL)
    return Measurement(statistics.median(done.speeds), {"wall s": statistics.median(done.walls)})


BENCHMARKS = (
    Benchmark(
        "batched16",
        "16 threads, 64 + 64 tokens each, while all decode; llama-batched-bench at 16",
        "tokens/s",
        threads,
        batched_bench,
        Goal("ratio", 0.95),
    ),
    Benchmark(
        "batched16-async",
        "the same from 16 streaming tasks; llama-batched-bench at 16",
        "tokens/s",
        tasks,
        batched_bench,
    ),
)
