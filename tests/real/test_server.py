"""The real process on the default model: start, answers while loading, a killed engine, the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest

from tests.server_process import Server, free_port, serving

OPTIONS = ("--n-threads", "1", "--n_ctx", "1024", "--n_gpu_layers", "1", "--n-seq-max", "4")
CHAT: dict[str, Any] = {"messages": [{"role": "user", "content": "What is the capital of France?"}], "temperature": 0}


def children(pid: int) -> list[int]:
    listed = subprocess.run(["ps", "-A", "-o", "pid=,ppid="], capture_output=True, text=True, timeout=30, check=True)
    return [int(child) for child, parent in (line.split() for line in listed.stdout.splitlines()) if int(parent) == pid]


def test_from_start_to_end() -> None:
    with serving(*OPTIONS) as server:
        seen = []
        for _ in range(3000):
            with contextlib.suppress(httpx.ConnectError):
                answer = httpx.get(f"{server.base}/health", timeout=30)
                seen.append((answer.status_code, answer.json()["status"]))
                if answer.status_code == 200:
                    break
            time.sleep(0.01)
        assert seen[0] == (503, "loading model"), "it answers before the model is there"
        assert seen[-1] == (200, "ok")
        ready = server.lines.get(timeout=30)
        for part in (f"{server.base}/v1", f"{server.base}/docs", "smollm2-135m-instruct", "4 slots", "MB of weights"):
            assert part in ready
        with openai.OpenAI(base_url=f"{server.base}/v1", api_key="none", max_retries=0) as client:
            made = client.completions.create(model="x", prompt="The capital of France is", max_tokens=4, temperature=0)
            assert made.choices[0].text.startswith(" Paris")
            assert client.chat.completions.create(model="x", max_tokens=12, **CHAT).choices[0].message.content
        _drained(server)
        assert server.errors == []


def _drained(server: Server) -> None:
    """SIGTERM in the middle of a stream: the stream is finished, new ones are not taken, the exit status is 0."""
    body = {**CHAT, "max_tokens": 60, "stream": True, "ignore_eos": True}
    with httpx.stream("POST", f"{server.base}/v1/chat/completions", json=body, timeout=60) as answer:
        lines = answer.iter_lines()
        assert next(lines).startswith("data: ")
        server.process.send_signal(signal.SIGTERM)
        rest = [line for line in lines if line]
    assert rest[-1] == "data: [DONE]"
    assert json.loads(rest[-2][6:])["choices"][0]["finish_reason"] == "length"
    assert server.wait() == 0
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{server.base}/health")


def test_a_killed_engine_costs_its_requests_only() -> None:
    with serving(*OPTIONS, "--retry-after", "3") as server:
        server.lines.get(timeout=120)
        (engine,) = children(server.process.pid)
        body = {"prompt": "Once upon a time", "max_tokens": 900, "ignore_eos": True}
        whole: list[httpx.Response] = []
        asking = threading.Thread(
            target=lambda: whole.append(httpx.post(f"{server.base}/v1/completions", json=body, timeout=120))
        )
        with httpx.stream("POST", f"{server.base}/v1/completions", json={**body, "stream": True}, timeout=60) as answer:
            lines = answer.iter_lines()
            next(lines)
            asking.start()
            while sum(slot["is_processing"] for slot in httpx.get(f"{server.base}/slots").json()) < 2:
                time.sleep(0.01)
            os.kill(engine, signal.SIGKILL)
            rest = [line for line in lines if line]
        assert json.loads(rest[-2][6:])["error"]["code"] == "engine_crashed"
        assert rest[-1] == "data: [DONE]"
        asking.join(60)
        assert whole[0].status_code == 503
        assert whole[0].headers["retry-after"] == "3"
        assert whole[0].json()["error"]["code"] == "engine_crashed"
        later = httpx.post(f"{server.base}/v1/completions", json={**body, "max_tokens": 2}, timeout=120)
        assert later.status_code == 200, "what comes while it restarts waits"
        assert server.end(signal.SIGINT) == 0


def test_the_other_command_and_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = Server("x.gguf", port=taken.getsockname()[1], module="llama_bind serve")
        assert server.wait() == 1
        assert "choose another with --port" in "".join(server.errors)
    server = Server(str(tmp_path / "none.gguf"), port=free_port(), module="llama_bind serve")
    assert server.wait() == 1
    assert "none.gguf" in "".join(server.errors)
    assert "Traceback" not in "".join(server.errors)


def test_the_end_while_the_model_is_loaded() -> None:
    with serving(*OPTIONS) as server:
        while True:
            with contextlib.suppress(httpx.ConnectError):
                if httpx.get(f"{server.base}/health").status_code == 503:
                    break
            time.sleep(0.01)
        assert server.end() == 0
