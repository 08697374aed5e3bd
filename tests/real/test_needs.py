"""What the default model is said to take, held against the memory that a process with it really has."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest

from llama_bind.core.needs import memory_needs
from llama_bind.hub.find import find_model
from llama_bind.params import ContextParams, ModelParams

MIB = 2**20
PROGRAM = """
import sys, pathlib
from llama_bind import Llama
from llama_bind.core.devices import devices
def resident():
    status = pathlib.Path("/proc/self/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0]) // 1024
devices()
before = resident()
llm = Llama(sys.argv[1], n_threads=1, use_mmap=False, cache_ram_bytes=0, **eval(sys.argv[2]))
llm([100] * int(sys.argv[3]), max_tokens=1)  # a whole micro-batch: the cache is there from the beginning
print(before, resident())
"""

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="reads /proc")


@pytest.mark.parametrize(
    ("options", "tokens"),
    [
        ({"n_ctx": 2048, "n_seq_max": 8, "kv_unified": False}, 520),
        ({"n_ctx": 8192, "n_seq_max": 1, "type_k": "q8_0", "type_v": "q8_0"}, 520),
    ],
)
def test_resident_memory(options: dict[str, Any], tokens: int) -> None:
    path = find_model(None)
    said = memory_needs(path, ModelParams(), ContextParams(**options))
    environment = {**os.environ, "OMP_WAIT_POLICY": "PASSIVE"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), repr(options), str(tokens)],
        capture_output=True, text=True, timeout=300, check=True, env=environment,
    )  # fmt: skip
    before, after = map(int, done.stdout.split())
    print(f"said {said}, resident {after - before} MiB")
    assert 0.7 * said.total / MIB < after - before < 1.3 * said.total / MIB + 40
