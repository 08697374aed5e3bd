"""Medians, spreads and ratios of repeated measurements. Pure. Not for: printing."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Sequence

__all__ = ["Comparison", "Spread", "compare", "percentile", "spread"]


@dataclasses.dataclass(frozen=True)
class Spread:
    """Of one side's values: median, smallest and largest."""

    median: float
    low: float
    high: float
    count: int


@dataclasses.dataclass(frozen=True)
class Comparison:
    """Both sides.

    Attributes:
        ratio: Median of ours over median of theirs; None without theirs, or where one of theirs is 0.
        ratio_low, ratio_high: Smallest and largest ratio of a pair that was measured back to back.
    """

    ours: Spread
    theirs: Spread | None = None
    ratio: float | None = None
    ratio_low: float | None = None
    ratio_high: float | None = None

    @property
    def difference(self) -> float | None:
        """Median of ours minus median of theirs."""
        return None if self.theirs is None else self.ours.median - self.theirs.median


def spread(values: Sequence[float], *, counts: bool = False) -> Spread:
    """Median and range.

    Raises:
        ValueError: no values, or one that is not a positive finite number (a measurement went wrong); `counts` may
            be 0.
    """
    if not values:
        raise ValueError("nothing was measured")
    for value in values:
        if not (math.isfinite(value) and (value > 0 or (counts and value == 0))):
            raise ValueError(f"{value!r} is no measurement")
    return Spread(statistics.median(values), min(values), max(values), len(values))


def compare(ours: Sequence[float], theirs: Sequence[float] | None, *, counts: bool = False) -> Comparison:
    """`ours[i]` and `theirs[i]` were measured back to back.

    Raises:
        ValueError: the sides have different lengths, or values are missing or not positive and finite.
    """
    mine = spread(ours, counts=counts)
    if theirs is None:
        return Comparison(mine)
    if len(ours) != len(theirs):
        raise ValueError(f"{len(ours)} measurements of ours and {len(theirs)} of theirs are no pairs")
    other = spread(theirs, counts=counts)
    if not min(theirs):
        return Comparison(mine, other)
    ratios = [a / b for a, b in zip(ours, theirs, strict=True)]
    return Comparison(mine, other, mine.median / other.median, min(ratios), max(ratios))


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least `share` (0 to 1) of all values do not exceed (nearest rank).

    Raises:
        ValueError: no values, or a share outside 0 to 1.
    """
    if not values or not 0 <= share <= 1:
        raise ValueError("need values, and a share from 0 to 1")
    ordered = sorted(values)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
