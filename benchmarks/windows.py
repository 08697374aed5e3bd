"""What happened between two moments: the time in which all of several streams ran, and gaps between pieces. Pure.

Not for: taking the times.
"""

from __future__ import annotations

import itertools
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
    """How many of `times` lie in the window; its start does not count, its end does.

    Of tokens that come together at the end of steps, those at a window's start belong to the step before it.
    """
    start, end = window
    return sum(start < time <= end for time in times)


def gaps_within(times: Sequence[float], window: Window) -> list[float]:
    """Gaps between neighbours in `times` (ascending) of which any part lies in the window."""
    start, end = window
    return [after - before for before, after in itertools.pairwise(times) if after > start and before < end]
