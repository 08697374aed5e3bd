"""The benchmarks, in the order in which they run: every module here that has a tuple BENCHMARKS, those of one stream
first. The functions in them import what they measure when they run, in their own process.
"""

from __future__ import annotations

import importlib
import pkgutil

from benchmarks.registry import Benchmark

__all__ = ["ALL", "find"]

FIRST = ("decode", "prompt", "load", "imports", "overhead")


def _modules() -> list[str]:
    """Names of the modules here; those that are not named in `FIRST` follow by name."""
    there = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [*FIRST, *(name for name in there if name not in FIRST)]


def _benchmarks(module: str) -> tuple[Benchmark, ...]:
    found: tuple[Benchmark, ...] = getattr(importlib.import_module(f"{__name__}.{module}"), "BENCHMARKS", ())
    return found


ALL: tuple[Benchmark, ...] = tuple(benchmark for module in _modules() for benchmark in _benchmarks(module))


def find(name: str) -> Benchmark:
    """The benchmark of that name.

    Raises:
        KeyError: there is none.
    """
    return {benchmark.name: benchmark for benchmark in ALL}[name]
