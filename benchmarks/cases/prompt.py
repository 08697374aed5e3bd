"""Computing a prompt of 512 tokens: `Llama` in process beside ``llama-bench -p 512 -n 0``.

Both compute 512 random token ids in one batch of 512 (n_batch 2048, n_ubatch 512) into an empty memory. Ours asks for
one token more (``max_tokens=1``), so a draw and a whole result are in its wall time; llama-bench neither samples nor
builds a result. Every round has other ids, so that no cached prefix helps: the result's ``cache_n`` is checked to be
0.
"""

from __future__ import annotations

import random
import statistics
import time

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS", "N_PROMPT"]

N_PROMPT = 512


def ours(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import open_llama
    from benchmarks.raw import cpu_variant

    walls: list[float] = []
    rates: list[float] = []
    numbers = random.Random(1)
    with open_llama(settings) as llm:
        # distinct first tokens: two prompts never share a prefix
        firsts = numbers.sample(range(llm.n_vocab()), settings.inner + 1)
        for first in firsts:
            tokens = [first, *(numbers.randrange(llm.n_vocab()) for _ in range(N_PROMPT - 1))]
            start = time.perf_counter()
            result = llm.create_completion(tokens, max_tokens=1, temperature=0.0, ignore_eos=True)
            walls.append(time.perf_counter() - start)
            timings = result["timings"]
            if timings["prompt_n"] != N_PROMPT or timings["cache_n"]:
                raise RuntimeError(f"not the work that was asked for: {timings}")
            rates.append(timings["prompt_per_second"])
    return Measurement(
        N_PROMPT / statistics.median(walls[1:]),
        {"engine's tokens/s": statistics.median(rates[1:])},
        {"cpu backend": cpu_variant()},
    )


def llama_bench(settings: Settings) -> Measurement:
    from benchmarks.programs import LlamaBench

    done = LlamaBench(settings, n_prompt=N_PROMPT)
    return Measurement(statistics.median(done.samples), notes={"cpu backend": done.variant})


BENCHMARKS = (
    Benchmark(
        "prompt", "Llama, prompt of 512 tokens; llama-bench pp512", "tokens/s", ours, llama_bench, Goal("ratio", 0.97)
    ),
)
