"""What clients send by mistake or on purpose: each gets the right error, nothing is opened for it, nothing breaks."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import resource
import selectors
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_bind.server.run import raise_file_limit
from tests.llamas import shared
from tests.raw_http import connected, request
from tests.servers import GREEDY, app_of, error_of, get, listening, post, with_client

SHORT = {"prompt": "Hello", "max_tokens": 2, **GREEDY}
CHAT = "/v1/chat/completions"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with listening(app_of()) as port:
        yield port


def works(port: int) -> bool:
    return httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=SHORT, timeout=30).status_code == 200


# -- bodies ------------------------------------------------------------------------------------------------------

BODIES: list[tuple[bytes, str, str | None]] = [
    (b"", "invalid_json", None),
    (b"hello", "invalid_json", None),
    (b'{"prompt": "x"', "invalid_json", None),
    (b'[{"prompt": "x"}]', "invalid_json", None),
    (b"null", "invalid_json", None),
    (b'{"prompt": "x", "temperature": NaN}', "invalid_json", None),
    (b'{"prompt": "x", "temperature": Infinity}', "invalid_json", None),
    (b'{"prompt": "x", "temperature": 1e400}', "invalid_json", None),
    (b'{"prompt": "x", "logit_bias": {"1": NaN}}', "invalid_json", None),
    (b'{"prompt": "\xc3\x28"}', "invalid_utf8", None),
    (b'{"prompt": "\\udc80"}', "invalid_utf8", None),
    (b'\xff\xfe{\x00"\x00', "invalid_utf8", None),
    (b"[" * 200_000, "invalid_json", None),
    (b'{"prompt": 5}', "invalid_type", "prompt"),
    (b'{"prompt": {"a": 1}}', "invalid_type", "prompt"),
    (b'{"prompt": "x", "max_tokens": "many"}', "invalid_type", "max_tokens"),
    (b'{"prompt": "x", "min_tokens": -5}', "invalid_type", "min_tokens"),
    (b'{"prompt": "x", "max_tokens": 1.5}', "invalid_type", "max_tokens"),
    (b'{"prompt": "x", "temperature": -0.1}', "invalid_type", "temperature"),
    (b'{"prompt": "x", "top_p": -1}', "invalid_type", "top_p"),
    (b'{"prompt": "x", "n": -1}', "invalid_type", "n"),
    (b'{"prompt": "x", "n": 0}', "invalid_type", "n"),
    (b'{"prompt": "x", "n": 1000000000}', "invalid_type", "n"),
    (b'{"prompt": "x", "n": 17}', "limit_exceeded", "n"),
    (b'{"prompt": "x", "n": ' + b"9" * 300 + b"}", "invalid_type", "n"),
    (b'{"prompt": "x", "timeout": -1}', "invalid_type", "timeout"),
    (b'{"prompt": "x", "seed": "x"}', "invalid_type", "seed"),
    (b'{"prompt": "x", "stop": ["a", 5]}', "invalid_type", "stop"),
    (b'{"prompt": "x", "stream_options": {"include_usage": []}, "stream": "yes"}', "invalid_type", "stream"),
    (b'{"prompt": [-1]}', "invalid_token", "prompt"),
]


@pytest.mark.parametrize(("body", "code", "param"), BODIES, ids=[repr(body[:50])[2:-1] for body, _, _ in BODIES])
def test_bodies(body: bytes, code: str, param: str | None) -> None:
    error = error_of(post("/v1/completions", content=body), 400)
    assert (error["type"], error["code"], error["param"]) == ("invalid_request_error", code, param)
    assert len(error["message"]) < 300
    assert "Traceback" not in error["message"]


def routes_with_bodies() -> list[str]:
    paths = get("/openapi.json").json()["paths"]
    return sorted(path for path, methods in paths.items() if "requestBody" in methods.get("post", {}))


def test_no_route_takes_what_is_no_body() -> None:
    routes = routes_with_bodies()
    assert len(routes) > 10
    nothing = (
        b"", b"hello", b"[1]", b"null", b'{"model": "\xc3\x28"}', b'{"x": NaN}', b'{"x": -Infinity}', b'{"x": 1e999}',
        b"[" * 200_000, b'{"model": {"a": 1}, "input": 5, "prompt": 5, "messages": 5, "content": 5.5, "tokens": "x"}',
    )  # fmt: skip

    async def ask(client: httpx.AsyncClient) -> list[tuple[str, bytes, httpx.Response]]:
        return [(path, body, await client.post(path, content=body)) for path in routes for body in nothing]

    for path, body, answer in with_client(ask):
        assert answer.status_code == 400, (path, body[:40], answer.text)
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"]["message"], (path, body[:40])
        assert len(answer.content) < 1000


def test_a_body_of_50_megabytes_that_is_sent(port: int) -> None:
    """The refusal arrives although the client goes on sending."""
    body = b'{"prompt": "' + b"x" * 50_000_000 + b'"}'
    for stream in (body, iter([body[i : i + 2**16] for i in range(0, len(body), 2**16)])):
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", content=stream, timeout=60)
        assert error_of(answer, 413)["code"] == "request_too_large"
    assert works(port)


def test_a_prompt_of_100000_tokens(port: int) -> None:
    for prompt in ("word " * 100_000, [5] * 100_000, [[5], [5] * 100_000]):
        answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json={**SHORT, "prompt": prompt}, timeout=60)
        error = error_of(answer, 400)
        assert error["code"] == "context_length_exceeded"
        assert error["n_prompt_tokens"] >= 100_000
    assert works(port)


# -- media -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def untouched() -> Iterator[int]:
    """A port where somebody listens and nobody may knock."""
    with socket.create_server(("127.0.0.1", 0), backlog=8) as listener:
        yield listener.getsockname()[1]
        with selectors.DefaultSelector() as selector:
            selector.register(listener, selectors.EVENT_READ)
            assert selector.select(0.2) == [], "the server opened a connection on a client's word"


@contextlib.contextmanager
def unopened(folder: Path) -> Iterator[Path]:
    """A file that nobody may open: whoever did would wait in it, and be seen."""
    pipe = folder / "picture.png"
    os.mkfifo(pipe)
    yield pipe
    with pytest.raises(OSError, match="No such device") as caught:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
    assert caught.value.errno == errno.ENXIO, "somebody opened the file"


def parts(url: str) -> list[dict[str, Any]]:
    return [
        {"type": "image_url", "image_url": {"url": url}},
        {"type": "image_url", "image_url": url},
        {"type": "input_image", "image_url": url},
        {"type": "image", "source": {"type": "url", "url": url}},
        {"type": "input_audio", "input_audio": {"data": url, "format": "wav"}},
        {"type": "video_url", "video_url": {"url": url}},
        {"type": "file", "file": {"file_id": url}},
    ]


@pytest.mark.parametrize("where", ["http", "https", "file", "data", "gopher", "relative"])
def test_images_are_refused_before_anything_is_fetched(tmp_path: Path, where: str) -> None:
    """Nothing can be seen by these models. Neither this machine's ports, slow ones too, nor its files are opened."""
    with untouched() as port, unopened(tmp_path) as pipe:
        url = {
            "http": f"http://localhost:{port}/secret.png",
            "https": f"https://127.0.0.1:{port}/slow.png",
            "file": pipe.as_uri(),
            "data": "data:image/png;base64,iVBORw0KGgo=",
            "gopher": f"gopher://127.0.0.1:{port}/x",
            "relative": str(pipe),
        }[where]
        for part in parts(url):
            for role in ("user", "system", "tool"):
                content = [{"type": "text", "text": "What is this?"}, part]
                answer = post(CHAT, {"messages": [{"role": role, "content": content}], "max_tokens": 1}, timeout=20)
                error = error_of(answer, 400)
                assert (error["code"], error["param"]) == ("unsupported", "messages"), error
                assert "only text parts" in error["message"]
                assert str(part["type"]) in error["message"]
                assert url not in error["message"]
        content = [{"type": "image_url", "image_url": {"url": url}}]
        template = post("/apply-template", {"messages": [{"role": "user", "content": content}]}, timeout=20)
        assert error_of(template, 400)["code"] == "unsupported"
        markdown = {"messages": [{"role": "user", "content": f"![x]({url})"}], "max_tokens": 1}
        assert post(CHAT, markdown, timeout=20).status_code == 200, "a text that names a place is a text"


