"""Several models in one server: loaded when they are asked for, unloaded for others or when idle, and told of."""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from llama_bind.server.app import create_app
from llama_bind.server.models import Models
from llama_bind.server.service import Service
from llama_bind.server.settings import Settings
from tests.core_helpers import model_file
from tests.llamas import TEMPLATE, tiny
from tests.servers import GREEDY, error_of

MIB = 2**20


def file_of(seed: int) -> str:
    return str(model_file("llama", chat_template=TEMPLATE, seed=seed))


def app_of(tables: list[dict[str, Any]], **common: Any) -> FastAPI:
    options = {"engine_process": False, "n_ctx": 256, "n_threads": 1, "n_seq_max": 2, **common}
    return create_app(Settings.of(models=tables, **options))


def three(**common: Any) -> FastAPI:
    tables: list[dict[str, Any]] = [
        {"name": "one", "aliases": ["uno"], "model": file_of(1)},
        {"name": "two", "model": file_of(2), "max_tokens": 3},
        {"name": "three", "model": file_of(3)},
    ]
    return app_of(tables, **common)


@contextlib.asynccontextmanager
async def client_of(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app):
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8000") as client:
            yield client


def run(app: FastAPI, work: Callable[[httpx.AsyncClient, Models], Awaitable[None]]) -> None:
    async def main() -> None:
        async with client_of(app) as client:
            await work(client, app.state.models)

    asyncio.run(asyncio.wait_for(main(), 60))


def asking(client: httpx.AsyncClient, model: str | None = None, **body: Any) -> Awaitable[httpx.Response]:
    named = {} if model is None else {"model": model}
    return client.post("/v1/completions", json={"prompt": "Hello", "max_tokens": 4, **GREEDY, **named, **body})


def states(models: Models) -> list[str]:
    return [service.state for service in models.services]


def sized(monkeypatch: pytest.MonkeyPatch, **sizes: int) -> None:
    """Say how much memory each model takes."""
    monkeypatch.setattr(Service, "measure", lambda self, _budget: sizes.get(self.names[0], MIB))


async def until(condition: Callable[[], bool], seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.01)


# -- names ---------------------------------------------------------------------------------------------------------


def test_each_request_gets_its_model() -> None:
    texts = {}
    for seed in (1, 2, 3):
        with tiny(file={"seed": seed}) as llm:
            texts[seed] = llm("Hello", max_tokens=4, **GREEDY)["choices"][0]["text"]
    assert len(set(texts.values())) == 3

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        assert states(models) == ["unloaded"] * 3
        for name, seed in (("uno", 1), ("two", 2), (None, 1), ("three", 3), ("one", 1), ("", 1)):
            answer = await asking(client, name)
            assert answer.json()["choices"][0]["text"] == texts[seed], name
            assert answer.json()["model"] == (name or "one")
        assert states(models) == ["loaded"] * 3
        error = error_of(await asking(client, "four"), 404)
        assert (error["code"], error["param"]) == ("model_not_found", "model")
        default = await client.post("/v1/completions", json={"model": "two", "prompt": "Hello", **GREEDY})
        assert default.json()["usage"]["completion_tokens"] == 3, "its own default"
        assert all(service.leases == 0 for service in models.services)

    run(three(), work)


def test_the_list_says_what_is_loaded() -> None:
    async def work(client: httpx.AsyncClient, _models: Models) -> None:
        listed = (await client.get("/v1/models")).json()["data"]
        assert [card["id"] for card in listed] == ["one", "two", "three"]
        assert [card["status"] for card in listed] == [{"value": "unloaded"}] * 3
        assert listed[0]["aliases"] == ["one", "uno"]
        assert listed[0]["meta"] is None
        await asking(client, "uno")
        card = (await client.get("/v1/models/uno")).json()
        assert (card["id"], card["status"]["value"]) == ("uno", "loaded")
        assert card["meta"]["n_ctx"] == 256
        assert error_of(await client.get("/v1/models/four"), 404)["code"] == "model_not_found"

    run(three(), work)


