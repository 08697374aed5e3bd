"""Kills the engine of a server again and again under load: what came of the requests, and how long it took.

`python -m scripts.kill_engine` in the checkout, with the default model; `--kills`, `--clients`, `--model`. The
server is a process of its own, as an operator starts it. Needs Linux, which shows a process's children in /proc.

Exit status: 0 when the server lived, every request got its answer or was told that the engine had ended, not more were
told so than could run, and nothing was left in the slots; else 1.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from pathlib import Path

import httpx

from tests.server_process import serving
from tests.storms import Storm

SLOTS = 8


def main(argv: list[str] | None = None) -> int:
    """Run it; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("--model", help="another model than the default one")
    chosen = parser.parse_args(argv)
    arguments = ["--n-seq-max", str(SLOTS), "--n-ctx", "1024", *(["--model", chosen.model] if chosen.model else [])]
    with serving(*arguments) as server:
        print(server.lines.get(timeout=600).strip(), flush=True)
        with Storm(server.base, chosen.clients, 12) as storm:
            seconds = []
            for number in range(chosen.kills):
                seconds.append(storm.kill(lambda: engine_of(server.process.pid)))
                print(f"kill {number + 1}: the next answer after {seconds[-1]:.2f} s", flush=True)
            storm.served(chosen.clients)
        alive = server.process.poll() is None
        left = busy(server.base) if alive else "the server is dead"
    whole, crashed = storm.outcomes["whole"], storm.outcomes["crashed"]
    print(f"{whole} answers, {crashed} told that the engine ended (at most {chosen.kills * SLOTS} can have run)")
    print(f"until the next answer: median {statistics.median(seconds):.2f} s, longest {max(seconds):.2f} s")
    print(f"left in the slots: {left or 'nothing'}; other outcomes: {storm.wrong or 'none'}")
    return 0 if alive and not left and not storm.wrong and crashed <= chosen.kills * 2 * SLOTS else 1


def engine_of(server: int) -> int | None:
    """The process of the server's engine."""
    for task in Path(f"/proc/{server}/task").iterdir():
        for child in (task / "children").read_text().split():
            command = Path(f"/proc/{child}/cmdline")
            if command.exists() and b"llama_bind.engine.child" in command.read_bytes():
                return int(child)
    return None


def busy(base: str) -> str:
    """What still runs, when nobody asks any more."""
    for _ in range(100):
        running = [slot["id"] for slot in httpx.get(f"{base}/slots").json() if slot["is_processing"]]
        if not running:
            return ""
        time.sleep(0.1)
    return f"slots {running}"


if __name__ == "__main__":
    sys.exit(main())
