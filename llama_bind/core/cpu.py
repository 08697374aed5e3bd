"""How many threads a computation should use: the physical cores that this process may really run on.

Looks at the CPU affinity, at hyperthreads that share a core, and at the CPU quota of the process's control groups (what
containers set). Not for: pinning threads.
"""

from __future__ import annotations

import math
import os
import re
import subprocess
import sys
from pathlib import Path

__all__ = ["available_memory", "cgroup_cpu_limit", "physical_cores", "usable_cores"]

_ROOT = Path("/")


def usable_cores() -> int:
    """Physical cores this process may use, at least 1: affinity and control group quota respected."""
    cores = physical_cores()
    limit = cgroup_cpu_limit()
    if limit is not None:
        cores = min(cores, max(1, math.floor(limit + 0.01)))
    return max(1, cores)


def physical_cores(root: Path = _ROOT) -> int:
    """Physical cores among the CPUs of the process's affinity, at least 1."""
    if sys.platform == "darwin":
        return _sysctl("hw.perflevel0.physicalcpu") or _sysctl("hw.physicalcpu") or os.cpu_count() or 1
    if not hasattr(os, "sched_getaffinity"):
        return max(1, (os.cpu_count() or 2) // 2)
    cpus = os.sched_getaffinity(0)
    cores = set()
    for cpu in cpus:
        siblings = _read(root / f"sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings or str(cpu))
    return max(1, len(cores))


def cgroup_cpu_limit(root: Path = _ROOT) -> float | None:
    """The CPU quota of this process's control groups in CPUs, or None when there is none (Linux: versions 1 and 2)."""
    limits = []
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if controllers == "":
            limits += [_quota_v2(root / "sys/fs/cgroup" / part / "cpu.max") for part in _ancestors(path)]
        elif "cpu" in controllers.split(","):
            base = root / "sys/fs/cgroup/cpu"
            limits += [_quota_v1(base / part) for part in _ancestors(path)]
    found = [limit for limit in limits if limit is not None]
    return min(found) if found else None


def _ancestors(path: str) -> list[str]:
    """The group and all groups above it: each can limit. The top is there too, for containers that see only it."""
    parts = [part for part in path.split("/") if part and part != ".."]
    return ["/".join(parts[:n]) for n in range(len(parts), -1, -1)]


def _quota_v2(file: Path) -> float | None:
    words = (_read(file) or "").split()
    return _ratio(words[0], words[1]) if len(words) == 2 and words[0] != "max" else None


def _quota_v1(folder: Path) -> float | None:
    quota, period = _read(folder / "cpu.cfs_quota_us"), _read(folder / "cpu.cfs_period_us")
    return _ratio(quota, period) if quota and period else None


def _ratio(quota: str, period: str) -> float | None:
    if not re.fullmatch(r"\d+", quota) or not re.fullmatch(r"\d+", period) or int(period) == 0 or int(quota) == 0:
        return None
    return int(quota) / int(period)


def available_memory(root: Path = _ROOT) -> int | None:
    """Bytes of memory that can be used without swapping, within the control groups' limits; None where unknown."""
    amounts = []
    found = re.search(r"^MemAvailable:\s+(\d+) kB", _read(root / "proc/meminfo") or "", re.MULTILINE)
    if found:
        amounts.append(int(found[1]) * 1024)
    elif sys.platform == "darwin":
        amounts.append((_sysctl("hw.memsize") or 0) // 2 or 2**63)
    elif sys.platform == "win32":
        amounts.append(_windows_memory())
    for line in (_read(root / "proc/self/cgroup") or "").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        for part in _ancestors(path):
            if controllers == "":
                folder, limit, used, cached = root / "sys/fs/cgroup" / part, "memory.max", "memory.current", ""
            elif controllers == "memory":
                folder, limit, used, cached = (
                    root / "sys/fs/cgroup/memory" / part,
                    "memory.limit_in_bytes",
                    "memory.usage_in_bytes",
                    "total_",
                )
            else:
                continue
            most, now = _read(folder / limit), _read(folder / used)
            if most and most.isdigit():
                amounts.append(max(0, int(most) - max(int(now or 0) - _file_cache(folder, cached), 0)))
    return min(amounts) if amounts else None


def _file_cache(group: Path, prefix: str) -> int:
    """Bytes of files that a control group holds in memory: they count as used, and give way to what is needed."""
    kinds = re.findall(rf"^{prefix}(?:in)?active_file (\d+)$", _read(group / "memory.stat") or "", re.MULTILINE)
    return sum(int(size) for size in kinds)


def _windows_memory() -> int:
    import ctypes

    class Status(ctypes.Structure):
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "available", "tp", "ap", "tv", "av", "aev")),
        )

    status = Status(length=ctypes.sizeof(Status))
    kernel = ctypes.CDLL("kernel32")
    kernel.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.available)


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except (OSError, UnicodeDecodeError):
        return None


def _sysctl(name: str) -> int | None:
    try:
        out = subprocess.run(["sysctl", "-n", name], capture_output=True, text=True, timeout=5, check=True).stdout
        return int(out)
    except (OSError, ValueError, subprocess.SubprocessError):
        return None
