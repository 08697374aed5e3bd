"""Generating 128 tokens one by one: `Llama` in process beside ``llama-bench -p 0 -n 128``.

llama-bench decodes 128 times from an empty memory, each time a random token, and samples nothing. Ours does the whole
job for a prompt of one token (BOS): 128 decodes, 128 draws from the vocabulary (greedy in `decode`, llama.cpp's
default chain at temperature 0.8 in `decode-sampled`), detokenizing, stop checks, the result. Its value is 128 over
the wall time of the whole call, so nothing is left out; the engine's own rate, which leaves out the first token, is
shown beside it. `raw-loop` is the least that Python can do: ctypes calls to llama_decode and a greedy sampler.
"""

from __future__ import annotations

import statistics
import time
from collections import deque
from typing import Any

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS", "N_GEN"]

N_GEN = 128


def _ours(settings: Settings, *, stream: bool = False, **sampling: Any) -> Measurement:
    from benchmarks.cases.sides import open_llama
    from benchmarks.raw import cpu_variant

    walls: list[float] = []
    rates: list[float] = []
    with open_llama(settings) as llm:
        for round_ in range(settings.inner + 1):
            options = {"max_tokens": N_GEN, "ignore_eos": True, "seed": 1, "stream": stream, **sampling}
            start = time.perf_counter()
            result: Any = llm.create_completion([llm.token_bos()], **options)
            if stream:
                result = deque(result, maxlen=1).pop()  # read to the end; the last chunk has the timings
            wall = time.perf_counter() - start
            timings = result["timings"]
            if timings["predicted_n"] != N_GEN or timings["cache_n"]:
                raise RuntimeError(f"not the work that was asked for: {timings}")
            if round_:  # the first one warms up
                walls.append(wall)
                rates.append(timings["predicted_per_second"])
    return Measurement(
        N_GEN / statistics.median(walls),
        {"engine's tokens/s": statistics.median(rates)},
        {"cpu backend": cpu_variant()},
    )


def greedy(settings: Settings) -> Measurement:
    return _ours(settings, temperature=0.0)


def sampled(settings: Settings) -> Measurement:
    return _ours(settings, temperature=0.8)


def streamed(settings: Settings) -> Measurement:
    return _ours(settings, temperature=0.0, stream=True)


def raw_loop(settings: Settings) -> Measurement:
    from benchmarks.raw import RawContext, cpu_variant

    raw = RawContext(settings)
    walls: list[float] = []
    for _ in range(settings.inner + 1):
        raw.forget()
        start = time.perf_counter()
        raw.generate_greedily(raw.bos(), N_GEN)
        walls.append(time.perf_counter() - start)
    raw.close()
    return Measurement(N_GEN / statistics.median(walls[1:]), notes={"cpu backend": cpu_variant()})


def llama_bench(settings: Settings) -> Measurement:
    from benchmarks.programs import LlamaBench

    done = LlamaBench(settings, n_gen=N_GEN)
    return Measurement(statistics.median(done.samples), notes={"cpu backend": done.variant})


BENCHMARKS = (
    Benchmark(
        "decode", "Llama, greedy, 128 tokens; llama-bench tg128", "tokens/s", greedy, llama_bench, Goal("ratio", 0.97)
    ),
    Benchmark(
        "decode-stream", "Llama, greedy, 128 tokens, streamed; llama-bench tg128", "tokens/s", streamed, llama_bench
    ),
    Benchmark(
        "decode-sampled",
        "Llama, llama.cpp's default sampler chain, 128 tokens; llama-bench tg128",
        "tokens/s",
        sampled,
        llama_bench,
    ),
    Benchmark("raw-loop", "bare ctypes loop, greedy, 128 tokens; llama-bench tg128", "tokens/s", raw_loop, llama_bench),
)
