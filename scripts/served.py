"""A server in a process of its own, for scripts that put load on it, and what it takes: memory, open files, threads.

Reads /proc, so it needs Linux. Not for: the load (``soak``, ``open_streams``), or tests, which have their own way.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

__all__ = ["Served", "Usage", "served"]

READY = re.compile(r"ready at (https?://\S+)/v1")
READY_SECONDS = 180
END_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class Usage:
    """What one process takes.

    Attributes:
        pid: Which.
        memory: Bytes of memory of its own (RssAnon: without the model's file, which is mapped).
        files: Open file descriptors.
        threads: Threads.
    """

    pid: int
    memory: int
    files: int
    threads: int


class Served:
    """A server that runs.

    Args:
        process: Its process.
        output, errors: What it writes.
    """

    def __init__(self, process: subprocess.Popen[bytes], output: IO[bytes], errors: IO[bytes]) -> None:
        self.process = process
        self._output = output
        self._errors = errors
        self.base = self._wait()
        self.engine = self._child()

    def _wait(self) -> str:
        end = time.monotonic() + READY_SECONDS
        while time.monotonic() < end:
            found = READY.search(_text(self._output))
            if found:
                return found[1]
            if self.process.poll() is not None:
                raise SystemExit(f"the server ended with status {self.process.returncode}:\n{self.said()}")
            time.sleep(0.05)
        raise SystemExit(f"the server is not ready after {READY_SECONDS} s:\n{self.said()}")

    def _child(self) -> int:
        """The engine's process."""
        found = [
            int(entry.name)
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and _parent(int(entry.name)) == self.process.pid
        ]
        if len(found) != 1:
            raise SystemExit(f"the server has {len(found)} processes below it, not the one of its engine")
        return found[0]

    def usage(self) -> dict[str, Usage]:
        """What the server and its engine take now.

        Raises:
            ProcessLookupError: one of them has ended.
        """
        return {"server": _usage(self.process.pid), "engine": _usage(self.engine)}

    def said(self) -> str:
        """What it wrote to standard error so far."""
        return _text(self._errors)


@contextlib.contextmanager
def served(model: str | None, options: Sequence[str]) -> Iterator[Served]:
    """A server on a free port of loopback, which ends with the block.

    Args:
        model: A file or name; None: the default model.
        options: Further arguments of its command.
    """
    if not Path("/proc/self/status").exists():
        raise SystemExit("this script reads /proc, which this system does not have")
    command = [sys.executable, "-m", "llama_bind.server", "--port", "0", *options]
    command += [] if model is None else ["--model", model]
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
        process = subprocess.Popen(command, stdout=output, stderr=errors, env=environment)
        try:
            yield Served(process, output, errors)
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                print(f"the server had not ended {END_SECONDS} s after SIGTERM and was killed", file=sys.stderr)


def _text(file: IO[bytes]) -> str:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), size, 0).decode("utf-8", "replace")


def _usage(pid: int) -> Usage:
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
        facts = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
        files = len(os.listdir(f"/proc/{pid}/fd"))
        return Usage(pid, int(facts["RssAnon"].split()[0]) * 1024, files, int(facts["Threads"]))
    except (FileNotFoundError, KeyError) as error:  # a process that has ended but was not waited for has no memory
        raise ProcessLookupError(f"process {pid} has ended") from error


def _parent(pid: int) -> int:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):  # it ended meanwhile
        return 0
    return int(fields[1])
