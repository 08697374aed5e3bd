"""What happened between two moments: the time in which all of several streams ran, and gaps between pieces. Pure.

Not for: taking the times.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Sequence

__all__ = ["common_window", "count_within", "gaps_within"]

Window = tuple[float, float]


def common_window(starts: Sequence[float], ends: Sequence[float]) -> Window:
    """From the moment when the last of several began to the moment when the first of them ended.

    Raises:
        ValueError: there is no moment at which all ran.
    """
    start, end = max(starts), min(ends)
    if start >= end:
        raise ValueError(f"at no moment all ran: the last began {start - end:.3f} s after the first had ended")
    return start, end


def count_within(times: Sequence[float], window: Window) -> int:
    """How many of `times` lie in the window; what comes at its start does not count, what comes at its end does.

    For tokens that come together at the ends of steps, where the window begins and ends with a step: each is seen a
    moment later than another's, so a quarter of the usual gap between `times` still counts as the same moment.
    """
    start, end = window
    gaps = [after - before for before, after in itertools.pairwise(times)]
    slack = statistics.median(gaps) / 4 if gaps else 0.0
    return sum(start + slack < time <= end + slack for time in times)


def gaps_within(times: Sequence[float], window: Window) -> list[float]:
    """Gaps between neighbours in `times` (ascending) of which any part lies in the window."""
    start, end = window
    return [after - before for before, after in itertools.pairwise(times) if after > start and before < end]
