"""Importing the package in a fresh interpreter: wall time, and that no native library of ours is opened by it.

`import` is ``import llama_bind`` alone, `import-llama` also reads ``llama_bind.Llama`` from it, which a lazy package
resolves only then. The clock runs inside the interpreter around the statement; starting Python is not in it. The
process fails when one of our libraries is mapped afterwards.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from benchmarks.registry import Benchmark, Goal, Measurement, Settings

__all__ = ["BENCHMARKS"]

PROGRAM = """
import sys, time
before = len(sys.modules)
start = time.perf_counter()
{statement}
seconds = time.perf_counter() - start
modules = len(sys.modules) - before
from pathlib import Path
maps = Path("/proc/self/maps")
text = maps.read_text() if maps.exists() else ""
native = sorted({{Path(line.split()[-1]).name for line in text.splitlines()
                 if any(name in line for name in ("libllama", "libggml", "libmtmd"))}})
if native:
    sys.exit("importing opened native libraries: " + ", ".join(native))
print(seconds, modules)
"""


def _measure(statement: str) -> Measurement:
    command = [sys.executable, "-c", PROGRAM.format(statement=statement)]
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{statement!r} failed: {done.stderr[-2000:]}")
    seconds, modules = done.stdout.split()
    return Measurement(float(seconds), {"modules imported": float(modules)})


def package(settings: Settings) -> Measurement:  # noqa: ARG001
    return _measure("import llama_bind")


def facade(settings: Settings) -> Measurement:  # noqa: ARG001
    return _measure("import llama_bind; llama_bind.Llama")


GOAL = Goal("value", 0.15)
BENCHMARKS = (
    Benchmark("import", "import llama_bind, no native library opened", "s", package, goal=GOAL, repeats=20),
    Benchmark("import-llama", "import llama_bind; llama_bind.Llama, numpy included", "s", facade, repeats=20),
)