def test_what_is_told_of_each() -> None:
    async def work(client: httpx.AsyncClient, _models: Models) -> None:
        assert (await client.get("/health")).json() == {"status": "ok", "models": {"loaded": 0, "total": 3}}
        sleeping = (await client.get("/props", params={"model": "two"})).json()
        assert (sleeping["is_sleeping"], sleeping["model_alias"]) == (True, "two")
        assert (await client.get("/slots", params={"model": "two"})).json() == []
        await asking(client, "two")
        props = (await client.get("/props", params={"model": "two"})).json()
        assert (props["is_sleeping"], props["model_alias"], props["total_slots"]) == (False, "two", 2)
        assert props["default_generation_settings"]["params"]["max_tokens"] == 3
        assert len((await client.get("/slots", params={"model": "two"})).json()) == 2
        assert error_of(await client.get("/props", params={"model": "four"}), 404)
        lines = (await client.get("/metrics")).text.splitlines()
        assert 'llama_bind_ready{model="one"} 0.0' in lines
        assert 'llama_bind_ready{model="two"} 1.0' in lines
        assert any(line.startswith('llama_bind_steps_total{model="two"}') for line in lines)
        assert any(line.startswith('llama_bind_queue_seconds_bucket{le="+Inf",model="two"}') for line in lines)
        assert not any(line.startswith('llama_bind_steps_total{model="one"}') for line in lines)
        assert lines.count("# TYPE llama_bind_ready gauge") == 1
        assert any(line.startswith("llama_bind_memory_budget_bytes ") for line in lines)
        assert (await client.get("/health")).json()["models"]["loaded"] == 1

    run(three(), work)


def test_some_are_loaded_at_the_start() -> None:
    tables: list[dict[str, Any]] = [
        {"name": "a", "model": file_of(1)},
        {"name": "b", "model": file_of(2), "preload": True},
    ]

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        await until(lambda: states(models) == ["unloaded", "loaded"])
        assert (await client.get("/health")).status_code == 200

    run(app_of(tables), work)


# -- loading -------------------------------------------------------------------------------------------------------


def test_many_that_ask_at_once_load_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    loads: list[str] = []
    load = Service._load

    def slowly(self: Service, on_progress: Any) -> Any:
        loads.append(self.names[0])
        time.sleep(0.3)
        return load(self, on_progress)

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        await asking(client, "one")
        monkeypatch.setattr(Service, "_load", slowly)
        waiting = [asyncio.ensure_future(asking(client, "two")) for _ in range(20)]
        await until(lambda: models.services[1].state == "loading")
        listed = (await client.get("/v1/models")).json()["data"]
        assert listed[1]["status"]["value"] == "loading"
        begun = time.monotonic()
        assert (await asking(client, "one")).status_code == 200, "others go on meanwhile"
        assert time.monotonic() - begun < 0.25
        answers = await asyncio.gather(*waiting)
        assert [answer.status_code for answer in answers] == [200] * 20
        assert loads == ["two"]

    run(three(), work)


def test_one_that_takes_too_long_is_a_503(monkeypatch: pytest.MonkeyPatch) -> None:
    load, go_on = Service._load, threading.Event()

    def slowly(self: Service, on_progress: Any) -> Any:
        go_on.wait(20)
        return load(self, on_progress)

    async def work(client: httpx.AsyncClient, _models: Models) -> None:
        monkeypatch.setattr(Service, "_load", slowly)
        answer = await asking(client, "two")
        assert error_of(answer, 503)["code"] == "model_loading"
        assert answer.headers["retry-after"] == "2"
        go_on.set()
        await until(lambda: _models.services[1].state == "loaded")
        assert (await asking(client, "two")).status_code == 200

    run(three(load_wait=0.2), work)


def test_a_file_that_is_missing_is_a_503_until_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llama_bind.server.service.FIRST_WAIT", 0.2)
    file = tmp_path / "model.gguf"
    tables: list[dict[str, Any]] = [{"name": "a", "model": file_of(1)}, {"name": "b", "model": str(file)}]

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        answer = await asking(client, "b")
        error = error_of(answer, 503)
        assert error["code"] == "model_error"
        assert str(tmp_path) not in answer.text
        assert int(answer.headers["retry-after"]) >= 1
        failed = (await client.get("/v1/models/b")).json()["status"]
        assert failed == {"value": "unloaded", "failed": True}
        assert (await asking(client, "a")).status_code == 200
        shutil.copy(file_of(2), file)
        assert (await asking(client, "b")).status_code == 503, "it is not tried for every request"
        await asyncio.sleep(0.3)
        assert (await asking(client, "b")).status_code == 200
        assert models.services[1].error is None

    run(app_of(tables), work)


