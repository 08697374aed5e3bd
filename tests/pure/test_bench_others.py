"""What is read from llama.cpp's programs, llama-server and llama-cpp-python."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

import benchmarks.programs
from benchmarks.peer import answer
from benchmarks.programs import batches_of
from benchmarks.registry import Measurement, Settings
from benchmarks.server import LlamaServer, ServerError, events_of
from benchmarks.sweep import COLUMNS, HEAD, row

TEST = {"pp": 64, "tg": 64, "pl": 16, "t_tg": 4.0, "speed_tg": 256.0, "t": 9.5}

FAKE_SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.answer(200, b"{}")

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if body["prompt"] == "bad":
            self.answer(500, b'{"error": "no room"}')
        elif body.get("stream"):
            events = [{"content": c} for c in body["prompt"]] + [{"error": "late"}] * (body["prompt"] == "ab!")
            self.answer(200, b"".join(b"data: " + json.dumps(e).encode() + b"\\n\\n" for e in events))
        else:
            self.answer(200, json.dumps({"content": body["prompt"][::-1]}).encode())

    def answer(self, status, data):
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass

ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
"""


def test_batches_of_llama_batched_bench() -> None:
    line = json.dumps(TEST)
    assert batches_of(f"\n{line}\n0.01.2 I {line}\n\n", 2) == [TEST, TEST]


@pytest.mark.parametrize("output", ["", json.dumps(TEST), "\n".join([json.dumps(TEST)] * 3)])
def test_missing_batches_are_an_error(output: str) -> None:
    with pytest.raises(ValueError, match="tests of 2"):
        batches_of(output, 2)


def test_events_of_a_stream() -> None:
    lines = [b'data: {"a": 1}\n', b"\n", b": ping\n", b'error: {"code": 500}\n', b"data: [DONE]\n", b'data: {"b": 2}\n']
    assert list(events_of(iter(lines))) == [{"a": 1}, {"error": '{"code": 500}'}]


def test_what_llama_cpp_python_measured() -> None:
    done = {"walls": [9.0, 2.0, 4.0], "texts": ["a", "b"], "tokens": 32, "variant": "x.so"}
    found = answer(f"noise\ndone: {json.dumps(done)}\n", "", 0)
    assert found == Measurement(3.0, {"generated tokens": 32.0}, {"cpu backend": "x.so"}, ("a", "b"))


@pytest.mark.parametrize(("stdout", "status"), [("done: {}", 1), ("nothing", 0)])
def test_a_failure_of_llama_cpp_python_says_why(stdout: str, status: int) -> None:
    with pytest.raises(RuntimeError, match="no module"):
        answer(stdout, "no module", status)


@pytest.fixture
def fake_program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands in for llama-server."""
    script = tmp_path / "bin" / "llama-server"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\n{FAKE_SERVER}")
    script.chmod(0o755)
    monkeypatch.setattr(benchmarks.programs, "BUILD", tmp_path)
    return script


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with an interpreter line")
def test_a_server_is_started_asked_and_stopped(fake_program: Path) -> None:
    assert fake_program.exists()
    with LlamaServer(Settings(Path("m.gguf"), threads=3), "-np", "8") as server:
        assert server.command[-2:] == ["-np", "8"]
        assert server.command[server.command.index("-t") + 1] == "3"
        assert server.complete({"prompt": "abc"}) == {"content": "cba"}
        assert [event["content"] for event in server.stream({"prompt": "abc"})] == ["a", "b", "c"]
        with pytest.raises(ServerError, match=r"500 .*no room"):
            server.complete({"prompt": "bad"})
        with pytest.raises(ServerError, match="no room"):
            list(server.stream({"prompt": "bad"}))
        with pytest.raises(ServerError, match="late"):
            list(server.stream({"prompt": "ab!"}))
        process = server._process
    assert process.poll() is not None


@pytest.mark.skipif(os.name == "nt", reason="the stand-in is a script with an interpreter line")
def test_a_server_that_does_not_start_says_why(fake_program: Path) -> None:
    fake_program.write_text(f"#!{sys.executable}\nraise SystemExit('no such model')")
    with pytest.raises(RuntimeError, match=r"exit status 1.*no such model"):
        LlamaServer(Settings(Path("m.gguf"))).__enter__()


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends a process with its parent")
def test_a_server_ends_with_a_measurement_that_is_killed(fake_program: Path) -> None:
    code = (
        "import sys, benchmarks.programs as p; from pathlib import Path; from benchmarks.registry import Settings\n"
        "from benchmarks.server import LlamaServer\n"
        f"p.BUILD = Path({str(fake_program.parent.parent)!r})\n"
        "with LlamaServer(Settings(Path('m.gguf'))) as s: print(s._process.pid, flush=True); sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        server = int(parent.stdout.readline())
        parent.kill()
    state = Path(f"/proc/{server}/stat")
    for _ in range(200):
        if not state.exists() or state.read_text().split()[2] == "Z":
            return
        time.sleep(0.05)
    raise AssertionError("it still runs")


def test_a_row_of_the_sweep_fits_its_head() -> None:
    found = [Measurement(value, dict.fromkeys(COLUMNS, value)) for value in (1.0, 3.0, 2.0)]
    assert row(0.05, found) == "| 0.05 |" + " 2 |" * (len(COLUMNS) + 1)
    assert row(0.0, found).startswith("| default |")
    assert row(0.05, found).count("|") == HEAD.splitlines()[0].count("|")
