"""Memory after 10,000 short requests, as a multiple of what it was after the first 1,000.

Requests of 8 tokens of prompt and 2 generated, 16 at a time; every hundredth is a stream that is closed after its first
piece. Resident memory is read when nothing runs. A leak of 1 KiB for each request would show as about 1.03 with the
default model. `KiB` for each request is the growth over the 9,000; it may be below zero.
"""

from __future__ import annotations

import gc
import os
import resource
import sys

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS"]

N_REQUESTS = 10_000
ROUND = 1000
N_PROMPT = 8
N_GEN = 2


def resident_kib() -> float:
    """Now where the system tells, else the most so far."""
    if os.path.exists("/proc/self/statm"):
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 1024
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1024 if sys.platform == "darwin" else most


def ours(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import GREEDY, letters, open_llama
    from benchmarks.prompts import distinct_ids
    from benchmarks.raw import cpu_variant

    sizes: list[float] = []
    with open_llama(settings, n_ctx=256, n_seq_max=16) as llm:
        known = letters(llm)
        for number in range(N_REQUESTS // ROUND):
            prompts = distinct_ids(ROUND, N_PROMPT, known, seed=number)
            results = llm.generate_many(prompts, max_tokens=N_GEN, **GREEDY)
            if len(results) != ROUND or results[0]["timings"]["predicted_n"] != N_GEN:
                raise RuntimeError("not the work that was asked for")
            for prompt in prompts[::100]:
                stream = llm.create_completion(prompt, stream=True, **GREEDY)
                next(stream)
                stream.close()
            del results, prompts
            gc.collect()
            sizes.append(resident_kib())
        stats = llm.stats
    grown = (sizes[-1] - sizes[0]) / (N_REQUESTS - ROUND)
    return Measurement(
        sizes[-1] / sizes[0],
        {
            "MiB after 1,000": sizes[0] / 1024,
            "MiB after 10,000": sizes[-1] / 1024,
            "KiB for each request": grown,
            "requests": float(stats.requests),
            "failed": float(stats.failed),
        },
        {"cpu backend": cpu_variant()},
    )


BENCHMARKS = (
    Benchmark(
        "memory-10000",
        "resident memory after 10,000 short requests over that after 1,000",
        "times",
        ours,
        goal=Goal("value", 1.01),
        repeats=1,
        warm=False,
    ),
)