# -- memory --------------------------------------------------------------------------------------------------------


def test_the_least_recently_used_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    sized(monkeypatch)

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        for name, after in (
            ("one", ["loaded", "unloaded", "unloaded"]),
            ("two", ["loaded", "loaded", "unloaded"]),
            ("one", ["loaded", "loaded", "unloaded"]),
            ("three", ["loaded", "unloaded", "loaded"]),
            ("two", ["unloaded", "loaded", "loaded"]),
        ):
            assert (await asking(client, name)).status_code == 200
            assert states(models) == after, name
            assert sum(service.size for service in models.services) <= 2 * MIB
        facts = (await client.get("/v1/models/one")).json()
        assert facts["meta"]["n_ctx"] == 256, "what is known of it stays known"
        assert (await client.get("/props", params={"model": "one"})).json()["is_sleeping"] is True

    run(three(memory_budget=2 * MIB), work)


def test_one_in_use_stays_and_others_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    sized(monkeypatch)

    async def work(_client: httpx.AsyncClient, models: Models) -> None:
        lease = await models.lease("one")
        refused = await asking(_client, "two")
        assert error_of(refused, 503)["code"] == "out_of_memory"
        assert refused.headers["retry-after"] == "2"
        await until(lambda: states(models) == ["loaded", "unloaded", "unloaded"])
        waiting = asyncio.ensure_future(asking(_client, "two"))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        begun = time.monotonic()
        lease.release()
        lease.release()
        assert (await waiting).status_code == 200
        assert time.monotonic() - begun < 0.9, "it is told at once"
        assert states(models) == ["unloaded", "loaded", "unloaded"]
        assert models.services[0].leases == 0

    run(three(memory_budget=MIB, load_wait=1.0), work)


def test_a_stream_keeps_its_model() -> None:
    from tests.servers import listening

    app = three()
    models: Models = app.state.models
    with listening(app) as port, httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:
        body = {"model": "two", "prompt": "x", "max_tokens": 200, "stream": True, **GREEDY}
        service = models.services[1]
        with client.stream("POST", "/v1/completions", json=body) as answer:
            lines = answer.iter_lines()
            next(lines)
            assert service.leases == 1
            *_, last = (line for line in lines if line)
        assert last == "data: [DONE]"
        wait_for(lambda: service.leases == 0)
        with client.stream("POST", "/v1/completions", json={**body, "max_tokens": 240}) as answer:
            next(answer.iter_lines())
        wait_for(lambda: service.leases == 0)
        for bad in ({"max_tokens": "x"}, {"grammar": "root ::= ("}):
            assert client.post("/v1/completions", json={**body, **bad}).status_code == 400
        wait_for(lambda: service.leases == 0)


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_one_larger_than_all_memory_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    sized(monkeypatch, two=9 * MIB)

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        assert (await asking(client, "one")).status_code == 200
        error = error_of(await asking(client, "two"), 503)
        assert error["code"] == "model_too_large"
        assert states(models) == ["loaded", "failed", "unloaded"], "nothing was unloaded in vain"

    run(three(memory_budget=2 * MIB), work)


def test_its_size_is_told_by_its_file() -> None:
    settings = Settings.of(models=[{"model": file_of(1)}], n_ctx=256, n_seq_max=2, engine_process=False)
    size = Service(settings.models[0]).measure(2**34)
    more = Settings.of(models=[{"model": file_of(1)}], n_ctx=512, n_seq_max=64, engine_process=False)
    assert 10_000 < size < Service(more.models[0]).measure(2**34) < 2**30


# -- idle ----------------------------------------------------------------------------------------------------------


def test_an_idle_model_is_unloaded_and_comes_back() -> None:
    tables: list[dict[str, Any]] = [
        {"name": "a", "model": file_of(1), "idle_timeout": 0.2},
        {"name": "b", "model": file_of(2)},
    ]

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        assert (await asking(client, "a")).status_code == (await asking(client, "b")).status_code == 200
        lease = await models.lease("a")
        await asyncio.sleep(0.5)
        assert states(models) == ["loaded", "loaded"], "it is in use"
        lease.release()
        await until(lambda: states(models) == ["unloaded", "loaded"])
        assert (await asking(client, "a")).status_code == 200
        assert states(models) == ["loaded", "loaded"]

    run(app_of(tables), work)