@pytest.mark.parametrize("where", ["http", "file"])
def test_images_in_the_shapes_of_other_routes(tmp_path: Path, where: str) -> None:
    with untouched() as port, unopened(tmp_path) as pipe:
        url = f"http://127.0.0.1:{port}/x.png" if where == "http" else pipe.as_uri()
        source = {"type": "image", "source": {"type": "url", "url": url}}
        item = {"role": "user", "content": [{"type": "input_image", "image_url": url}]}
        file = {"role": "user", "content": [{"type": "input_file", "file_url": url}]}
        for path, body in (
            ("/v1/messages", {"messages": [{"role": "user", "content": [source]}], "max_tokens": 1}),
            ("/v1/messages/count_tokens", {"messages": [{"role": "user", "content": [source]}]}),
            ("/v1/responses", {"input": [item], "max_output_tokens": 1}),
            ("/v1/responses", {"input": [file], "max_output_tokens": 1}),
            ("/v1/completions", {"prompt": [{"prompt_string": "<__media__>", "multimodal_data": [url]}]}),
            ("/completion", {"prompt": {"prompt_string": "<__media__>", "multimodal_data": [url]}, "n_predict": 1}),
            ("/v1/embeddings", {"input": [{"type": "image_url", "image_url": url}]}),
        ):
            answer = post(path, {"model": "tiny", **body}, timeout=20)
            assert answer.status_code == 400, (path, answer.text)
            error = answer.json()["error"]
            assert error["type"] == "invalid_request_error"
            assert len(error["message"]) > 20, "it says what is wrong"


