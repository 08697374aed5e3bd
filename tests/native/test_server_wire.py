"""What clients do over a socket: streams, leaving, not reading, connections that are kept, sizes, noise."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest

from llama_bind.server.errors import ApiError
from llama_bind.server.sse import EventStream
from tests.llamas import shared, tiny
from tests.servers import GREEDY, app_of, listening

LONG = {"prompt": "Hello", "max_tokens": 200, "stream": True, **GREEDY}


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening(app_of()) as port:
        yield port


def engine_stats() -> Any:
    return shared(n_seq_max=4).stats


def eventually(check: Any) -> None:
    for _ in range(1000):
        if check():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen within 10 s")


def send(sock: socket.socket, path: str, body: Any, headers: str = "") -> None:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(data)}\r\n{headers}\r\n"
    sock.sendall(head.encode() + data)


def test_a_kept_connection_serves_the_next_request_after_a_stream(port: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    locals_: set[Any] = set()
    for _ in range(5):
        connection.request("POST", "/v1/completions", json.dumps({**LONG, "max_tokens": 5}))
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read().endswith(b"data: [DONE]\n\n")
        connection.request("GET", "/health")
        assert connection.getresponse().read() == b'{"status":"ok"}'
        locals_.add(connection.sock.getsockname())
    assert len(locals_) == 1, "it was one connection"
    connection.close()


def test_chunks_come_as_they_are_made(port: int) -> None:
    with httpx.stream("POST", f"http://127.0.0.1:{port}/v1/completions", json=LONG) as answer:
        arrived = [time.monotonic() for line in answer.iter_lines() if line.startswith("data: {")]
    assert len(arrived) > 100
    assert arrived[-1] - arrived[0] > 0, "not all at once"


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_ends_its_request(port: int, stream: bool) -> None:
    before = engine_stats()
    body = {**LONG, "max_tokens": 240, "stream": stream, "n": 4, "top_k": 0}
    with socket.create_connection(("127.0.0.1", port)) as sock:
        send(sock, "/v1/completions", body)
        eventually(lambda: engine_stats().requests == before.requests + 4)
    eventually(lambda: engine_stats().running + engine_stats().waiting == 0)
    after = engine_stats()
    assert after.cancelled > before.cancelled
    assert after.finished == before.finished + 4


def test_a_client_that_leaves_while_its_prompt_is_computed() -> None:
    with tiny(n_ctx=32768, n_batch=64, n_ubatch=64, file={"n_ctx_train": 32768}) as llm, listening(app_of(llm)) as port:
        body = {"prompt": [5] * 30_000, "max_tokens": 1}
        with socket.create_connection(("127.0.0.1", port)) as sock:
            send(sock, "/v1/completions", body)
            eventually(lambda: llm.stats.steps > 2)
        eventually(lambda: llm.stats.running + llm.stats.waiting == 0)
        assert llm.stats.cancelled == 1
        assert llm.stats.prompt_tokens < 30_000


def test_a_client_that_leaves_in_the_middle_of_its_body(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


def test_a_client_that_reads_nothing_is_let_go() -> None:
    llm = tiny(n_ctx=8192, file={"n_ctx_train": 8192})
    app = app_of(llm)
    with llm, listening(app, write_timeout=0.3) as port:
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.connect(("127.0.0.1", port))
        send(sock, "/v1/completions", {**LONG, "max_tokens": 8000, "n": 16, "logprobs": 20, "prompt": "x"})
        eventually(lambda: llm.stats.requests == 16)
        eventually(lambda: llm.stats.cancelled > 0)
        eventually(lambda: llm.stats.running + llm.stats.waiting == 0)
        sock.close()
        assert app.state.traffic.open == 0


def test_many_connections_at_once(port: int) -> None:
    sockets = [socket.create_connection(("127.0.0.1", port)) for _ in range(400)]
    try:
        for sock in sockets:
            sock.sendall(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        for sock in sockets:
            sock.settimeout(30)
            assert sock.recv(4096).startswith(b"HTTP/1.1 200")
    finally:
        for sock in sockets:
            sock.close()


def test_streams_at_once_do_not_mix(port: int) -> None:
    texts: dict[int, str] = {}

    def read(index: int) -> None:
        body = {"prompt": [5 + index, 6], "max_tokens": 12, "stream": index % 2 == 0, **GREEDY}
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body, timeout=60)
        if index % 2:
            texts[index] = answer.json()["choices"][0]["text"]
        else:
            lines = [json.loads(line[6:]) for line in answer.text.splitlines() if line.startswith("data: {")]
            texts[index] = "".join(line["choices"][0]["text"] for line in lines)

    threads = [threading.Thread(target=read, args=(i,)) for i in range(24)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    alone = shared(n_seq_max=4).generate_many([[5 + i, 6] for i in range(24)], max_tokens=12, **GREEDY)
    assert [texts[i] for i in range(24)] == [result["choices"][0]["text"] for result in alone]


# -- sizes and noise ---------------------------------------------------------------------------------------------


def test_a_body_of_50_megabytes_is_refused_before_it_is_read(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(30)
        sock.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 52428800\r\n\r\n")
        answer = b""
        while part := sock.recv(65536):
            answer += part
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"request_too_large" in answer
    assert b"connection: close" in answer.lower()


def test_a_body_that_does_not_say_its_length() -> None:
    with listening(app_of(max_body_bytes=4096)) as port:

        def parts() -> Iterator[bytes]:
            for _ in range(100):
                yield b"x" * 1000

        answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", content=parts())
        assert answer.status_code == 413
        assert answer.json()["error"]["code"] == "request_too_large"


@pytest.mark.parametrize(
    "noise",
    [
        b"\x00\x01\x02\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n{}",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /%00%ff HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"GET /health HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * 200_000 + b"\r\n\r\n",
        b"GET /v1/models/a%0d%0aX-Injected:%201 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ],
)
def test_noise_is_answered_and_does_no_harm(port: int, noise: bytes) -> None:
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(10)
        answer = b""
        try:
            sock.sendall(noise)
            sock.shutdown(socket.SHUT_WR)
            while part := sock.recv(65536):
                answer += part
        except TimeoutError:
            raise
        except OSError:  # refused while it was still sent
            pass
    assert b"x-injected" not in answer.lower().split(b"\r\n\r\n")[0]
    assert answer == b"" or answer.startswith((b"HTTP/1.1 2", b"HTTP/1.1 4"))
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200


# -- the stream itself -------------------------------------------------------------------------------------------


async def streamed(stream: EventStream, leave_after: float | None = None) -> bytes:
    sent = b""

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(leave_after if leave_after is not None else 60)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal sent
        sent += message.get("body", b"")

    await asyncio.wait_for(stream({"type": "http"}, receive, send), 20)
    return sent


class Slow:
    def __init__(self, seconds: float, fail: BaseException | None = None) -> None:
        self.seconds, self.fail, self.closed = seconds, fail, False

    async def __aiter__(self) -> AsyncIterator[Any]:
        yield {"n": 1}
        await asyncio.sleep(self.seconds)
        if self.fail is not None:
            raise self.fail
        yield {"n": 2}

    async def aclose(self) -> None:
        self.closed = True


def test_comments_while_nothing_comes() -> None:
    slow = Slow(0.5)
    sent = asyncio.run(streamed(EventStream(slow, comments=0.1)))
    assert sent.startswith(b'data: {"n":1}\n\n: ')
    assert sent.endswith(b'data: {"n":2}\n\ndata: [DONE]\n\n')
    assert 2 <= sent.count(b": still here\n\n") <= 5
    assert slow.closed


class Waiting(Slow):
    async def __aiter__(self) -> AsyncIterator[Any]:
        yield {"n": 0}
        await asyncio.sleep(self.seconds)
        if self.fail is not None:
            raise self.fail
        yield {"n": 1}


def test_an_answer_begins_with_its_first_chunk_or_a_comment() -> None:
    refusal = ApiError(503, "service_unavailable", "gone", "Sorry.")
    early = asyncio.run(streamed(EventStream(Waiting(0, refusal), opening=1)))
    assert json.loads(early)["error"]["code"] == "gone", "not a stream at all"
    late = asyncio.run(streamed(EventStream(Waiting(0.3, refusal), opening=1, comments=0.1)))
    assert late.startswith(b'data: {"n":0}\n\n: still here\n\n')
    assert late.endswith(b"data: [DONE]\n\n")
    assert b'"code":"gone"' in late
    whole = asyncio.run(streamed(EventStream(Waiting(0), opening=1)))
    assert whole == b'data: {"n":0}\n\ndata: {"n":1}\n\ndata: [DONE]\n\n'
    short = asyncio.run(streamed(EventStream(Waiting(0), opening=5)))
    assert short == whole


def test_a_failure_is_an_event_and_the_stream_still_ends() -> None:
    sent = asyncio.run(streamed(EventStream(Slow(0, ApiError(503, "service_unavailable", "gone", "Sorry.")))))
    events = sent.split(b"\n\n")
    assert json.loads(events[1][6:])["error"]["code"] == "gone"
    assert events[2] == b"data: [DONE]"
    secret = asyncio.run(streamed(EventStream(Slow(0, RuntimeError("secret")))))
    assert b"secret" not in secret
    assert b"internal_error" in secret


def test_leaving_closes_what_is_streamed() -> None:
    slow = Slow(30)
    sent = asyncio.run(streamed(EventStream(slow), leave_after=0.1))
    assert sent == b'data: {"n":1}\n\n'
    assert slow.closed
