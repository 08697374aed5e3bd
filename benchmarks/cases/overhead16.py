"""Python's work for one generated token outside native calls, while 16 sequences decode together.

Method as in `overhead`: a clock around every native function; the CPU time of the engine's thread from one call of
llama_decode to the next, less the native calls in between, over the 16 tokens that each step gives. The median over
the steps counts, which leaves out the first and last ones, when not all 16 run. All sample with the default chain.
`overhead16` waits for the texts, in one call of `generate_many`; `overhead16-stream` iterates over 16 streams in 16
threads, whose own CPU time per token, the shaping of chunks included, is shown beside it.
"""

from __future__ import annotations

import statistics
import threading
import time
from typing import TYPE_CHECKING, Any

from benchmarks.registry import Benchmark, Goal, Measurement, Settings
from benchmarks.stats import percentile

if TYPE_CHECKING:
    from llama_bind import Llama

__all__ = ["BENCHMARKS", "N_PARALLEL", "N_TOKENS"]

N_PARALLEL = 16
N_TOKENS = 96
STEP = "llama_decode"
TIMEOUT = 300.0
OPTIONS: dict[str, Any] = {"max_tokens": N_TOKENS, "ignore_eos": True}


def read_streams(llm: Llama, prompts: list[list[int]]) -> float:
    """CPU seconds that the reading threads took."""
    taken: list[float] = []

    def read(prompt: list[int]) -> None:
        start = time.thread_time()
        for _ in llm.create_completion(prompt, stream=True, **OPTIONS):
            pass
        taken.append(time.thread_time() - start)

    threads = [threading.Thread(target=read, args=(prompt,), daemon=True) for prompt in prompts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(TIMEOUT)
    if len(taken) < len(prompts):
        raise RuntimeError(f"{len(prompts) - len(taken)} of the streams failed or took over {TIMEOUT:g} s")
    return sum(taken)


def _measure(settings: Settings, *, stream: bool) -> Measurement:
    from benchmarks.cases.batched16 import LAYOUT
    from benchmarks.cases.sides import letters, open_llama
    from benchmarks.native_time import Calls, python_time_per_step

    calls = Calls()
    calls.install()
    with open_llama(settings, **LAYOUT) as llm:
        first = letters(llm)
        prompts = [[first[i]] for i in range(N_PARALLEL)]
        llm.generate_many(prompts, **{**OPTIONS, "max_tokens": 8})
        calls.take()
        own = time.thread_time()
        if stream:
            own = read_streams(llm, prompts)
        else:
            llm.generate_many(prompts, **OPTIONS)
            own = time.thread_time() - own
        log = calls.take()
    n_tokens = N_PARALLEL * N_TOKENS
    gaps = [gap / N_PARALLEL for gap in python_time_per_step(log, STEP)]
    return Measurement(
        statistics.median(gaps),
        {
            "mean": statistics.mean(gaps),
            "95th percentile": percentile(gaps, 0.95),
            "calling threads, us": own * 1e6 / n_tokens,
            "native calls per token": len(log) / n_tokens,
            "steps": len(gaps),
        },
    )


def whole(settings: Settings) -> Measurement:
    return _measure(settings, stream=False)


def streamed(settings: Settings) -> Measurement:
    return _measure(settings, stream=True)


GOAL = Goal("value", 60.0)
BENCHMARKS = (
    Benchmark("overhead16", "engine thread's Python work per token of 16 sequences", "us", whole, goal=GOAL),
    Benchmark("overhead16-stream", "the same while 16 threads read streams", "us", streamed, goal=GOAL),
)
