"""Runs a long command and shows how far it is: ``python -m buildsystem.quietly LOGFILE COMMAND...``

Everything that the command says goes to the log file. Shown are ninja's steps, as one line that is renewed on a
terminal and as a line for every tenth part elsewhere; and, when the command fails, the end of the log. Not for:
commands that ask questions.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

STEP = re.compile(rb"\[(\d+)/(\d+)\] (\w+)")
LAST_LINES = 60


def main(arguments: list[str]) -> int:
    """Run the command; its exit status."""
    log, command = Path(arguments[0]), arguments[1:]
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as file, subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        show = _Steps(sys.stdout.isatty())
        for line in process.stdout:
            file.write(line)
            step = STEP.search(line)
            if step:
                show(int(step[1]), int(step[2]), step[3].decode())
        show.end()
    if process.returncode:
        sys.stdout.write(b"\n".join(log.read_bytes().splitlines()[-LAST_LINES:]).decode("utf-8", "replace"))
        print(f"\nerror: {' '.join(command)} failed; all that it said is in {log}", file=sys.stderr)
    return process.returncode


class _Steps:
    """Shows steps as they come."""

    def __init__(self, terminal: bool) -> None:
        self._terminal = terminal
        self._tenth = -1
        self._shown = False

    def __call__(self, done: int, total: int, what: str) -> None:
        if self._terminal:
            print(f"\r  [{done}/{total}] {what:<10}", end="", flush=True)
            self._shown = True
        elif 10 * done // total != self._tenth:
            self._tenth = 10 * done // total
            print(f"  [{done}/{total}]", flush=True)

    def end(self) -> None:
        if self._shown:
            print()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
