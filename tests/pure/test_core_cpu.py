from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from llama_bind.core import cpu

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="these files are Linux's")


def write(root: Path, path: str, text: str) -> None:
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_usable_cores_fit_the_affinity() -> None:
    assert 1 <= cpu.usable_cores() <= len(os.sched_getaffinity(0))


def test_hyperthreads_count_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 1, 4, 5})
    for number, siblings in ((0, "0,4"), (1, "1,5"), (4, "0,4"), (5, "1,5")):
        write(tmp_path, f"sys/devices/system/cpu/cpu{number}/topology/thread_siblings_list", siblings + "\n")
    assert cpu.physical_cores(tmp_path) == 2


def test_without_topology_each_cpu_is_a_core(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 2, 3})
    assert cpu.physical_cores(tmp_path) == 3


def test_cgroup_v2_smallest_quota_of_the_path_counts(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/a/b\n")
    write(tmp_path, "sys/fs/cgroup/a/b/cpu.max", "max 100000\n")
    write(tmp_path, "sys/fs/cgroup/a/cpu.max", "150000 100000\n")
    assert cpu.cgroup_cpu_limit(tmp_path) == 1.5


def test_cgroup_v1_quota(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "3:cpu,cpuacct:/x\n2:memory:/x\n")
    write(tmp_path, "sys/fs/cgroup/cpu/x/cpu.cfs_quota_us", "200000")
    write(tmp_path, "sys/fs/cgroup/cpu/x/cpu.cfs_period_us", "100000")
    assert cpu.cgroup_cpu_limit(tmp_path) == 2.0


@pytest.mark.parametrize("text", ["max 100000", "0 100000", "5 0", "rubbish", ""])
def test_no_quota(tmp_path: Path, text: str) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/\n")
    write(tmp_path, "sys/fs/cgroup/cpu.max", text)
    assert cpu.cgroup_cpu_limit(tmp_path) is None


def test_a_quota_limits_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "physical_cores", lambda: 8)
    monkeypatch.setattr(cpu, "cgroup_cpu_limit", lambda: 2.5)
    assert cpu.usable_cores() == 2
    monkeypatch.setattr(cpu, "cgroup_cpu_limit", lambda: 0.3)
    assert cpu.usable_cores() == 1


def test_available_memory_is_the_least_of_machine_and_group(tmp_path: Path) -> None:
    write(tmp_path, "proc/meminfo", "MemTotal: 9 kB\nMemAvailable:   1000 kB\n")
    assert cpu.available_memory(tmp_path) == 1000 * 1024
    write(tmp_path, "proc/self/cgroup", "0::/g\n")
    write(tmp_path, "sys/fs/cgroup/g/memory.max", "500000\n")
    write(tmp_path, "sys/fs/cgroup/g/memory.current", "100000\n")
    assert cpu.available_memory(tmp_path) == 400000


def test_files_that_a_group_holds_in_memory_give_way(tmp_path: Path) -> None:
    write(tmp_path, "proc/self/cgroup", "0::/g\n2:memory:/old\n")
    write(tmp_path, "sys/fs/cgroup/g/memory.max", "500000\n")
    write(tmp_path, "sys/fs/cgroup/g/memory.current", "450000\n")
    write(tmp_path, "sys/fs/cgroup/g/memory.stat", "anon 5\ninactive_file 300000\nactive_file 100000\nfile 999999\n")
    assert cpu.available_memory(tmp_path) == 450000
    write(tmp_path, "sys/fs/cgroup/memory/old/memory.limit_in_bytes", "400000\n")
    write(tmp_path, "sys/fs/cgroup/memory/old/memory.usage_in_bytes", "300000\n")
    old = "inactive_file 1\nactive_file 1\ntotal_inactive_file 100000\ntotal_active_file 50000\n"
    write(tmp_path, "sys/fs/cgroup/memory/old/memory.stat", old)
    assert cpu.available_memory(tmp_path) == 250000
