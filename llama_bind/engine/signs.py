"""Whether this process gets on while it loads a model: how far it says it is, what it reads, what memory it fills.

Native code tells little of a load. But loading is reading (blocks, pages of mapped files) and filling memory, so one
that does neither for minutes waits for something that does not come: a drive that is gone, a lock, a device. Time on a
CPU says nothing, for a thread that waits for another may spin. Not for: what is done then (``watchdog``), or a model
that runs (``worker`` counts steps).
"""

from __future__ import annotations

import os
import sys

__all__ = ["LoadSigns"]

PAGES = 256
"""Pages that must be new for it to count: the thread that looks touches one now and then as well."""
KIB = 1024
"""And KiB by which the process must have grown: pages may be large."""


class LoadSigns:
    """Looks at what the system counts for this process. POSIX only, as processes of an engine's own are."""

    def __init__(self) -> None:
        self._share = -1.0
        self._before = (0, 0, 0, 0)

    def got_on(self, share: float) -> bool:
        """Whether more is loaded, anything was read, or memory was filled, since it last said so.

        Args:
            share: How much is loaded, 0 to 1, as far as that is known.
        """
        now = _counted()
        read, awaited, touched, grown = (a - b for a, b in zip(now, self._before, strict=True))
        if share == self._share and read <= 0 and awaited <= 0 and touched < PAGES and grown < KIB:
            return not now[2]  # no process starts without touching a page: this system does not count
        self._share, self._before = share, now
        return True


def _counted() -> tuple[int, int, int, int]:
    """Blocks read, pages that had to be read, other pages touched for the first time, KiB in memory."""
    if sys.platform == "win32":
        return (0, 0, 0, 0)
    import resource

    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_inblock, usage.ru_majflt, usage.ru_minflt, _resident(usage.ru_maxrss)


def _resident(most: int) -> int:
    """KiB in memory now where Linux says so: the most so far, its other number, is at first that of the process which
    started this one.
    """
    try:
        with open("/proc/self/statm", "rb") as statm:
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // KIB
    except OSError:
        return most // KIB if sys.platform == "darwin" else most
