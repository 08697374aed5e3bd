"""Files that go wrong under a server: a full disk for the cache, a model file that disappears."""

from __future__ import annotations

import errno
import json
import logging
import os
import resource
import shutil
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_bind import Llama
from llama_bind.engine import disk_store
from llama_bind.engine.process import EngineProcess
from tests.core_helpers import model_file
from tests.llamas import tiny
from tests.servers import GREEDY, app_of, error_of, get, listening, post

TEXTS = [f"{word} " * 40 for word in ("one", "two", "six", "ten", "big", "red")]


def body(prompt: str) -> dict[str, Any]:
    return {"prompt": prompt, "max_tokens": 4, **GREEDY}


def test_a_full_disk_for_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(*_arguments: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk_store, "write_state", full)
    with (
        tiny(n_seq_max=1, cache_ram_bytes=0, cache_dir=tmp_path) as llm,
        caplog.at_level(logging.WARNING, "llama_bind"),
    ):
        app = app_of(llm)
        for _ in range(2):
            texts = [post("/v1/completions", body(text), app=app).json()["choices"][0]["text"] for text in TEXTS]
            assert all(texts)
        assert get("/health", app=app).status_code == 200
        stats = llm.cache_stats
        assert stats.disk_entries == 0
        assert stats.dropped >= 3, "it was tried"
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1, "said once, not for every text"
    assert "No space left on device" in said[0]


def test_a_full_disk_under_an_engine_in_its_own_process(tmp_path: Path) -> None:
    """Files cannot grow past some bytes there, as a disk without room has it: the writing process is the engine's."""
    tiny().close()  # writes the model's file, while files can still grow
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, hard))
    try:
        llm = tiny(n_seq_max=1, cache_ram_bytes=0, cache_dir=tmp_path, engine_process=True)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    with llm, listening(app_of(llm)) as port:
        for _ in range(2):
            for text in TEXTS:
                answer = httpx.post(f"http://127.0.0.1:{port}/v1/completions", json=body(text), timeout=60)
                assert answer.json()["choices"][0]["finish_reason"] == "length"
        for _ in range(500):
            if llm.cache_stats.dropped >= 3:
                break
            time.sleep(0.01)
        assert llm.cache_stats.dropped >= 3
        assert llm.cache_stats.disk_entries == 0
        engine = llm.engine
        assert isinstance(engine, EngineProcess)
        assert engine.restarts == 0
    assert not list(tmp_path.rglob("*.state")), "nothing half written is left"


def test_a_model_file_that_disappears(tmp_path: Path) -> None:
    """What is loaded goes on. Only an engine that has to be started again finds nothing, and says so."""
    path = tmp_path / "model.gguf"
    shutil.copy(model_file("llama"), path)
    with Llama(path, n_ctx=256, n_threads=1, engine_process=True) as llm, listening(app_of(llm)) as port:
        url = f"http://127.0.0.1:{port}"
        path.unlink()
        assert httpx.post(f"{url}/v1/completions", json=body("Hello"), timeout=60).status_code == 200
        engine = llm.engine
        assert isinstance(engine, EngineProcess)
        assert engine.process_id is not None
        os.kill(engine.process_id, signal.SIGKILL)
        answer = httpx.post(f"{url}/v1/completions", json=body("Hello"), timeout=60)
        error = error_of(answer, 503)
        assert error["code"] in ("engine_failed", "engine_crashed")
        answer = httpx.post(f"{url}/v1/completions", json=body("Hello"), timeout=60)
        assert error_of(answer, 503)["code"] == "engine_failed"
        assert "model.gguf" not in json.dumps(answer.json())
        assert httpx.get(f"{url}/v1/models").status_code == 200, "the server itself lives"
