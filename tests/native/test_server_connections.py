"""Connections: slow clients, too many of them, what a kept one serves next, and noise."""

from __future__ import annotations

import contextlib
import json
import logging
import random
import re
import socket
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import pytest
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from llama_bind.errors import EngineCrashedError
from tests.llamas import shared
from tests.raw_http import Raw, connected, request
from tests.servers import GREEDY, app_of, listening

SHORT = {"prompt": "Hello", "max_tokens": 2, **GREEDY}
PATH = "/v1/completions"
HEAD, BODY = 0.3, 0.5
"""Seconds that clients of these servers get to send."""


@pytest.fixture(scope="module", params=[HttpToolsProtocol, H11Protocol])
def app_and_port(request: pytest.FixtureRequest) -> Iterator[tuple[Any, int]]:
    app = app_of()
    limits: dict[str, Any] = {"header_timeout": HEAD, "body_timeout": BODY, "max_connections": 20}
    with listening(app, base=request.param, **limits) as port:
        yield app, port


@pytest.fixture
def port(app_and_port: tuple[Any, int]) -> int:
    return app_and_port[1]


def dribble(raw: Raw, data: bytes, seconds: float = 5) -> float:
    """Send a byte now and then until the server has had enough; how long that took."""
    begun = time.monotonic()
    raw.sock.settimeout(0.02)
    for index in range(int(seconds / 0.02)):
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.sock.sendall(data[index : index + 1])
        try:
            if raw.sock.recv(1, socket.MSG_PEEK) is not None:
                break
        except TimeoutError:
            continue
        except ConnectionResetError:
            break
    raw.sock.settimeout(20)
    return time.monotonic() - begun


def too_late(raw: Raw, what: str) -> None:
    status, headers, body = raw.answer()
    error = json.loads(body)["error"]
    assert (status, error["code"], error["type"]) == (408, "request_timeout", "invalid_request_error")
    assert what in error["message"]
    assert headers["connection"] == "close"
    assert raw.rest() == b""


# -- slow ones ---------------------------------------------------------------------------------------------------


def test_a_client_that_sends_nothing_is_let_go(port: int) -> None:
    begun = time.monotonic()
    with connected(port) as raw:
        assert raw.rest() == b""
    assert HEAD * 0.8 < time.monotonic() - begun < 10


def test_a_head_that_comes_slowly(port: int) -> None:
    with connected(port) as raw:
        raw.send(b"POST /v1/completions HTTP/1.1\r\n")
        assert dribble(raw, b"X-Long: " + b"y" * 1000) < 4
        too_late(raw, "head")


def test_lines_that_begin_nothing(port: int) -> None:
    with connected(port) as raw:
        assert dribble(raw, b"\r\n" * 500) < 4
        assert b"HTTP/1.1 200" not in raw.rest()


