"""Both ends of the step target: how smoothly streams run while a long prompt arrives, and how long that one waits.

Runs our side of `itl-long-prompt` for several targets, each in a process of its own, and prints a table. Not for:
comparing with others, or keeping results.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

from benchmarks.registry import Measurement, Settings

__all__ = ["HEAD", "row", "sweep"]

COLUMNS = (
    "p50 undisturbed, ms",
    "p95 undisturbed, ms",
    "p50 disturbed, ms",
    "p95 disturbed, ms",
    "largest gap, ms",
    "first token of the long prompt, s",
)
HEAD = "| step target, s | p95 ratio | " + " | ".join(COLUMNS) + " |\n" + "|---" * (len(COLUMNS) + 2) + "|"


def sweep(settings: Settings, targets: Sequence[float], repeats: int) -> None:
    """Measure and print a Markdown table, one line after the other."""
    from benchmarks.cases import find
    from benchmarks.side import measure

    benchmark = find("itl-long-prompt")
    print(HEAD, flush=True)
    for target in targets:
        with_target = dataclasses.replace(settings, step_target=target)
        found = [measure(benchmark, "ours", with_target) for _ in range(repeats)]
        print(row(target, found), flush=True)


def row(target: float, found: Sequence[Measurement]) -> str:
    """A line below `HEAD`: medians of what was measured with one target."""
    values = [statistics.median(m.value for m in found)]
    values += [statistics.median(m.extras[column] for m in found) for column in COLUMNS]
    return "| " + " | ".join([f"{target:g}" if target else "default", *(f"{value:.4g}" for value in values)]) + " |"
