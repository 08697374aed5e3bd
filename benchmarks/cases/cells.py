"""32 requests of 150 tokens of prompt and 150 generated, all at once, on a cache of 2048 cells that they share.

They need 9600 cells together, each of them fits alone: all must finish. The value is how many did, with all their
tokens. `wall s` is the time until the last one ended. Ours: 32 threads, ``n_ctx=2048, n_seq_max=32,
kv_unified=True``. Theirs, for information: llama-server with ``-c 2048 -np 32 --kv-unified``.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS"]

N_REQUESTS = 32
N_PROMPT = 150
N_GEN = 150
N_CTX = 2048
TIMEOUT = 600.0


def prompts(known: list[int]) -> list[list[int]]:
    from benchmarks.prompts import distinct_ids

    return distinct_ids(N_REQUESTS, N_PROMPT, known, seed=1)


def measurement(finished: int, errors: list[Exception], extras: dict[str, float], variant: str) -> Measurement:
    first = f"{type(errors[0]).__name__}: {errors[0]}" if errors else ""
    return Measurement(float(finished), extras, {"cpu backend": variant, "first error": first})


def ours(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import GREEDY, letters, open_llama
    from benchmarks.crowd import Crowd
    from benchmarks.raw import cpu_variant

    with open_llama(settings, n_ctx=N_CTX, n_seq_max=N_REQUESTS, kv_unified=True) as llm:

        def one(prompt: list[int]) -> int:
            result: Any = llm.create_completion(prompt, max_tokens=N_GEN, **GREEDY)
            return int(result["usage"]["completion_tokens"])

        jobs = [functools.partial(one, prompt) for prompt in prompts(letters(llm))]
        crowd: Crowd[int] = Crowd(jobs, N_REQUESTS, TIMEOUT)
        stats = dataclasses.asdict(llm.engine.stats)
    extras = {"wall s": crowd.wall}
    extras |= {name: float(value) for name, value in stats.items() if "preempt" in name and isinstance(value, int)}
    return measurement(sum(n == N_GEN for n in crowd.results), crowd.errors(), extras, cpu_variant())


def server(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import GREEDY, letters
    from benchmarks.crowd import Crowd
    from benchmarks.server import LlamaServer
    from llama_bind import Llama

    with Llama(str(settings.model), vocab_only=True) as llm:
        known = letters(llm)
    with LlamaServer(settings, "-c", str(N_CTX), "-np", str(N_REQUESTS), "--kv-unified") as running:

        def one(prompt: list[int]) -> int:
            return int(running.complete({"prompt": prompt, "n_predict": N_GEN, **GREEDY})["tokens_predicted"])

        crowd: Crowd[int] = Crowd([functools.partial(one, p) for p in prompts(known)], N_REQUESTS, TIMEOUT)
    finished = sum(n == N_GEN for n in crowd.results)
    return measurement(finished, crowd.errors(), {"wall s": crowd.wall}, running.variant)


BENCHMARKS = (
    Benchmark(
        "cells-2048",
        "requests that finish, of 32 with 300 tokens each on 2048 cells; llama-server",
        "requests",
        ours,
        server,
        Goal("least", N_REQUESTS),
        counts=True,
        warm=False,
    ),
)