def test_a_body_that_comes_slowly(app_and_port: tuple[Any, int]) -> None:
    app, port = app_and_port
    with connected(port) as raw:
        raw.send(request(PATH, b'{"prompt": "', length=10_000))
        assert dribble(raw, b"x" * 1000) < 4
        too_late(raw, "body")
    with connected(port) as raw:
        raw.send(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n")
        assert dribble(raw, b"1\r\nx\r\n" * 200) < 4
        too_late(raw, "body")
    for _ in range(100):
        if app.state.traffic.open == app.state.traffic.body_bytes == 0:
            break
        time.sleep(0.02)
    assert (app.state.traffic.open, app.state.traffic.body_bytes) == (0, 0)


def test_the_body_of_a_request_that_is_answered_already(port: int) -> None:
    with connected(port) as raw:
        raw.send(request("/nothing", b"x", length=10_000))
        assert raw.answer()[0] == 404
        assert dribble(raw, b"x" * 1000) < 4
        assert raw.rest() == b""


def test_waiting_between_requests_is_no_slowness(port: int) -> None:
    with connected(port) as raw:
        for _ in range(2):
            raw.send(request(PATH, SHORT))
            assert raw.answer()[0] == 200
            time.sleep(HEAD * 2)
        raw.send(b"POST /v1/comp")
        dribble(raw, b"letions")
        too_late(raw, "head")


def test_a_slow_client_that_is_fast_enough(port: int) -> None:
    whole = request(PATH, SHORT)
    with connected(port) as raw:
        for index in range(0, len(whole), len(whole) // 5 + 1):
            raw.send(whole[index : index + len(whole) // 5 + 1])
            time.sleep(HEAD / 8)
        assert raw.answer()[0] == 200


def test_a_stream_may_take_longer_than_a_request() -> None:
    """Also while the next request has begun to arrive."""
    slow = {"seconds": 0.12, "chunks": 8}
    with listening(app_with(**slow), header_timeout=HEAD, body_timeout=BODY) as port, connected(port) as raw:
        raw.send(request(PATH, {**SHORT, "stream": True}) + b"POST /v1/")
        status, _, body = raw.answer()
        assert status == 200
        assert body.count(b"data: ") == 9
        assert body.endswith(b"data: [DONE]\n\n")
        assert b"timeout" not in body


# -- too much ----------------------------------------------------------------------------------------------------


def test_a_head_without_end(port: int) -> None:
    with connected(port) as raw:
        raw.send(b"GET /health HTTP/1.1\r\nHost: localhost\r\n")
        for index in range(1500):
            raw.send(b"X-%d: %b\r\n" % (index, b"y" * 100))
        status, _, body = raw.answer()
        assert (status, json.loads(body)["error"]["code"]) in ((431, "head_too_large"), (400, "invalid_http"))
        assert raw.rest() == b""


def test_who_is_refused_may_finish_sending(port: int) -> None:
    """And then sees why: the connection is not reset under the client's hands."""
    for chunked in (False, True):
        with connected(port) as raw:
            size = 40_000_000
            head = "Transfer-Encoding: chunked" if chunked else f"Content-Length: {size}"
            raw.send(f"POST {PATH} HTTP/1.1\r\nHost: localhost\r\n{head}\r\n\r\n".encode())
            for _ in range(size // 100_000):
                raw.send((b"186a0\r\n%b\r\n" if chunked else b"%b") % (b"x" * 100_000))
            status, headers, body = raw.answer()
            assert (status, json.loads(body)["error"]["code"]) == (413, "request_too_large")
            assert headers["connection"] == "close"
            assert raw.rest() == b""


def test_too_many_connections() -> None:
    app = app_of()
    with listening(app, max_connections=10) as port, contextlib.ExitStack() as stack:
        served = [stack.enter_context(connected(port)) for _ in range(10)]
        for raw in served:
            raw.send(request("/health", method="GET"))
            assert raw.answer()[0] == 200
        for _ in range(3):
            raw = stack.enter_context(connected(port))
            raw.send(request(PATH, SHORT))
            status, headers, body = raw.answer()
            assert (status, json.loads(body)["error"]["code"]) == (503, "too_many_connections")
            assert headers["retry-after"].isdigit()
            assert raw.rest() == b""
        held = [stack.enter_context(connected(port)) for _ in range(15)]
        assert [raw.rest() for raw in held[10:]] == [b""] * 5, "far too many get no answer at all"
        for raw in held:
            raw.sock.close()
        for raw in served:
            raw.send(request(PATH, SHORT))
            assert raw.answer()[0] == 200, "those that were there are served on"
        served[0].sock.close()
        eventually_served(port)


def eventually_served(port: int) -> None:
    for _ in range(200):
        with connected(port) as raw:
            raw.send(request("/health", method="GET"))
            if raw.answer()[0] == 200:
                return
        time.sleep(0.02)
    raise AssertionError("there is room again, and nobody is let in")


# -- kept ones ---------------------------------------------------------------------------------------------------


class Stand:
    """In place of a model: a stream that takes its time, or fails in the middle."""

    model_path = "tiny"

    def __init__(self, seconds: float = 0, chunks: int = 3, fail: BaseException | None = None) -> None:
        self.seconds, self.chunks, self.fail = seconds, chunks, fail

    async def create_completion(self, _prompt: Any, **_options: Any) -> AsyncIterator[Any]:
        return self._stream()

    async def _stream(self) -> AsyncIterator[Any]:
        import asyncio

        for index in range(self.chunks):
            await asyncio.sleep(self.seconds)
            yield {"id": "x", "choices": [{"index": 0, "text": str(index), "finish_reason": None}]}
        if self.fail is not None:
            raise self.fail

    async def close(self) -> None:
        pass


def app_with(**stand: Any) -> Any:
    app = app_of()
    app.state.service.llm = Stand(**stand)
    return app


def test_a_kept_connection_serves_the_next_request_after_any_end(port: int) -> None:
    stream = {**SHORT, "stream": True}
    first = [
        (request(PATH, SHORT), 200),
        (request(PATH, stream), 200),
        (request(PATH, {**stream, "max_tokens": 240, "timeout": 0.001}), 200),
        (request(PATH, {**SHORT, "prompt": 5}), 400),
        (request(PATH, b"{"), 400),
        (request(PATH, {**stream, "temperature": -1}), 400),
        (request(PATH, {**stream, "prompt": "x" * 10_000}), 400),
        (request("/nothing", SHORT), 404),
        (request("/nothing", method="DELETE"), 404),
        (request(PATH, method="GET"), 405),
        (request("/health", method="HEAD"), 405),
        (request("/metrics", method="GET"), 200),
        (request(PATH, stream, headers="Expect: 100-continue\r\n"), 200),
    ]
    with connected(port) as raw:
        ports = set()
        for _ in range(2):
            for sent, wanted in first:
                raw.send(sent)
                status, headers, body = head_answer(raw) if b"HEAD " in sent[:5] else raw.answer()
                assert status == wanted, (sent, body)
                assert headers.get("connection") != "close"
                raw.send(request(PATH, SHORT))
                assert raw.answer()[0] == 200, f"after {sent!r}"
                ports.add(raw.sock.getsockname())
        assert len(ports) == 1
    assert shared(n_seq_max=4).stats.running == 0


def head_answer(raw: Raw) -> tuple[int, dict[str, str], bytes]:
    """The answer to HEAD, which has no body whatever it says."""
    found = b""
    while b"\r\n\r\n" not in found:
        found += raw.sock.recv(1)
    return int(found.split()[1]), {}, b""


def test_several_requests_sent_at_once_are_answered_in_order(port: int) -> None:
    with connected(port) as raw:
        raw.send(request(PATH, SHORT) + request("/nothing", SHORT) + request(PATH, {**SHORT, "stream": True}))
        whole = b""
        while whole.count(b"HTTP/1.1 ") < 3 or not whole.endswith(b"0\r\n\r\n"):
            part = raw.sock.recv(65536)
            assert part, whole
            whole += part
    assert re.findall(rb"HTTP/1\.1 (\d+) ", whole) == [b"200", b"404", b"200"]


@pytest.mark.parametrize(
    ("fail", "code"), [(EngineCrashedError(-9), "engine_crashed"), (ZeroDivisionError("secret"), "internal_error")]
)
def test_what_fails_in_a_stream_is_an_event_and_the_connection_goes_on(
    fail: BaseException, code: str, caplog: pytest.LogCaptureFixture
) -> None:
    with listening(app_with(fail=fail)) as port, connected(port) as raw, caplog.at_level(logging.CRITICAL):
        for _ in range(3):
            raw.send(request(PATH, {**SHORT, "stream": True}))
            status, _, body = raw.answer()
            assert status == 200
            events = body.decode().strip().split("\n\n")
            assert len(events) == 5
            error = json.loads(events[3][6:])["error"]
            assert (error["code"], error["param"]) == (code, None)
            assert {"message", "type", "param", "code"} == set(error)
            assert events[4] == "data: [DONE]"
            assert b"secret" not in body
        raw.send(request("/health", method="GET"))
        assert raw.answer()[0] == 200


# -- noise -------------------------------------------------------------------------------------------------------

SEEDS = [
    request(PATH, SHORT),
    request(PATH, {**SHORT, "stream": True, "n": 2}),
    request("/v1/chat/completions", {"messages": [{"role": "user", "content": "x"}], "max_tokens": 2}),
    request("/tokenize", {"content": "Hello"}),
    request("/health", method="GET"),
    request("/v1/models/tiny?x=%20&y=z", method="GET", headers="Accept: */*\r\nAuthorization: Bearer x\r\n"),
    b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'12\r\n{"prompt": "Hello"\r\n11\r\n, "max_tokens": 1\r\n1\r\n}\r\n0\r\n\r\n',
]
TOKENS = [
    *(b"\r\n", b"\n", b"\r", b"\x00", b"\xff", b" ", b":", b'"', b"{", b"}", b"#", b"-1", b"1e999", b"%00", b"../"),
    *(b"Content-Length: 0\r\n", b"Content-Length: 99999999999999\r\n", b"Transfer-Encoding: chunked\r\n"),
    *(b"Connection: close\r\n", b"Expect: 100-continue\r\n", b"Upgrade: websocket\r\nConnection: Upgrade\r\n"),
    *(b"HTTP/1.0", b"HTTP/2.0", b"GET ", b"OPTIONS * ", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"http://evil.example/"),
    *(b"ffffffffffffffff\r\n", b"\xe2\x82", b"?" * 50),
]


def mutated(rng: random.Random) -> bytes:
    data = bytearray(rng.choice(SEEDS))
    for _ in range(rng.randint(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(5)
        if kind == 0:
            data[at:at] = rng.choice(TOKENS)
        elif kind == 1:
            del data[at : at + rng.randint(1, 12)]
        elif kind == 2:
            data[at : at + 1] = bytes([rng.randrange(256)])
        elif kind == 3:
            data = data[:at]
        else:
            data[at:at] = rng.choice(SEEDS)
    return bytes(data)


def test_noise(port: int, caplog: pytest.LogCaptureFixture) -> None:
    """Whatever comes: an answer that is HTTP, or the end of the connection, never a 500, and the next one is served."""
    rng, statuses = random.Random(20), set()
    last = request("/health", method="GET", headers="Connection: close\r\n")
    with caplog.at_level(logging.ERROR):
        for _ in range(12):
            with contextlib.ExitStack() as stack:
                sent = []
                for _ in range(15):
                    raw, noise = stack.enter_context(connected(port)), mutated(rng)
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        raw.send(noise + last)
                    sent.append((raw, noise))
                for raw, noise in sent:
                    answer = raw.rest()
                    assert answer == b"" or answer.startswith(b"HTTP/1.1 "), noise
                    statuses |= set(re.findall(rb"HTTP/1\.1 (\d+) ", answer))
                    assert b"HTTP/1.1 5" not in answer, noise
        assert httpx.post(f"http://127.0.0.1:{port}{PATH}", json=SHORT, timeout=30).status_code == 200
    assert [record.getMessage() for record in caplog.records] == []
    assert {b"200", b"400", b"404", b"408"} <= statuses, "the noise is of many kinds"
    for _ in range(500):
        if shared(n_seq_max=4).stats.running + shared(n_seq_max=4).stats.waiting == 0:
            return
        time.sleep(0.01)
    raise AssertionError("a request was left behind")