def test_the_only_model_may_be_idle_too() -> None:
    options: dict[str, Any] = {"engine_process": False, "n_ctx": 256, "n_threads": 1, "n_seq_max": 2}
    app = create_app(Settings.of(file_of(1), idle_timeout=0.2, **options))

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        await until(lambda: states(models) == ["loaded"])
        await until(lambda: states(models) == ["unloaded"])
        assert (await client.get("/health")).status_code == 200
        assert (await client.get("/metrics")).status_code == 200
        answers = await asyncio.gather(*(asking(client, "whatever") for _ in range(5)))
        assert [answer.status_code for answer in answers] == [200] * 5

    run(app, work)


# -- by hand -------------------------------------------------------------------------------------------------------


def test_loading_and_unloading_by_hand() -> None:
    async def work(client: httpx.AsyncClient, models: Models) -> None:
        answer = await client.post("/models/load", json={"model": "uno"})
        assert answer.json() == {"success": True}
        await until(lambda: models.services[0].state == "loaded")
        assert (await client.post("/models/load", json={"model": "one"})).json() == {"success": True}
        lease = await models.lease("one")
        assert error_of(await client.post("/models/unload", json={"model": "one"}), 409)["code"] == "model_busy"
        assert models.services[0].state == "loaded"
        forced = await client.post("/models/unload", json={"model": "one", "force": True})
        assert forced.json() == {"success": True}
        assert models.services[0].state == "unloaded"
        lease.release()
        assert (await client.post("/models/unload", json={"model": "one"})).json() == {"success": True}
        assert (await asking(client, "one")).status_code == 200, "a request loads it again"
        assert (await client.post("/models/unload", json={"model": "one"})).status_code == 200
        assert error_of(await client.post("/models/load", json={"model": "four"}), 404)["code"] == "model_not_found"
        assert error_of(await client.post("/models/load", json={}), 400)["param"] == "model"

    run(three(), work)


def test_only_admins_where_there_are_such() -> None:
    async def work(client: httpx.AsyncClient, models: Models) -> None:
        for key, status in (("user", 403), ("boss", 200), ("other", 401)):
            headers = {"Authorization": f"Bearer {key}"}
            answer = await client.post("/models/load", json={"model": "two"}, headers=headers)
            assert answer.status_code == status, key
        await until(lambda: models.services[1].state == "loaded")
        assert (await client.get("/v1/models", headers={"X-Api-Key": "boss"})).status_code == 200

    run(three(api_key=["user"], admin_api_key=["boss"]), work)


# -- all at once ---------------------------------------------------------------------------------------------------


def in_memory(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many models were in memory, each time that a load began."""
    load, free = Service._load, Service._free
    there: set[Service] = set()
    counts: list[int] = []

    def loading(self: Service, on_progress: Any) -> Any:
        there.add(self)
        counts.append(len(there))
        return load(self, on_progress)

    async def freeing(self: Service, llm: Any) -> None:
        await free(self, llm)
        there.discard(self)

    monkeypatch.setattr(Service, "_load", loading)
    monkeypatch.setattr(Service, "_free", freeing)
    return counts


def test_many_requests_for_more_models_than_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    sized(monkeypatch)
    counts = in_memory(monkeypatch)

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        async def one(index: int) -> int:
            name = ("one", "two", "three")[index % 3]
            answer = await asking(client, name, max_tokens=1 + index % 5, stream=index % 4 == 0)
            return answer.status_code

        assert await asyncio.gather(*(one(i) for i in range(30))) == [200] * 30
        assert len(counts) > 2
        assert max(counts) == 2
        assert all(service.leases == 0 for service in models.services)

    run(three(memory_budget=2 * MIB), work)


def test_closing_while_one_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    load = Service._load

    def slowly(self: Service, on_progress: Any) -> Any:
        time.sleep(0.3)
        return load(self, on_progress)

    monkeypatch.setattr(Service, "_load", slowly)

    async def work(client: httpx.AsyncClient, models: Models) -> None:
        waiting = asyncio.ensure_future(asking(client, "one"))
        await until(lambda: models.services[0].state == "loading")
        await models.close()
        assert error_of(await waiting, 503)["code"] == "shutting_down"
        assert models.services[0].llm is None

    run(three(), work)


def test_the_schema_knows_the_new_paths() -> None:
    paths = three().openapi()["paths"]
    assert {"/models/load", "/models/unload"} <= set(paths)
    assert json.dumps(paths)
