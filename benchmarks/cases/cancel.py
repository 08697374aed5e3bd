"""From a cancel in the middle of a prompt of 8000 tokens to an engine that works for others again.

A task asks for a completion of the prompt and is cancelled after a while; at once another completion is asked for, one
token of prompt and one generated. The value is what that takes longer than on an idle engine: the longest of several
cancels at moments early and late in the prompt. The goal allows 100 ms more than one micro-batch (512 tokens), as which
theirs stands: the time in which llama.cpp alone computes 512 tokens at the beginning of a context, where it is
shortest.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

if TYPE_CHECKING:
    from llama_bind import AsyncLlama, Llama

__all__ = ["BENCHMARKS"]

N_PROMPT = 8000
N_CTX = 2 * 8192
MOMENTS = (0.3, 1.0, 2.6, 5.2, 9.1)
"""Seconds after the request, at which it is cancelled."""
N_IDLE = 9
TIMEOUT = 120.0


async def answer(llm: AsyncLlama, token: int) -> float:
    """Seconds for one token to one token."""
    from benchmarks.cases.sides import GREEDY

    start = time.perf_counter()
    await asyncio.wait_for(llm.create_completion([token], max_tokens=1, **GREEDY), TIMEOUT)
    return time.perf_counter() - start


async def cancel(llm: AsyncLlama, prompt: list[int], after: float, token: int) -> float:
    """Seconds from the cancel to the answer to another request.

    Raises:
        RuntimeError: the prompt was computed before the cancel.
    """
    from benchmarks.cases.sides import GREEDY

    task = asyncio.create_task(llm.create_completion(prompt, max_tokens=1, **GREEDY))
    await asyncio.sleep(after)
    if task.done():
        raise RuntimeError(f"a prompt of {len(prompt)} tokens was computed within {after:g} s; nothing to cancel")
    start = time.perf_counter()
    task.cancel()
    await answer(llm, token)
    return time.perf_counter() - start


async def cancels(shared: Llama) -> tuple[list[float], float]:
    """What each cancel took, and what an answer takes on an idle engine."""
    from benchmarks.cases.sides import letters
    from benchmarks.prompts import distinct_ids
    from llama_bind import AsyncLlama

    llm, known = AsyncLlama.of(shared), letters(shared)
    prompts = distinct_ids(len(MOMENTS), N_PROMPT, known, seed=1)
    others = [token for token in known if all(token != prompt[0] for prompt in prompts)]
    idle = [await answer(llm, token) for token in others[: N_IDLE + 1]][1:]
    found: list[float] = []
    for prompt, after, token in zip(prompts, MOMENTS, others[N_IDLE + 1 :], strict=False):
        found.append(await cancel(llm, prompt, after, token))
        await llm.reset()
    return found, statistics.median(idle)


def ours(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import open_llama
    from benchmarks.raw import cpu_variant

    with open_llama(settings, n_ctx=N_CTX, n_seq_max=2, kv_unified=False) as llm:
        found, idle = asyncio.run(cancels(llm))
    extras = {f"cancelled after {after:g} s": took - idle for after, took in zip(MOMENTS, found, strict=True)}
    # an answer that is quicker than the idle ones' median is no negative time
    return Measurement(max(1e-6, max(found) - idle), {"idle answer": idle, **extras}, {"cpu backend": cpu_variant()})


def micro_batch(settings: Settings) -> Measurement:
    from benchmarks.raw import RawContext, cpu_variant

    raw = RawContext(settings)
    times: list[float] = []
    for _ in range(settings.inner + 1):
        raw.forget()
        start = time.perf_counter()
        raw.compute([raw.bos()] * settings.n_ubatch)
        times.append(time.perf_counter() - start)
    raw.close()
    return Measurement(statistics.median(times[1:]), notes={"cpu backend": cpu_variant()})


BENCHMARKS = (
    Benchmark(
        "cancel-latency",
        "cancel in a prompt of 8000 tokens until the engine is free; one micro-batch of llama.cpp's",
        "s",
        ours,
        micro_batch,
        Goal("difference", 0.1),
    ),
)
