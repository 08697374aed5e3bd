"""Servers for the length of a ``with`` block, and requests to llama-server over loopback. Not for: many at once."""

from __future__ import annotations

import ctypes
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from typing_extensions import Self

from benchmarks.peer import peer_python
from benchmarks.programs import BUILD, program
from benchmarks.registry import Settings

__all__ = ["LlamaServer", "OurServer", "PeerServer", "ServerError", "ServerProcess", "events_of", "mapped_cpu_backend"]

START_SECONDS = 60.0
STOP_SECONDS = 15.0
REQUEST_SECONDS = 300.0
PR_SET_PDEATHSIG = 1
"""From linux/prctl.h."""


class ServerError(Exception):
    """An answer that is not 200; its text is the server's."""


class ServerProcess:
    """Runs a server on `port`.

    Args:
        command: What to run.
        port: Where it will listen.
        path: Answers 200 when the server is ready.
        environment: Variables besides those of this process.

    Raises:
        RuntimeError: it ended while starting, or was not ready in time; the message holds the end of its log.
    """

    def __init__(
        self, command: Sequence[str], port: int, path: str = "/health", environment: Mapping[str, str] | None = None
    ) -> None:
        self.command = list(command)
        self.port = port
        self._path = path
        self._environment = {**os.environ, **(environment or {})}
        self.variant = ""

    def __enter__(self) -> Self:
        self._log = tempfile.TemporaryFile()
        self._process = subprocess.Popen(
            self.command,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=self._environment,
            preexec_fn=_end_with_parent,
        )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        self.variant = mapped_cpu_backend(self._process.pid)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"{self._name} ended (exit status {self._process.returncode}): {self._log_end()}")
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
            try:
                connection.request("GET", self._path)
                if connection.getresponse().status == 200:
                    return
            except OSError:
                pass  # it does not listen yet
            finally:
                connection.close()
            time.sleep(0.05)
        raise RuntimeError(f"{self._name} was not ready after {START_SECONDS:g} s: {self._log_end()}")

    def _stop(self) -> None:
        self._process.terminate()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.close()

    def _log_end(self) -> str:
        self._log.seek(0)
        return self._log.read()[-2000:].decode(errors="replace")

    @property
    def _name(self) -> str:
        return " ".join(Path(self.command[0]).name if i == 0 else word for i, word in enumerate(self.command[:3]))


class SettledServer(ServerProcess):
    """Runs a server on a free port with what `settings` say; other options than `flags` are its defaults.

    Args:
        program: What to run.
        names: Its flags, each with the field of `settings` that it takes; it has ``--port`` besides.
        settings: Model, threads and batch sizes.
        flags: Further words.
        path, environment: As of `ServerProcess`.
    """

    def __init__(
        self, program: Sequence[str], names: Mapping[str, str], settings: Settings, flags: Sequence[str],
        path: str = "/health", environment: Mapping[str, str] | None = None,
    ) -> None:  # fmt: skip
        port = free_port()
        words = (word for flag, name in names.items() for word in (flag, str(getattr(settings, name))))
        super().__init__([*program, "--port", str(port), *words, *flags], port, path, environment)


class OurServer(SettledServer):
    """Runs ``python -m llama_bind.server``."""

    def __init__(self, settings: Settings, *flags: str) -> None:
        names = {"--model": "model", "--n_threads": "threads", "--n_batch": "n_batch", "--n_ubatch": "n_ubatch"}
        super().__init__([sys.executable, "-m", "llama_bind.server"], names, settings, flags)


class PeerServer(SettledServer):
    """Runs llama-cpp-python's server."""

    def __init__(self, settings: Settings, *flags: str) -> None:
        command = [str(peer_python()), str(Path(__file__).with_name("peer_server_program.py"))]
        names = {"--model": "model", "--n_threads": "threads", "--n_threads_batch": "threads", "--n_batch": "n_batch"}
        super().__init__(command, names, settings, flags, "/v1/models", {"LLAMA_CPP_LIB_PATH": str(BUILD / "bin")})


class LlamaServer(SettledServer):
    """Runs llama-server, and asks it."""

    def __init__(self, settings: Settings, *flags: str) -> None:
        names = {"-m": "model", "-t": "threads", "-tb": "threads", "-b": "n_batch", "-ub": "n_ubatch"}
        super().__init__([str(program("llama-server")), "--host", "127.0.0.1"], names, settings, flags)

    def complete(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /completion.

        Raises:
            ServerError: the answer is an error.
        """
        return self._answer("/completion", body)

    def chat(self, body: dict[str, Any]) -> dict[str, Any]:
        """POST /v1/chat/completions.

        Raises:
            ServerError: the answer is an error.
        """
        return self._answer("/v1/chat/completions", body)

    def _answer(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        connection = self._post(path, body)
        try:
            response = connection.getresponse()
            text = response.read().decode()
            if response.status != 200:
                raise ServerError(f"{response.status} {text[:300]}")
            answer: dict[str, Any] = json.loads(text)
            return answer
        finally:
            connection.close()

    def stream(self, body: dict[str, Any]) -> Generator[dict[str, Any], None, None]:
        """POST /completion with streaming: the events as they come. Closing the iterator closes the connection.

        Raises:
            ServerError: the answer is an error, or one of the events is.
        """
        connection = self._post("/completion", {**body, "stream": True})
        try:
            response = connection.getresponse()
            if response.status != 200:
                raise ServerError(f"{response.status} {response.read(300).decode(errors='replace')}")
            for event in events_of(iter(response.readline, b"")):
                if "error" in event:
                    raise ServerError(json.dumps(event["error"])[:300])
                yield event
        finally:
            connection.close()

    def _post(self, path: str, body: dict[str, Any]) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_SECONDS)
        connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
        return connection


def events_of(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON values of server-sent events, up to ``[DONE]`` or the end."""
    for line in lines:
        text = line.decode().strip()
        if text.startswith("data:"):
            data = text[len("data:") :].strip()
            if data == "[DONE]":
                return
            event: dict[str, Any] = json.loads(data)
            yield event
        elif text.startswith("error:"):
            yield {"error": text[len("error:") :].strip()}


def mapped_cpu_backend(pid: int | str = "self") -> str:
    """File name of the CPU backend that a process has mapped; empty where the system does not say."""
    maps = Path(f"/proc/{pid}/maps")
    found = re.search(r"(libggml-cpu[^/\s]*\.so)", maps.read_text()) if maps.exists() else None
    return found[1] if found else ""


def _end_with_parent() -> None:
    """In the new process: it ends when the one that started it is killed. Only Linux can be asked for that."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
