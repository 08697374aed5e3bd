"""The server with its engine in a process of its own, on tiny models: many streams, a killed engine, one that hangs."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import ssl
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_bind import Llama
from llama_bind.engine.process import EngineProcess
from llama_bind.server import asking
from llama_bind.server.service import Service
from llama_bind.server.settings import Settings
from tests.llamas import tiny
from tests.servers import GREEDY, app_of, get, listening, with_client

STREAMS = 200


def far(n_ctx: int = 2048, **options: Any) -> Llama:
    return tiny(engine_process=True, n_ctx=n_ctx, file={"n_ctx_train": n_ctx}, **options)


def test_two_hundred_open_streams_are_all_served() -> None:
    async def one(client: httpx.AsyncClient, index: int) -> int:
        body = {"prompt": [5 + index, 6], "max_tokens": 20, "stream": True, **GREEDY}
        async with client.stream("POST", "/v1/completions", json=body) as answer:
            assert answer.status_code == 200
            lines = [line async for line in answer.aiter_lines() if line]
        assert lines[-1] == "data: [DONE]"
        return len(lines)

    async def work(port: int) -> list[int]:
        limits = httpx.Limits(max_connections=None)
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=120, limits=limits) as client:
            return list(await asyncio.gather(*(one(client, i) for i in range(STREAMS))))

    with far(n_seq_max=8, max_queue=512) as llm, listening(app_of(llm)) as port:
        assert min(asyncio.run(work(port))) > 2
        stats = llm.stats
        assert (stats.finished, stats.running, stats.waiting) == (STREAMS, 0, 0)


def test_a_killed_engine_is_a_503_and_those_that_wait_are_served() -> None:
    with far(n_ctx=32768, n_seq_max=1) as llm, listening(app_of(llm)) as port:
        engine = llm.engine
        assert isinstance(engine, EngineProcess)
        url = f"http://127.0.0.1:{port}/v1/completions"
        answers: dict[str, httpx.Response] = {}

        def ask(name: str, n: int) -> None:
            answers[name] = httpx.post(url, json={"prompt": "x", "max_tokens": n, **GREEDY}, timeout=120)

        threads = [threading.Thread(target=ask, args=("runs", 32000))]
        threads[0].start()
        while llm.stats.running < 1:
            time.sleep(0.01)
        threads += [threading.Thread(target=ask, args=(f"waits {i}", 2)) for i in range(4)]
        for thread in threads[1:]:
            thread.start()
        while llm.stats.waiting < 4:
            time.sleep(0.01)
        assert engine.process_id is not None
        os.kill(engine.process_id, signal.SIGKILL)
        for thread in threads:
            thread.join(120)
        crashed = answers.pop("runs")
        assert (crashed.status_code, crashed.json()["error"]["code"]) == (503, "engine_crashed")
        assert crashed.headers["retry-after"] == "2"
        assert [a.status_code for a in answers.values()] == [200] * 4
        assert engine.restarts == 1


def test_counters_of_an_engine_that_hangs_are_the_last_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "TIMEOUT", 0.1)
    with far(n_seq_max=1) as llm:
        engine = llm.engine
        assert isinstance(engine, EngineProcess)
        app = app_of(llm)

        async def work(client: httpx.AsyncClient) -> None:
            assert "llama_bind_steps_total 0.0" in (await client.get("/metrics")).text
            assert engine.process_id is not None
            os.kill(engine.process_id, signal.SIGSTOP)
            try:
                for _ in range(3):
                    answer = await asyncio.wait_for(client.get("/metrics"), 10)
                    assert "llama_bind_steps_total 0.0" in answer.text
                    assert (await client.get("/health")).status_code == 200
                    assert len((await client.get("/slots")).json()) == 1
            finally:
                os.kill(engine.process_id, signal.SIGCONT)

        with_client(work, app=app)


def test_tls(tmp_path: Path) -> None:
    program = shutil.which("openssl")
    if program is None:
        pytest.skip("needs the openssl program to make a certificate")
    key, certificate = str(tmp_path / "key.pem"), str(tmp_path / "cert.pem")
    subprocess.run(
        [program, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", certificate, "-days", "2",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
        check=True, capture_output=True, timeout=60,
    )  # fmt: skip
    with tiny() as llm, listening(app_of(llm), ssl_keyfile=key, ssl_certfile=certificate) as port:
        trusted = ssl.create_default_context(cafile=certificate)
        answer = httpx.get(f"https://127.0.0.1:{port}/health", verify=trusted)
        assert answer.json() == {"status": "ok"}


def test_a_load_that_fails_is_told_without_its_path(tmp_path: Path) -> None:
    from llama_bind.server.app import create_app

    secret = tmp_path / "secret.gguf"
    secret.write_bytes(b"not a model")
    seen: list[Service] = []
    app = create_app(Settings.of(secret), on_loaded=seen.append)

    async def main() -> None:
        async with app.router.lifespan_context(app):
            while not seen:
                await asyncio.sleep(0.01)
            assert seen[0].error is not None

    asyncio.run(asyncio.wait_for(main(), 60))
    answer = get("/health", app=app)
    assert (answer.status_code, answer.json()) == (503, {"status": "error"})
    refused = get("/slots", app=app)
    assert refused.json()["error"]["code"] == "model_error"
    assert "secret" not in refused.text
