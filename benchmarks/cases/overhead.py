"""Python's work for one generated token, outside native calls.

Method: a clock around every native function (`benchmarks.native_time`), 256 tokens generated greedily, and for each
token the CPU time of the engine's thread from one call of lb_step to the next, less the native calls in between.
The median over the tokens counts; the mean and the 95th percentile are shown. `overhead-stream` iterates over a
stream in another thread and adds that thread's CPU time per token, the shaping of chunks included. The clocks
themselves (a microsecond for each native call) count as Python's work.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

from benchmarks.registry import Benchmark, Goal, Measurement, Settings
from benchmarks.stats import percentile

__all__ = ["BENCHMARKS", "N_TOKENS"]

N_TOKENS = 256
STEP = "lb_step"


def _measure(settings: Settings, *, stream: bool) -> Measurement:
    from benchmarks.cases.sides import open_llama
    from benchmarks.native_time import Calls, python_time_per_step

    calls = Calls()
    calls.install()
    options: dict[str, Any] = {"max_tokens": N_TOKENS, "temperature": 0.0, "ignore_eos": True}
    with open_llama(settings) as llm:
        llm.create_completion([llm.token_bos()], **options)
        calls.take()
        own = time.thread_time()
        if stream:
            for _ in llm.create_completion([llm.token_bos()], stream=True, **options):
                pass
        else:
            llm.create_completion([llm.token_bos()], **options)
        own = (time.thread_time() - own) * 1e6 / N_TOKENS
        log = calls.take()
    gaps = python_time_per_step(log, STEP)
    engine = statistics.median(gaps)
    return Measurement(
        engine + own,
        {
            "engine thread, us": engine,
            "engine thread, mean": statistics.mean(gaps),
            "engine thread, 95th percentile": percentile(gaps, 0.95),
            "calling thread, us": own,
            "native calls per token": len(log) / N_TOKENS,
        },
    )


def whole(settings: Settings) -> Measurement:
    return _measure(settings, stream=False)


def streamed(settings: Settings) -> Measurement:
    return _measure(settings, stream=True)


GOAL = Goal("value", 60.0)
BENCHMARKS = (
    Benchmark("overhead", "Python work per token, outside C calls", "us", whole, goal=GOAL),
    Benchmark(
        "overhead-stream", "Python work per token with a reading thread, outside C calls", "us", streamed, goal=GOAL
    ),
)
