"""HTTP by hand, for what no client would send."""

from __future__ import annotations

import contextlib
import dataclasses
import http.client
import json
import socket
from collections.abc import Iterator
from typing import Any

__all__ = ["Raw", "connected", "request"]


def request(
    path: str, body: Any = None, *, method: str = "POST", headers: str = "", length: int | None = None
) -> bytes:
    """A request as bytes. `length`: what it announces, where that is not the truth."""
    data = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    length = len(data) if length is None else length
    head = f"{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n{headers}\r\n"
    return head.encode("latin-1") + data


@dataclasses.dataclass
class Raw:
    """A connection. Every wait ends after `timeout` seconds."""

    sock: socket.socket

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer: status, headers in small letters, the whole body."""
        with contextlib.closing(http.client.HTTPResponse(self.sock)) as response:
            response.begin()
            return response.status, {k.lower(): v for k, v in response.getheaders()}, response.read()

    def rest(self) -> bytes:
        """All that comes until the server closes; what came before, where it resets the connection."""
        found = b""
        with contextlib.suppress(ConnectionResetError):
            while part := self.sock.recv(65536):
                found += part
        return found


@contextlib.contextmanager
def connected(port: int, timeout: float = 20) -> Iterator[Raw]:
    """A connection to a server on loopback."""
    with socket.create_connection(("127.0.0.1", port), timeout=timeout) as sock:
        yield Raw(sock)
