"""An engine that is killed or stopped while the server is under load: nothing that waits is lost, and all goes on."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_bind.engine import supervisor
from llama_bind.engine.process import EngineProcess
from tests.core_helpers import model_file
from tests.llamas import TEMPLATE, tiny
from tests.servers import GREEDY, app_of, error_of, listening
from tests.storms import Storm

KILLS, SLOTS, CLIENTS = 3, 4, 12


def test_a_killed_engine_costs_only_what_it_computed() -> None:
    options: dict[str, Any] = {"engine_process": True, "n_seq_max": SLOTS, "max_queue": 100, "n_ctx": 512}
    with tiny(file={"n_ctx_train": 512}, **options) as llm:
        engine = llm.engine
        assert isinstance(engine, EngineProcess)
        with listening(app_of(llm)) as port, Storm(f"http://127.0.0.1:{port}", CLIENTS, 400) as storm:
            for _ in range(KILLS):
                storm.kill(lambda: engine.process_id, busy=lambda: engine.stats.running > 0)
            storm.served(2 * CLIENTS)
        assert storm.wrong == []
        assert engine.restarts == KILLS
        assert 1 <= storm.outcomes["crashed"] <= KILLS * 2 * SLOTS, "those that waited are not among them"
        stats = llm.stats
        assert (stats.running, stats.waiting, engine.unfinished) == (0, 0, 0)


def test_a_stopped_engine_is_replaced() -> None:
    with tiny(engine_process=True, n_seq_max=1, hang_timeout=5, n_ctx=2048, file={"n_ctx_train": 2048}) as llm:
        engine = llm.engine
        assert isinstance(engine, EngineProcess)

        async def work(port: int) -> list[httpx.Response]:
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:

                def ask(tokens: int) -> Any:
                    body = {"prompt": "x", "max_tokens": tokens, **GREEDY}
                    return asyncio.ensure_future(client.post("/v1/completions", json=body))

                asked = [ask(2000)]
                while engine.stats.running < 1:
                    await asyncio.sleep(0.01)
                asked += [ask(2) for _ in range(4)]
                assert engine.process_id is not None
                os.kill(engine.process_id, signal.SIGSTOP)
                health = await client.get("/health")
                assert health.status_code == 200
                return list(await asyncio.gather(*asked))

        with listening(app_of(llm)) as port:
            crashed, *others = asyncio.run(work(port))
        assert error_of(crashed, 503)["code"] == "engine_crashed"
        assert crashed.headers["retry-after"] == "2"
        assert [answer.status_code for answer in others] == [200] * 4
        assert engine.restarts == 1


def test_a_model_file_that_goes_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(supervisor, "BACKOFF", 0.05)
    monkeypatch.setattr(supervisor, "LONGEST_BACKOFF", 0.3)
    from llama_bind import Llama

    file, away = tmp_path / "model.gguf", tmp_path / "away.gguf"
    file.write_bytes(model_file("llama", chat_template=TEMPLATE).read_bytes())
    body = {"prompt": "x", "max_tokens": 2, **GREEDY}
    with Llama(file, engine_process=True, n_ctx=256, n_threads=1) as llm, listening(app_of(llm)) as port:
        engine = llm.engine
        assert isinstance(engine, EngineProcess)
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            assert client.post("/v1/completions", json=body).status_code == 200
            file.rename(away)
            assert engine.process_id is not None
            os.kill(engine.process_id, signal.SIGKILL)
            answer = client.post("/v1/completions", json=body)
            assert error_of(answer, 503)["code"] in ("engine_crashed", "engine_failed")
            refused = client.post("/v1/completions", json=body)
            assert error_of(refused, 503)["code"] == "engine_failed"
            assert "retry-after" in refused.headers
            assert str(tmp_path) not in refused.text
            assert client.get("/metrics").status_code == 200
            away.rename(file)
            end = time.monotonic() + 20
            while client.post("/v1/completions", json=body).status_code != 200:
                assert time.monotonic() < end
                time.sleep(0.05)
