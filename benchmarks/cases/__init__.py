"""The benchmarks, in the order in which they run. A new one is a module here and its place in `MODULES`.

A module has a tuple BENCHMARKS; the functions in it import what they measure when they run, in their own process.
"""

from __future__ import annotations

from benchmarks.cases import decode, imports, load, overhead, prompt
from benchmarks.registry import Benchmark

__all__ = ["ALL", "find"]

MODULES = (decode, prompt, load, imports, overhead)
ALL: tuple[Benchmark, ...] = tuple(benchmark for module in MODULES for benchmark in module.BENCHMARKS)


def find(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        KeyError: there is none.
    """
    return {benchmark.name: benchmark for benchmark in ALL}[name]
