"""Counts of values by size: cheap to feed, small, and good for quantiles and for Prometheus. Pure.

Not for: exact statistics; a quantile is as sharp as the buckets are narrow.
"""

from __future__ import annotations

import bisect
import itertools
import math
from collections.abc import Sequence
from typing import Any

__all__ = ["SECONDS", "TOKENS", "Histogram"]

SECONDS: tuple[float, ...] = tuple(float(f"{10 ** (n / 10):.2g}") for n in range(-50, 31))
"""Ten for each factor of ten, from 10 microseconds to 1000 seconds: a quantile is off by an eighth at most."""
TOKENS: tuple[float, ...] = (0.0, 1.0, *(float(m << e) for e in range(16) for m in (2, 3)))
"""0 and 1, then two for each doubling, up to 98304."""


class Histogram:
    """How many values were observed, in buckets by size.

    Args:
        bounds: Upper bounds of the buckets, inclusive, in ascending order; one more bucket takes what is above.

    Attributes:
        counts: Values in each bucket, shape (len(bounds) + 1,).
        sum: Of all values.
        low, high: Smallest and largest value; infinity and minus infinity without any.
    """

    __slots__ = ("bounds", "counts", "high", "low", "sum")

    def __init__(self, bounds: Sequence[float] = SECONDS) -> None:
        self.bounds = tuple(bounds)
        if not self.bounds or any(a >= b for a, b in itertools.pairwise(self.bounds)):
            raise ValueError("bounds must ascend")
        self.counts = [0] * (len(self.bounds) + 1)
        self.sum = 0.0
        self.low = math.inf
        self.high = -math.inf

    def observe(self, value: float, weight: int = 1) -> None:
        """Count a value `weight` times. Takes well under a microsecond, whatever the weight."""
        self.counts[bisect.bisect_left(self.bounds, value)] += weight
        self.sum += value * weight
        if value < self.low:
            self.low = value
        if value > self.high:
            self.high = value

    @property
    def count(self) -> int:
        return sum(self.counts)

    @property
    def mean(self) -> float:
        """0 without values."""
        count = self.count
        return self.sum / count if count else 0.0

    def quantile(self, share: float) -> float:
        """About the value that `share` (0 to 1) of all values do not exceed; 0 without values.

        It lies in the same bucket as the exact one (nearest rank), and between `low` and `high`.
        """
        if not 0 <= share <= 1:
            raise ValueError("the share is from 0 to 1")
        count = self.count
        if not count:
            return 0.0
        rank, place = max(math.ceil(share * count), 1), 0
        while rank > self.counts[place]:
            rank -= self.counts[place]
            place += 1
        start = max(self.bounds[place - 1], self.low) if place else self.low
        end = min(self.bounds[place], self.high) if place < len(self.bounds) else self.high
        return min(start + (end - start) * (rank / self.counts[place]), end)

    def copy(self) -> Histogram:
        """A snapshot; safe while another thread observes."""
        made = Histogram.__new__(Histogram)
        made.bounds, made.counts = self.bounds, self.counts.copy()
        made.sum, made.low, made.high = self.sum, self.low, self.high
        return made

    def merge(self, other: Histogram) -> None:
        """Add what another histogram of the same bounds counted.

        Raises:
            ValueError: the bounds differ.
        """
        if other.bounds != self.bounds:
            raise ValueError("only histograms of the same bounds can be added")
        self.counts = [a + b for a, b in zip(self.counts, other.counts, strict=True)]
        self.sum += other.sum
        self.low = min(self.low, other.low)
        self.high = max(self.high, other.high)

    def cumulative(self, every: int = 1) -> list[tuple[float, int]]:
        """(upper bound, values up to it), as Prometheus wants its buckets; the last bound is infinity.

        Args:
            every: Give one bound of this many, for shorter pages.
        """
        found: list[tuple[float, int]] = []
        total = 0
        for place, here in enumerate(self.counts):
            total += here
            if place == len(self.bounds):
                found.append((math.inf, total))
            elif (place + 1) % every == 0:
                found.append((self.bounds[place], total))
        return found

    def to_dict(self) -> dict[str, Any]:
        """count, sum, mean, min, max, p50, p90, p95, p99; ready for JSON."""
        count = self.count
        found: dict[str, Any] = {
            "count": count,
            "sum": self.sum,
            "mean": self.mean,
            "min": self.low if count else 0.0,
            "max": self.high if count else 0.0,
        }
        return {**found, **{f"p{share}": self.quantile(share / 100) for share in (50, 90, 95, 99)}}

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    def __repr__(self) -> str:
        return f"Histogram(count={self.count}, mean={self.mean:.4g}, p95={self.quantile(0.95):.4g})"
