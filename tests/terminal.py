"""A program in a pseudo terminal of its own: keys go in, what it shows comes out, Ctrl-C is a real one."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType

# The child makes the terminal its controlling one, so that Ctrl-C becomes a signal to it.
_ADOPT = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execvp(sys.argv[1], sys.argv[1:])"


class Terminal:
    """Runs `command`; every wait has a limit."""

    def __init__(self, command: Sequence[str], environment: dict[str, str] | None = None) -> None:
        master, slave = os.openpty()
        os.set_blocking(master, False)
        self.master = master
        self.shown = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", _ADOPT, *command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={**os.environ, "TERM": "dumb", **(environment or {})},
        )
        os.close(slave)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait(30)
        os.close(self.master)

    def keys(self, text: str) -> None:
        """Press keys: ``\\r`` is Enter, ``\\x03`` Ctrl-C, ``\\x04`` Ctrl-D."""
        os.write(self.master, text.encode())

    def expect(self, text: str, seconds: float = 30) -> str:
        """Wait until `text` is shown; gives what came before it and drops both."""
        deadline = time.monotonic() + seconds
        while text not in self.shown:
            self._read()
            assert time.monotonic() < deadline, f"{text!r} did not come; shown: {self.shown!r}"
            if text not in self.shown and self.process.poll() is not None:
                self._read()
                assert text in self.shown, f"the program ended without {text!r}; shown: {self.shown!r}"
        before, _, self.shown = self.shown.partition(text)
        return before

    def end(self, seconds: float = 30) -> int:
        """Wait for the end of the program; its exit status."""
        deadline = time.monotonic() + seconds
        while self.process.poll() is None:
            self._read()
            assert time.monotonic() < deadline, f"the program did not end; shown: {self.shown!r}"
        self._read()
        return self.process.returncode

    def _read(self) -> None:
        with contextlib.suppress(BlockingIOError, OSError):  # Linux gives EIO once the child is gone
            while data := os.read(self.master, 65536):
                self.shown += data.decode("utf-8", "replace").replace("\r\n", "\n")
        time.sleep(0.01)
