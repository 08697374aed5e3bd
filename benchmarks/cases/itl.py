"""Time between the tokens of 4 running streams while a prompt of 4000 tokens arrives, beside the same 4 undisturbed.

The streams begin with 64 tokens of prompt each and run on. Once each has given 128 tokens the long prompt is submitted
with one token to generate, and until that is there every gap of which a part lies in between is a disturbed one. The
undisturbed ones are the 96 of each stream before and the 96 after: a stream that has become longer is slower by itself.
The value is the 95th percentile of the disturbed gaps over that of the undisturbed ones. Shown beside it: both, the
medians, the largest, and the long prompt's time to its first token.

Ours: 4 threads that read streams of one `Llama`, whose steps have a target (`step_target`): `STEP_TARGET` seconds, or
what ``--step-target`` says; ``--step-target 0`` leaves the option at its default. Theirs, for information: llama-server
with 5 slots of the same size, read by 4 threads over loopback.

``python -m benchmarks sweep`` runs our side for several targets: the shorter a step, the smoother the streams and the
longer the wait for the long prompt.
"""

from __future__ import annotations

import functools
import statistics
import threading
import time
from collections.abc import Callable, Generator
from typing import Any

from benchmarks.registry import Benchmark, Goal, Measurement, Settings
from benchmarks.stats import percentile
from benchmarks.windows import gaps_within

__all__ = ["BENCHMARKS"]

N_STREAMS = 4
N_SHORT = 64
N_LONG = 4000
N_WARM = 32
N_UNDISTURBED = 96
STEP_TARGET = 0.02
CELLS = 4352
"""Tokens that each sequence has room for: the long prompt, or a stream that runs as long as that takes."""
N_CTX = CELLS * (N_STREAMS + 1)
TIMEOUT = 600.0

OpenStream = Callable[[list[int]], Generator[Any, None, None]]
FirstToken = Callable[[list[int]], None]


class Streams:
    """Reads streams in threads of their own and keeps the moment of every piece."""

    def __init__(self, open_stream: OpenStream, prompts: list[list[int]]) -> None:
        self.times: list[list[float]] = [[] for _ in prompts]
        self.errors: list[Exception] = []
        self._stop = threading.Event()
        work = [functools.partial(self._read, open_stream, p, t) for p, t in zip(prompts, self.times, strict=True)]
        self._threads = [threading.Thread(target=one, daemon=True) for one in work]
        for thread in self._threads:
            thread.start()

    def _read(self, open_stream: OpenStream, prompt: list[int], times: list[float]) -> None:
        try:
            pieces = open_stream(prompt)
            for _ in pieces:
                times.append(time.perf_counter())
                if self._stop.is_set():
                    break
            else:
                raise RuntimeError(f"a stream ended by itself after {len(times)} pieces")
            pieces.close()
        except Exception as error:
            self.errors.append(error)

    def wait_for(self, count: int) -> float:
        """Until each stream gave `count` pieces; the moment.

        Raises:
            RuntimeError, TimeoutError: a stream failed or ended, or it took too long.
        """
        deadline = time.perf_counter() + TIMEOUT
        while min(map(len, self.times)) < count:
            self.check()
            if time.perf_counter() > deadline:
                raise TimeoutError(f"the streams gave {[len(t) for t in self.times]} pieces in {TIMEOUT:g} s")
            time.sleep(0.002)
        return time.perf_counter()

    def check(self) -> None:
        """Raises what ended a stream."""
        if self.errors:
            raise self.errors[0]

    def stop(self) -> None:
        """Close them all."""
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        self.check()


def prompts(known: list[int]) -> tuple[list[list[int]], list[int]]:
    """Of the streams, and the long one."""
    from benchmarks.prompts import distinct_ids

    *short, long = distinct_ids(N_STREAMS + 1, N_LONG, known, seed=1)
    return [prompt[:N_SHORT] for prompt in short], long


def watch(open_stream: OpenStream, first_token: FirstToken, known: list[int]) -> tuple[float, dict[str, float]]:
    """The ratio of both 95th percentiles, and what else was seen."""
    short, long = prompts(known)
    streams = Streams(open_stream, short)
    try:
        start = streams.wait_for(N_WARM)
        submitted = streams.wait_for(N_WARM + N_UNDISTURBED)
        first_token(long)
        answered = time.perf_counter()
        end = streams.wait_for(max(map(len, streams.times)) + 1 + N_UNDISTURBED)
    finally:
        streams.stop()

    def gaps(first: float, last: float, skip: int = 0) -> list[float]:
        return [gap * 1e3 for times in streams.times for gap in gaps_within(times, (first, last))[skip:]]

    quiet = gaps(start, submitted) + gaps(answered, end, skip=1)  # the first one after the answer began before it
    busy = gaps(submitted, answered)
    found = {
        "p95 disturbed, ms": percentile(busy, 0.95),
        "p95 undisturbed, ms": percentile(quiet, 0.95),
        "p50 disturbed, ms": statistics.median(busy),
        "p50 undisturbed, ms": statistics.median(quiet),
        "largest gap, ms": max(busy),
        "first token of the long prompt, s": answered - submitted,
    }
    return found["p95 disturbed, ms"] / found["p95 undisturbed, ms"], found


def step_option(settings: Settings) -> dict[str, float]:
    """The option of `Llama` that sets the target.

    Raises:
        RuntimeError: this version has none.
    """
    from llama_bind.options import options_of
    from llama_bind.params import LlamaParams

    target = STEP_TARGET if settings.step_target is None else settings.step_target
    if not target:
        return {}
    if "step_target" not in options_of(LlamaParams):
        raise RuntimeError("this version has no option step_target; --step-target 0 measures without it")
    return {"step_target": target}


def ours(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import GREEDY, letters, open_llama
    from benchmarks.raw import cpu_variant

    option = step_option(settings)
    with open_llama(settings, n_ctx=CELLS, n_seq_max=N_STREAMS + 1, kv_unified=False, **option) as llm:

        def open_stream(prompt: list[int]) -> Generator[Any, None, None]:
            yield from llm.create_completion(prompt, stream=True, **GREEDY)

        def first_token(prompt: list[int]) -> None:
            llm.create_completion(prompt, max_tokens=1, **GREEDY)

        value, found = watch(open_stream, first_token, letters(llm))
    return Measurement(value, found, {"cpu backend": cpu_variant(), "step target": str(option or "the default")})


def server(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import GREEDY, letters
    from benchmarks.server import LlamaServer
    from llama_bind import Llama

    with Llama(str(settings.model), vocab_only=True) as llm:
        known = letters(llm)
    with LlamaServer(settings, "-c", str(N_CTX), "-np", str(N_STREAMS + 1)) as running:

        def open_stream(prompt: list[int]) -> Generator[Any, None, None]:
            return running.stream({"prompt": prompt, "n_predict": -1, **GREEDY})

        def first_token(prompt: list[int]) -> None:
            running.complete({"prompt": prompt, "n_predict": 1, **GREEDY})

        value, found = watch(open_stream, first_token, known)
    return Measurement(value, found, {"cpu backend": running.variant})


BENCHMARKS = (
    Benchmark(
        "itl-long-prompt",
        "time between tokens of 4 streams while a prompt of 4000 tokens arrives, over undisturbed (p95)",
        "times",
        ours,
        server,
        Goal("value", 2.0),
        warm=False,
    ),
)
