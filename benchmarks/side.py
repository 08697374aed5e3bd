"""One side of one benchmark in a process of its own: ``python -m benchmarks.side NAME ours|theirs SETTINGS``.

The last line on standard output is the measurement as JSON. Not for: people (they use ``python -m benchmarks``).
"""

from __future__ import annotations

import os
import subprocess
import sys

from benchmarks.machine import ROOT
from benchmarks.registry import Benchmark, Measurement, Settings, SideName

__all__ = ["measure"]

TIMEOUT = 900
MARK = "measurement: "


def measure(benchmark: Benchmark, side: SideName, settings: Settings) -> Measurement:
    """Measure one side once, in a new process.

    Raises:
        RuntimeError: the process failed; the message holds the end of what it wrote.
    """
    command = [sys.executable, "-m", "benchmarks.side", benchmark.name, side, settings.to_json()]
    # Without its bytecode caches, Python would compile every module again in every process.
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONDONTWRITEBYTECODE"}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )
    lines = [line for line in done.stdout.splitlines() if line.startswith(MARK)]
    if done.returncode != 0 or not lines:
        raise RuntimeError(
            f"{benchmark.name}, {side}: exit status {done.returncode}\n{(done.stdout + done.stderr)[-3000:]}"
        )
    return Measurement.from_json(lines[-1][len(MARK) :])


def main(arguments: list[str]) -> None:
    from benchmarks.cases import find

    name, side, settings = arguments
    if side not in ("ours", "theirs"):
        raise SystemExit(f"error: the side is ours or theirs, not {side}")
    # a literal, so that the type is one of the two
    found = find(name).side("ours" if side == "ours" else "theirs")
    print(MARK + found(Settings.from_json(settings)).to_json(), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
