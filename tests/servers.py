"""Servers for tests: an app on a tiny model, asked in this process or over a socket on loopback."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, TypeVar

import httpx
import uvicorn
from fastapi import FastAPI

from llama_bind import AsyncLlama, Llama
from llama_bind.server.app import create_app
from llama_bind.server.protocol import protocol_class
from llama_bind.server.settings import Settings
from tests.llamas import shared

T = TypeVar("T")

GREEDY: dict[str, Any] = {"temperature": 0, "ignore_eos": True}


@functools.cache
def default_app() -> FastAPI:
    """One that tests share, with all defaults."""
    return app_of()


def app_of(llm: Llama | None = None, **settings: Any) -> FastAPI:
    """An app on a model that is loaded."""
    return create_app(Settings.of("tiny", **settings), llm=AsyncLlama.of(llm or shared(n_seq_max=4)))


def ask(
    method: str, path: str, body: Any = None, *, app: FastAPI | None = None, timeout: float = 60, **more: Any
) -> httpx.Response:
    """One request to an app, without a socket."""

    async def work(client: httpx.AsyncClient) -> httpx.Response:
        keywords = {"json": body, **more} if body is not None else more
        return await client.request(method, path, **keywords)

    return with_client(work, app=app, timeout=timeout)


def post(path: str, body: Any = None, **more: Any) -> httpx.Response:
    return ask("POST", path, body, **more)


def get(path: str, **more: Any) -> httpx.Response:
    return ask("GET", path, **more)


def with_client(
    work: Callable[[httpx.AsyncClient], Awaitable[T]], *, app: FastAPI | None = None, timeout: float = 60
) -> T:
    """The result of work with a client of an app."""

    async def main() -> T:
        transport = httpx.ASGITransport(app or default_app(), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            return await asyncio.wait_for(work(client), timeout)

    return asyncio.run(main())


def error_of(response: httpx.Response, status: int) -> dict[str, Any]:
    """The error of an answer, whose shape is checked."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert set(body) == {"error"}
    assert {"message", "type", "param", "code"} <= set(body["error"])
    assert isinstance(body["error"]["message"], str)
    error: dict[str, Any] = body["error"]
    return error


def events_of(answer: httpx.Response) -> list[Any]:
    """The events of a stream, which must be well formed, with their names."""
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "text/event-stream; charset=utf-8"
    *blocks, rest = answer.text.split("\n\n")
    assert rest == ""
    found = []
    for block in blocks:
        name, data = block.split("\n")
        found.append(json.loads(data.removeprefix("data: ")))
        assert name == f"event: {found[-1]['type']}"
    return found


PROTOCOL = frozenset({"write_timeout", "header_timeout", "body_timeout", "max_connections", "base"})


@contextlib.contextmanager
def listening(app: FastAPI, **config: Any) -> Iterator[int]:
    """An app served on loopback while the block runs; gives its port. `config`: of the protocol and of uvicorn."""
    http = protocol_class(**{name: config.pop(name) for name in PROTOCOL & config.keys()})
    server = uvicorn.Server(uvicorn.Config(app, http=http, ws="none", log_config=None, access_log=False, **config))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join(30)
            assert not thread.is_alive()
