"""Runs both sides of a benchmark in turn, one at a time, so that a slow minute of the machine hits both.

Not for: what is measured (``cases``), or showing it (``report``).
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Callable

from benchmarks.machine import OtherWork
from benchmarks.registry import Benchmark, Measurement, Settings, SideName
from benchmarks.side import measure
from benchmarks.stats import Comparison, compare

__all__ = ["Limits", "Result", "run"]

Progress = Callable[[str], None]


@dataclasses.dataclass(frozen=True)
class Limits:
    """How often, and how quiet the machine must be.

    Attributes:
        repeats: Pairs of processes.
        other_work: A measurement during which other processes took more CPUs than this is made again ...
        retries: ... at most this often; then it counts, and the result says so.
    """

    repeats: int = 5
    other_work: float = 0.15
    retries: int = 3


@dataclasses.dataclass(frozen=True)
class Result:
    """A benchmark's outcome. `disturbed` measurements were made while other processes took CPU time."""

    benchmark: Benchmark
    comparison: Comparison
    extras: dict[str, float]
    notes: dict[str, str]
    disturbed: int

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none."""
        goal = self.benchmark.goal
        if goal is None:
            return None
        theirs = self.comparison.theirs
        return goal.met(self.comparison.ours.median, None if theirs is None else theirs.median)


def run(benchmark: Benchmark, settings: Settings, limits: Limits, progress: Progress) -> Result:
    """Warm each side up once where asked, then measure pairs; which side goes first alternates."""
    sides: tuple[SideName, ...] = ("ours",) if benchmark.theirs is None else ("ours", "theirs")
    for side in sides if benchmark.warm else ():
        measure(benchmark, side, settings)
        progress(f"{benchmark.name} {side}: warmed up")
    found: dict[SideName, list[Measurement]] = {side: [] for side in sides}
    disturbed = 0
    repeats = benchmark.repeats or limits.repeats
    for repeat in range(repeats):
        for side in sides if repeat % 2 == 0 else sides[::-1]:
            measurement, quiet = _quietly(benchmark, side, settings, limits)
            disturbed += not quiet
            found[side].append(measurement)
            mark = "" if quiet else " (machine busy)"
            progress(f"{benchmark.name} {repeat + 1}/{repeats} {side}: {measurement.value:.4g} {benchmark.unit}{mark}")
    ours = found["ours"]
    theirs = [m.value for m in found["theirs"]] if "theirs" in found else None
    return Result(
        benchmark,
        compare([m.value for m in ours], theirs, counts=benchmark.counts),
        _extras(found),
        {**_notes(found), **_same_outputs(found)},
        disturbed,
    )


def _quietly(benchmark: Benchmark, side: SideName, settings: Settings, limits: Limits) -> tuple[Measurement, bool]:
    for _ in range(limits.retries + 1):
        other = OtherWork()
        measurement = measure(benchmark, side, settings)
        if other.taken() <= limits.other_work:
            return measurement, True
    return measurement, False


def _extras(found: dict[SideName, list[Measurement]]) -> dict[str, float]:
    """Medians of what was measured besides; what only theirs have is marked as theirs."""
    medians: dict[str, float] = {}
    for side, measurements in found.items():
        mark = "" if side == "ours" else " (theirs)"
        for key in measurements[0].extras:
            medians[key + mark] = statistics.median(m.extras[key] for m in measurements if key in m.extras)
    return medians


def _same_outputs(found: dict[SideName, list[Measurement]]) -> dict[str, str]:
    """How many texts of the last pair are the same on both sides; those that differ may both be right (`agreement`)."""
    ours, theirs = (found[side][-1].outputs if side in found else () for side in ("ours", "theirs"))
    if not ours or not theirs:
        return {}
    same = sum(a == b for a, b in zip(ours, theirs, strict=True))
    return {"texts": f"{same} of {len(ours)} the same on both sides"}


def _notes(found: dict[SideName, list[Measurement]]) -> dict[str, str]:
    """What the sides say of themselves; the CPU backend must be the same on both.

    Raises:
        RuntimeError: it is not, and a ratio would compare two compilations instead of two programs.
    """
    notes: dict[str, str] = {}
    for side, measurements in found.items():
        for key, text in measurements[0].notes.items():
            notes[f"{key} ({side})"] = text
    variants = {text for key, text in notes.items() if key.startswith("cpu backend") and text}
    if len(variants) > 1:
        raise RuntimeError(f"the sides use different CPU backends ({', '.join(sorted(variants))}); build both alike")
    return notes
