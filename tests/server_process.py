"""The server as a process of its own, for tests."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any


class Server:
    """A server's process and what it writes."""

    def __init__(
        self, *arguments: str, port: int, module: str = "llama_bind.server", python: str = sys.executable
    ) -> None:
        command = [python, "-W", "error", "-m", *module.split(), *arguments, "--port", str(port)]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("LLAMA_BIND_") or "LIB" in k}
        environment |= {"OMP_WAIT_POLICY": "PASSIVE", "PYTHONUNBUFFERED": "1"}
        self.base = f"http://127.0.0.1:{port}"
        self.process = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self.lines: queue.Queue[str] = queue.Queue()
        self.errors: list[str] = []
        self._readers = [threading.Thread(target=t, daemon=True) for t in (self._read, self._read_errors)]
        for thread in self._readers:
            thread.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as output:
            for line in output:
                self.lines.put(line)

    def _read_errors(self) -> None:
        assert self.process.stderr is not None
        with self.process.stderr as output:
            self.errors.extend(output)

    def wait(self, seconds: float = 60) -> int:
        code = self.process.wait(seconds)
        for thread in self._readers:
            thread.join(10)
        return code

    def end(self, sig: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(sig)
        return self.wait()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port: int = sock.getsockname()[1]
        return port


@contextlib.contextmanager
def serving(*arguments: str, **more: Any) -> Iterator[Server]:
    server = Server(*arguments, port=free_port(), **more)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            server.process.kill()
        server.wait()
