"""From a path to a model that can generate: `Llama(path, ...)` beside the C calls that it cannot do without.

Theirs is `llama_model_load_from_file` and `llama_init_from_model` through bare ctypes with the same context sizes.
Both count from before the first native call, so that opening the libraries and choosing the CPU backend is in both;
importing Python modules is in neither (see `import`). The file is in the page cache: an unmeasured run of each side
came before.
"""

from __future__ import annotations

import time

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS"]


def ours(settings: Settings) -> Measurement:
    from benchmarks.cases.sides import open_llama
    from llama_bind import Llama

    assert Llama is not None  # imported above, before the clock starts
    start = time.perf_counter()
    llm = open_llama(settings)
    opened = time.perf_counter() - start
    llm.create_completion([llm.token_bos()], max_tokens=1)
    first = time.perf_counter() - start
    start = time.perf_counter()
    llm.close()
    closed = time.perf_counter() - start
    return Measurement(opened, {"seconds to the first token": first, "seconds to close": closed})


def theirs(settings: Settings) -> Measurement:
    from benchmarks.raw import RawContext

    start = time.perf_counter()
    raw = RawContext(settings)
    opened = time.perf_counter() - start
    raw.close()
    return Measurement(opened)


BENCHMARKS = (
    Benchmark(
        "load",
        "Llama(path) to a usable object; llama.cpp's model and context alone",
        "s",
        ours,
        theirs,
        Goal("difference", 0.2),
        repeats=11,
    ),
)