@pytest.mark.parametrize(
    "field",
    ["model", "chat_template", "grammar", "json_schema", "lora", "tools", "user", "documents", "cache_salt"],
)
def test_no_option_of_a_request_opens_anything(tmp_path: Path, field: str) -> None:
    with untouched() as port, unopened(tmp_path) as pipe:
        for place in (str(pipe), f"@{pipe}", pipe.as_uri(), f"http://127.0.0.1:{port}/x"):
            reference: Any = {"$ref": place}
            given = {
                "json_schema": reference,
                "tools": [{"type": "function", "function": {"name": "f", "parameters": reference}}],
                "documents": [{"text": place}],
                "lora": [{"path": place, "scale": 1.0}],
            }.get(field, place)
            body = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1, field: given}
            assert post(CHAT, body, timeout=20).status_code in (200, 400)


# -- heads -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("head", "statuses"),
    [
        (b"Authorization: Bearer \xff\xfe\xfd\r\n", {401}),
        (b"Authorization: Bearer " + b"x" * 20_000 + b"\r\n", {401}),
        (b"Authorization: Bearer secre\r\n", {401}),
        (b"Authorization: Bearer secret\x00\r\n", {400}),
        (b"Authorization: Bearer secret\r\nAuthorization: Bearer wrong\r\n", {200}),
        (b"Authorization: Bearer wrong\r\nAuthorization: Bearer secret\r\n", {401}),
        (b"X-Api-Key: secret\r\nX-Request-Id: a\r\n Set-Cookie: x=1\r\n", {200, 400}),
        (b"X-Api-Key: secret\r\nX-Request-Id: a\rSet-Cookie: x=1\r\n", {200, 400}),
        (b"X-Api-Key: secret\r\nX-Request-Id: a\nSet-Cookie: x=1\r\n", {200, 400}),
        (b"X-Api-Key: secret\r\nExpect: 100-continue\r\n", {200}),
        (
            b"X-Api-Key: secret\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMA\r\n",
            {200},
        ),
        (b"X-Api-Key: secret\r\nTransfer-Encoding: chunked\r\n", {400}),
        (b"X-Api-Key : secret\r\n", {400, 401}),
        (b"\x00X: y\r\n", {400}),
        (b": y\r\n", {400}),
    ],
)
def test_heads(keyed: int, head: bytes, statuses: set[int]) -> None:
    with connected(keyed) as raw:
        raw.send(request("/v1/completions", SHORT, headers=head.decode("latin-1")))
        status, headers, body = raw.answer()
        while status == 100:
            status, headers, body = raw.answer()
    assert status in statuses, body
    assert "set-cookie" not in headers
    if status != 200:
        assert {"message", "type", "param", "code"} <= set(json.loads(body)["error"])
        assert headers["content-type"] == "application/json"


@pytest.fixture(scope="module")
def keyed() -> Iterator[int]:
    with listening(app_of(api_key=["secret"])) as port:
        yield port


def test_nothing_of_a_client_becomes_a_header(keyed: int) -> None:
    evil = "x\r\nSet-Cookie: a=1\r\n\r\nHTTP/1.1 200 OK\r\n\r\n"
    body = {**SHORT, "model": evil, "user": evil, "max_token\r\nSet-Cookie: a": 1, "metadata": {evil: evil}}
    for stream in (False, True):
        with connected(keyed) as raw:
            raw.send(request("/v1/completions", {**body, "stream": stream}, headers="X-Api-Key: secret\r\n"))
            status, headers, answer = raw.answer()
        assert status == 200
        assert "set-cookie" not in headers
        assert json.dumps(evil)[1:-1].encode() in answer, "in the body it is a text like any other"
    for path in ("/v1/models/%0d%0aSet-Cookie:%20a", "/%0d%0aSet-Cookie:%20a", "/v1/models/\u010d\u010a"):
        with connected(keyed) as raw:
            raw.send(request(path.encode().decode("latin-1"), method="GET", headers="X-Api-Key: secret\r\n"))
            status, headers, _ = raw.answer()
        assert status in (400, 404)
        assert "set-cookie" not in headers


def test_an_unknown_model_is_served_by_the_only_one() -> None:
    answer = post("/v1/completions", {**SHORT, "model": "../../etc/passwd"})
    assert answer.status_code == 200
    assert answer.json()["model"] == "../../etc/passwd"
    assert error_of(get("/v1/models/../../etc/passwd"), 404)


# -- many --------------------------------------------------------------------------------------------------------


def test_a_thousand_connections(port: int) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    raise_file_limit()
    try:
        if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2500:
            pytest.skip("this system lets a process have too few files open for both sides of a thousand connections")
        begun = time.monotonic()
        with contextlib.ExitStack() as stack:
            raws = [stack.enter_context(connected(port)) for _ in range(1000)]
            for index, raw in enumerate(raws):
                body = {**SHORT, "max_tokens": 1}
                raw.send(request("/v1/completions", body) if index % 10 == 0 else request("/health", method="GET"))
            assert {raw.answer()[0] for raw in raws} == {200}
            assert works(port)
        assert time.monotonic() - begun < 60
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert shared(n_seq_max=4).stats.running == 0
