"""Results as text: a table for the terminal, and rows of ``RESULTS.md``, the one place that keeps every ratio. Pure,
but for `append`. Not for: computing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from benchmarks.pairs import Result

__all__ = ["HEADER", "Occasion", "append", "results_row", "table"]

HEADER = """\
# Results

Every ratio that was measured, appended by `python -m benchmarks run`. Ours and theirs are medians; the ratio is ours
over theirs, its range that of the pairs measured back to back; a `+` after a commit means that files differed from it;
"disturbed" counts measurements made while other processes took CPU time. `docs/performance.md` says what is measured.

| date | commit | machine | benchmark | command | ours | theirs | ratio | range | goal | reached | disturbed |
|---|---|---|---|---|---|---|---|---|---|---|---|
"""


@dataclasses.dataclass(frozen=True)
class Occasion:
    """When, what and where: the part of a row that all results of a run share."""

    date: str
    commit: str
    machine: str
    command: str


def number(value: float) -> str:
    """Four significant digits without an exponent, for values of ordinary size."""
    if value >= 1000:
        return f"{value:.0f}"
    digits = 3
    limit = 1.0
    while digits and value >= 10 * limit:
        digits -= 1
        limit *= 10
    return f"{value:.{max(digits, 1)}f}" if value >= 1 else f"{value:.4f}"


def results_row(result: Result, occasion: Occasion) -> str:
    """One line of the table in RESULTS.md."""
    comparison, unit = result.comparison, result.benchmark.unit
    goal = result.benchmark.goal
    cells = [
        occasion.date,
        occasion.commit,
        occasion.machine,
        result.benchmark.name,
        f"`{occasion.command}`",
        f"{number(comparison.ours.median)} {unit}",
        "-" if comparison.theirs is None else f"{number(comparison.theirs.median)} {unit}",
        _ratio(comparison.ratio),
        f"{_ratio(comparison.ratio_low)} to {_ratio(comparison.ratio_high)}" if comparison.ratio else "-",
        goal.text(unit) if goal else "-",
        _reached(result.met),
        str(result.disturbed),
    ]
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |\n"


def append(path: Path, results: Sequence[Result], occasion: Occasion) -> None:
    """Add rows to the file, which is begun where it is missing."""
    new = not path.exists()
    with path.open("a", encoding="utf-8") as file:
        if new:
            file.write(HEADER)
        for result in results:
            file.write(results_row(result, occasion))


def table(results: Sequence[Result]) -> str:
    """An aligned table for people, and below it what else was measured."""
    rows = [("benchmark", "ours", "theirs", "ratio", "range", "goal", "reached")]
    for result in results:
        comparison, unit = result.comparison, result.benchmark.unit
        goal = result.benchmark.goal
        rows.append(
            (
                result.benchmark.name,
                f"{number(comparison.ours.median)} {unit}",
                "-" if comparison.theirs is None else f"{number(comparison.theirs.median)} {unit}",
                _ratio(comparison.ratio),
                f"{_ratio(comparison.ratio_low)}-{_ratio(comparison.ratio_high)}" if comparison.ratio else "-",
                goal.text(unit) if goal else "-",
                _reached(result.met) + (f" ({result.disturbed} disturbed)" if result.disturbed else ""),
            )
        )
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*lines, "", *_details(results)])


def _details(results: Sequence[Result]) -> list[str]:
    lines: list[str] = []
    for result in results:
        facts = [f"{key} {number(value)}" for key, value in result.extras.items()]
        facts += [f"{key}: {text}" for key, text in result.notes.items() if text]
        lines.append(f"{result.benchmark.name}: {result.benchmark.title}")
        lines += [f"    {fact}" for fact in facts]
    return lines


def _ratio(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"


def _reached(met: bool | None) -> str:
    return "-" if met is None else "yes" if met else "NO"
