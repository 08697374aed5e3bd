"""What one key, one prompt, one schema and all bodies together may take, asked of the server."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path
from typing import Any

import httpx
import pytest

from llama_bind import AsyncLlama, reading
from llama_bind.embeddings import FAIR_KEY
from llama_bind.errors import InputError
from llama_bind.server.accounts import Account
from tests.llamas import shared, tiny
from tests.servers import GREEDY, app_of, error_of, get, post, with_client

SHORT = {"prompt": "Hello", "max_tokens": 2, **GREEDY}
CHAT = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 2, **GREEDY}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def keyed(tmp_path: Path, *lines: str, **settings: Any) -> Any:
    (tmp_path / "keys").write_text("\n".join(lines))
    return app_of(api_key_file=str(tmp_path / "keys"), **settings)


def refused(answer: httpx.Response) -> dict[str, Any]:
    error = error_of(answer, 429)
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert int(answer.headers["retry-after"]) >= 1
    return error


# -- keys --------------------------------------------------------------------------------------------------------


def test_requests_a_minute() -> None:
    app = app_of(api_key=["one", "two"], key_requests_per_minute=3)
    for left in (2, 1, 0):
        answer = post("/v1/completions", SHORT, app=app, headers=bearer("one"))
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "3"
        assert answer.headers["x-ratelimit-remaining-requests"] == str(left)
        assert answer.headers["x-ratelimit-reset-requests"].endswith("s")
        assert "x-ratelimit-limit-tokens" not in answer.headers
    answer = post("/v1/chat/completions", {**CHAT, "stream": True}, app=app, headers=bearer("one"))
    assert "3 requests a minute" in refused(answer)["message"]
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"
    assert answer.headers["x-request-id"].startswith("req_")
    assert post("/v1/completions", SHORT, app=app, headers=bearer("two")).status_code == 200, "it is one key's limit"
    looked = get("/v1/models", app=app, headers=bearer("one"))
    assert looked.status_code == 200, "looking at things does not count"
    assert "x-ratelimit-limit-requests" not in looked.headers


def test_wrong_requests_count_and_wrong_keys_do_not() -> None:
    app = app_of(api_key=["one"], key_requests_per_minute=2)
    assert post("/v1/completions", SHORT, app=app, headers=bearer("other")).status_code == 401
    assert post("/v1/completions", content=b"{", app=app, headers=bearer("one")).status_code == 400
    assert post("/nothing", SHORT, app=app, headers=bearer("one")).status_code == 404
    refused(post("/v1/completions", SHORT, app=app, headers=bearer("one")))


def test_without_keys_the_limit_is_everybodys() -> None:
    app = app_of(key_requests_per_minute=1)
    assert post("/v1/completions", SHORT, app=app).status_code == 200
    assert "All callers together" in refused(post("/v1/completions", SHORT, app=app))["message"]
    assert get("/health", app=app).status_code == 200


@pytest.mark.parametrize("stream", [False, True])
def test_tokens_a_minute(stream: bool) -> None:
    prompt = len(shared(n_seq_max=4).tokenize("Hello"))
    app = app_of(key_tokens_per_minute=prompt + 60)
    first = post("/v1/completions", {**SHORT, "max_tokens": 20, "n": 2, "stream": stream}, app=app)
    assert first.status_code == 200
    second = post("/v1/completions", {**SHORT, "max_tokens": 60, "stream": stream}, app=app)
    assert second.status_code == 200, "what a request will take is known at its end only"
    left = int(second.headers["x-ratelimit-remaining-tokens"])
    assert left <= 60 - 40 + 2
    assert "tokens a minute" in refused(post("/v1/completions", SHORT, app=app))["message"]


def test_tokens_of_every_route_count(monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[int] = []
    monkeypatch.setattr(Account, "spend", lambda _self, tokens: spent.append(tokens))

    def used(path: str, body: Any, llm: Any = None) -> tuple[int, int]:
        """What the answer says that it took, and what was counted."""
        spent.clear()
        answer = post(path, body, app=app_of(llm, key_tokens_per_minute=1000))
        return answer.json()["usage"]["total_tokens"], sum(spent)

    for told, counted in (
        used("/v1/chat/completions", CHAT),
        used("/v1/completions", {**SHORT, "prompt": ["Hello", [5, 6]], "n": 2}),
        used("/v1/embeddings", {"input": ["hello"] * 10}, shared("bert", embedding=True)),
    ):
        assert told == counted > 2


def test_a_request_whose_client_left_is_paid(monkeypatch: pytest.MonkeyPatch) -> None:
    spent: list[int] = []
    monkeypatch.setattr(Account, "spend", lambda _self, tokens: spent.append(tokens))
    with tiny(n_ctx=8192, file={"n_ctx_train": 8192}) as llm:
        app = app_of(llm, key_tokens_per_minute=10**6)

        async def work(client: httpx.AsyncClient) -> None:
            asking = asyncio.ensure_future(client.post("/v1/completions", json={**SHORT, "max_tokens": 8000}))
            while llm.stats.running < 1:
                await asyncio.sleep(0.01)
            await asyncio.sleep(0.1)
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
            while len(spent) < 2:
                await asyncio.sleep(0.01)

        with_client(work, app=app)
        assert spent[0] == len(llm.tokenize("Hello"))
        assert 1 <= spent[1] < 8000


def test_requests_at_once() -> None:
    with tiny(n_ctx=8192, n_seq_max=4, file={"n_ctx_train": 8192}) as llm:
        app = app_of(llm, api_key=["one", "two"], key_concurrency=2, retry_after=5)
        long = {**SHORT, "max_tokens": 8000}

        async def work(client: httpx.AsyncClient) -> None:
            running = [
                asyncio.ensure_future(client.post("/v1/completions", json=long, headers=bearer("one"))) for _ in "ab"
            ]
            while llm.stats.running < 2:
                await asyncio.sleep(0.01)
            answer = await client.post("/v1/completions", json=SHORT, headers=bearer("one"))
            assert "2 requests running at once" in refused(answer)["message"]
            assert answer.headers["retry-after"] == "5"
            other = await client.post("/v1/completions", json=SHORT, headers=bearer("two"))
            assert other.status_code == 200
            running[0].cancel()
            await asyncio.gather(running[0], return_exceptions=True)
            again = await client.post("/v1/completions", json=SHORT, headers=bearer("one"))
            assert again.status_code == 200, "whoever left makes room"
            running[1].cancel()
            await asyncio.gather(*running, return_exceptions=True)

        with_client(work, app=app)


def test_a_key_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    llm = shared(n_seq_max=4)
    seen: list[int] = []
    submit = llm.engine.submit

    def watch(request: Any, events: Any = None) -> Any:
        seen.append(request.priority)
        return submit(request, events)

    monkeypatch.setattr(llm.engine, "submit", watch)
    app = keyed(tmp_path, "high priority=7", "low priority=-3 requests_per_minute=2", "plain", max_priority=1)
    for key, given, wanted in (("high", {}, 7), ("high", {"priority": 2}, 2), ("low", {}, -3), ("plain", {}, 0)):
        assert post("/v1/completions", {**SHORT, **given}, app=app, headers=bearer(key)).status_code == 200
        assert seen.pop() == wanted
    for key, priority in (("high", 8), ("low", -2), ("plain", 2)):
        answer = post("/v1/completions", {**SHORT, "priority": priority}, app=app, headers=bearer(key))
        assert error_of(answer, 400)["param"] == "priority"
    refused(post("/v1/completions", SHORT, app=app, headers=bearer("low")))
    assert post("/v1/completions", SHORT, app=app, headers=bearer("plain")).status_code == 200


def test_headers_over_a_connection_that_is_kept(tmp_path: Path) -> None:
    """Names are sent as OpenAI writes them, so that its clients find them."""
    import openai

    from tests.servers import listening

    app = keyed(tmp_path, "one requests_per_minute=2")
    with (
        listening(app) as port,
        openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="one", max_retries=0) as client,
    ):
        raw = client.completions.with_raw_response.create(model="x", prompt="Hello", max_tokens=1)
        assert raw.headers["x-ratelimit-remaining-requests"] == "1"
        client.completions.create(model="x", prompt="Hello", max_tokens=1)
        with pytest.raises(openai.RateLimitError) as caught:
            client.completions.create(model="x", prompt="Hello", max_tokens=1)
        assert caught.value.code == "rate_limit_exceeded"
        assert 1 <= int(caught.value.response.headers["retry-after"]) <= 30


# -- fair shares of embeddings and ranks -------------------------------------------------------------------------


def test_embeddings_of_several_keys_take_turns(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    bert = shared("bert", embedding=True)
    seen: list[tuple[str, int]] = []
    submit = bert.engine.submit

    def watch(request: Any, events: Any = None) -> Any:
        seen.append((request.key, request.priority))
        return submit(request, events)

    monkeypatch.setattr(bert.engine, "submit", watch)
    (tmp_path / "keys").write_text("one\ntwo priority=4\n")
    app = app_of(bert, api_key_file=str(tmp_path / "keys"))
    for key in ("one", "two"):
        post("/v1/embeddings", {"input": "hello", "user": "somebody"}, app=app, headers=bearer(key))
    post("/v1/embeddings", {"input": "hello", "user": "somebody"}, app=app_of(bert))
    post("/v1/embeddings", {"input": "hello"}, app=app_of(bert))
    keys, priorities = zip(*seen, strict=True)
    assert len(set(keys)) == 4
    assert keys[2:] == (f"{FAIR_KEY} of somebody", FAIR_KEY)
    assert priorities == (0, 4, 0, 0)


def test_who_asks_for_embeddings_is_checked() -> None:
    bert = shared("bert", embedding=True)
    with pytest.raises(InputError) as caught:
        bert.create_embedding("hello", user=5)  # type: ignore[arg-type]
    assert caught.value.param == "user"
    with pytest.raises(InputError) as caught:
        bert.create_embedding("hello", priority=10**6)
    assert caught.value.param == "priority"
    assert bert.create_embedding("hello", user="a", priority=-5)["data"]
    error = error_of(post("/v1/embeddings", {"input": "hello", "user": 5}, app=app_of(bert)), 400)
    assert error["param"] == "user"


# -- prompts and schemas -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [False, True])
def test_prompts(stream: bool) -> None:
    app = app_of(max_prompt_tokens=20)
    assert post("/v1/completions", {**SHORT, "prompt": [5] * 20, "stream": stream}, app=app).status_code == 200
    error = error_of(post("/v1/completions", {**SHORT, "prompt": [5] * 21, "stream": stream}, app=app), 400)
    assert error["code"] == "context_length_exceeded"
    assert (error["n_prompt_tokens"], error["max_prompt_tokens"]) == (21, 20)
    long = {**CHAT, "messages": [{"role": "user", "content": "Hello " * 30}], "stream": stream}
    assert error_of(post("/v1/chat/completions", long, app=app), 400)["code"] == "context_length_exceeded"
    several = {**SHORT, "prompt": [[5], [5] * 21], "stream": stream}
    assert error_of(post("/v1/completions", several, app=app), 400)["n_prompt_tokens"] == 21
    bert = app_of(shared("bert", embedding=True), max_prompt_tokens=4)
    assert error_of(post("/v1/embeddings", {"input": "hello " * 20}, app=bert), 400)["max_prompt_tokens"] == 4


FORMS: list[tuple[str, Any]] = [
    ("grammar", 'root ::= "' + "a" * 600 + '"'),
    ("regex", "a" * 600),
    ("json_schema", {"type": "object", "description": "a" * 600}),
    ("json_schema", json.dumps({"type": "object", "description": "a" * 600})),
    ("response_format", {"type": "json_schema", "json_schema": {"name": "n", "schema": {"description": "a" * 600}}}),
    ("choice", ["a" * 250, "b" * 250]),
    ("tools", [{"type": "function", "function": {"name": "f", "description": "a" * 600}}]),
]


@pytest.mark.parametrize(("name", "value"), FORMS, ids=[f"{name} {i}" for i, (name, _) in enumerate(FORMS)])
def test_schemas(name: str, value: Any) -> None:
    error = error_of(post("/v1/chat/completions", {**CHAT, name: value}, app=app_of(max_schema_bytes=500)), 400)
    assert (error["code"], error["param"]) == ("limit_exceeded", name)
    assert "at most 500" in error["message"]
    roomy = post("/v1/chat/completions", {**CHAT, name: value}, app=app_of(max_schema_bytes=5000))
    assert roomy.status_code == 200 or roomy.json()["error"]["code"] != "limit_exceeded"


def test_a_long_body_with_a_short_schema_has_no_long_schema() -> None:
    app = app_of(max_schema_bytes=500)
    body = {**SHORT, "metadata": {"x": "y" * 1000}, "choice": ["yes", "no"], "max_tokens": 4}
    assert post("/v1/completions", body, app=app).status_code == 200


# -- bodies, readers ---------------------------------------------------------------------------------------------


def test_all_bodies_together() -> None:
    with tiny(n_ctx=8192, file={"n_ctx_train": 8192}) as llm:
        app = app_of(llm, max_open_body_bytes=20_000)
        big = {**SHORT, "max_tokens": 8000, "metadata": {"x": "y" * 12_000}}

        async def work(client: httpx.AsyncClient) -> None:
            first = asyncio.ensure_future(client.post("/v1/completions", json=big))
            while llm.stats.running < 1:
                await asyncio.sleep(0.01)
            assert app.state.traffic.body_bytes > 12_000
            error = error_of(await client.post("/v1/completions", json=big), 503)
            assert error["code"] == "busy"
            assert (await client.post("/v1/completions", json=SHORT)).status_code == 200
            first.cancel()
            await asyncio.gather(first, return_exceptions=True)
            assert (await client.post("/v1/completions", json={**big, "max_tokens": 1})).status_code == 200
            assert app.state.traffic.body_bytes == 0

        with_client(work, app=app)


def test_long_texts_do_not_hold_up_short_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    llm = shared(n_seq_max=4)
    app, free, waiting = app_of(), threading.Event(), threading.Semaphore(0)
    prepare = llm._session.completion

    def slow(prompt: Any, options: Any) -> Any:
        if len(prompt) > reading.LONG:
            waiting.release()
            assert free.wait(30)
        return prepare(prompt, options)

    monkeypatch.setattr(llm._session, "completion", slow)

    async def work(client: httpx.AsyncClient) -> None:
        long = {**SHORT, "prompt": "x " * reading.LONG}
        held = [asyncio.ensure_future(client.post("/v1/completions", json=long)) for _ in range(8)]
        while not waiting.acquire(blocking=False):
            await asyncio.sleep(0.01)
        for _ in range(20):
            assert (await client.post("/v1/completions", json=SHORT)).status_code == 200
            assert (await client.post("/tokenize", json={"content": "x"})).status_code == 200
            assert (await client.get("/metrics")).status_code == 200
        assert not any(task.done() for task in held)
        free.set()
        assert {(await task).status_code for task in held} == {400}, "they are too long for the model"

    try:
        with_client(work, app=app)
    finally:
        free.set()


def test_a_metered_model_is_the_same_one() -> None:
    told: list[Any] = []

    class Told:
        def check(self, requests: Any) -> None:
            told.append(len(requests))

        def submitted(self, requests: Any) -> None:
            told.append([len(request.prompt) for request in requests])

        def finished(self, event: Any) -> None:
            told.append(event.usage.completion_tokens)

    llm = shared(n_seq_max=4)
    both = AsyncLlama.of(llm)

    async def work() -> None:
        metered = both._metered(Told())
        whole = await metered("Hello", max_tokens=3, n=2, **GREEDY)
        assert whole["choices"] == llm("Hello", max_tokens=3, n=2, **GREEDY)["choices"]
        await both("Hello", max_tokens=3, **GREEDY)

    asyncio.run(work())
    n = len(llm.tokenize("Hello"))
    assert told[0] == 2
    assert sorted(map(str, told[1:])) == ["3", "3", f"[{n}, {n}]"], "and the other one is not metered"
