"""The load generator counts what a server sends, however its bytes are cut, and fails when a request does."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar

import pytest

from benchmarks.http_load import run_load


class _Handler(socketserver.StreamRequestHandler):
    head: ClassVar[bytes] = b""
    parts: ClassVar[list[bytes]] = []
    chunked: ClassVar[bool] = True

    def handle(self) -> None:
        size = 0
        while (line := self.rfile.readline()).strip():
            if line.lower().startswith(b"content-length:"):
                size = int(line.split(b":")[1])
        self.rfile.read(size)
        self.wfile.write(self.head)
        for part in self.parts:
            self.wfile.write(b"%x\r\n%b\r\n" % (len(part), part) if self.chunked else part)
            self.wfile.flush()
        if self.chunked:
            self.wfile.write(b"0\r\n\r\n")


@contextmanager
def serving(parts: list[bytes], status: bytes = b"200 OK", *, chunked: bool = True) -> Iterator[int]:
    head = b"HTTP/1.1 %b\r\n%b\r\n" % (status, b"Transfer-Encoding: chunked\r\n" if chunked else b"")
    handler = type("Handler", (_Handler,), {"head": head, "parts": parts, "chunked": chunked})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield server.server_address[1]
        server.shutdown()
        thread.join(10)


def event(value: Any) -> bytes:
    return b"data: %b\n\n" % json.dumps(value).encode()


def delta(**fields: Any) -> bytes:
    return event({"choices": [{"index": 0, "delta": fields, "finish_reason": None}]})


END = event({"choices": [{"index": 0, "delta": {}, "finish_reason": "length"}]})
USAGE = event({"choices": [], "usage": {"completion_tokens": 7}})
WHOLE = delta(role="assistant", content="") + delta(content="one ") + delta(content="two") + END + USAGE
WHOLE += b"data: [DONE]\n\n"


@pytest.mark.parametrize("size", [1, 7, 10_000])
@pytest.mark.parametrize("chunked", [True, False])
def test_what_was_sent_is_counted_however_it_is_cut(size: int, chunked: bool) -> None:
    parts = [WHOLE[at : at + size] for at in range(0, len(WHOLE), size)]
    with serving(parts, chunked=chunked) as port:
        load = run_load(port, [{"messages": []}] * 5, 2, timeout=20)
    assert [(a.text, a.tokens, a.finish) for a in load.answers] == [("one two", 7, "length")] * 5
    assert all(0 < a.first <= a.total <= load.wall for a in load.answers)
    assert load.rate == pytest.approx(35 / load.wall)


def test_without_usage_chunks_count() -> None:
    with serving([delta(content="x"), delta(content="y"), END]) as port:
        assert run_load(port, [{}], 1, timeout=20).answers[0].tokens == 2


@pytest.mark.parametrize(
    ("parts", "status", "said"),
    [
        ([b"{}"], b"503 Busy", "503"),
        ([delta(content="x"), event({"error": {"message": "broken"}})], b"200 OK", "broken"),
        ([END, USAGE], b"200 OK", "without text"),
    ],
)
def test_a_request_that_fails_fails_the_load(parts: list[bytes], status: bytes, said: str) -> None:
    with serving(parts, status) as port, pytest.raises(RuntimeError, match=said):
        run_load(port, [{}], 1, timeout=20)
