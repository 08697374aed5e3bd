"""What the numbers were measured on, and how busy it was with other things. Not for: measuring the package."""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import time
from pathlib import Path

__all__ = ["ROOT", "OtherWork", "commit", "describe"]

ROOT = Path(__file__).resolve().parent.parent


def commit() -> str:
    """The short commit of the checkout, with ``+`` where files that git knows differ from it."""
    head = _git("rev-parse", "--short=9", "HEAD")
    return head + ("+" if _git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules") else "")


def describe() -> str:
    """Processor and the number of CPUs this process may use."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{_processor()}, {cpus} CPUs"


class OtherWork:
    """CPU time that went to neither this process nor its ended children, in CPUs (1.0: one was taken all the time).

    Other processes and the hypervisor both count. Only Linux says; elsewhere `taken` gives 0.
    """

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._busy = _busy_seconds()
        self._own = _own_seconds()

    def taken(self) -> float:
        """Since the object was made."""
        wall = time.perf_counter() - self._start
        other = _busy_seconds() - self._busy - (_own_seconds() - self._own)
        return max(0.0, other) / wall if wall > 0 else 0.0


def _busy_seconds() -> float:
    try:
        line = Path("/proc/stat").read_text().splitlines()[0]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq, steal = (int(field) for field in line.split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    total = 0.0
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN):
        used = resource.getrusage(who)
        total += used.ru_utime + used.ru_stime
    return total


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return " ".join(line.partition(":")[2].split())
    except OSError:
        pass  # not Linux
    return platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() if done.returncode == 0 else "unknown"
